"""What failover asks of this process's data plane, as proposals to the publisher.

    fence     no primary: its connections are closed, what was not sent waits
    park      the same for a planned change, but what was sent gets its reply
    publish   the primary on record: what waited goes there

The data plane has done it when the publisher answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from shardproxy.failover.interfaces import FenceError
from shardproxy.model import Address, Shard, Topology
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord
from shardproxy.topology.epoch import Stale
from shardproxy.topology.publisher import Inbox, Refused, publish
from shardproxy.topology.roles import is_of_other_nodes, shard_with_primary

MAX_STALE = 10  # tries against topologies that change meanwhile


class LocalFencer:
    """The fencer of a proxy that is alone."""

    def __init__(self, inbox: Inbox, board: Mapping[str, Topology]) -> None:
        self._inbox = inbox
        self._board = board
        self._seen: dict[ShardKey, int] = {}

    async def fence(self, key: ShardKey, epoch: int, primary: Address | None) -> None:
        def without(shard: Shard) -> Shard:
            return shard_with_primary(shard, None, (primary,) if primary else ())

        await self._change(key, epoch, without, "fenced")

    async def park(self, key: ShardKey, epoch: int) -> None:
        """Its writes wait in the engine while it hands over, and are then refused there unexecuted."""

    async def publish(self, record: ShardRecord) -> None:
        def as_recorded(shard: Shard) -> Shard:
            if is_of_other_nodes(record, shard.nodes):
                return shard  # a new config came first
            return shard_with_primary(shard, record.primary, record.nodes)

        await self._change(record.key, record.epoch, as_recorded, record.state.value)

    async def _change(self, key: ShardKey, epoch: int, change: Callable[[Shard], Shard], what: str) -> None:
        if epoch < self._seen.get(key, 0):
            raise FenceError(f"{key}: epoch {epoch} is older than {self._seen[key]}")
        self._seen[key] = epoch
        for _ in range(MAX_STALE):
            current = self._board.get(key.cluster)
            if current is None or key.index >= len(current.shards):
                return  # not served any more: nobody has to be told
            shards = tuple(change(shard) if shard.index == key.index else shard for shard in current.shards)
            reason = f"shard {key.index} {what} at epoch {epoch}"
            outcome = await publish(self._inbox, replace(current, shards=shards), reason)
            if isinstance(outcome, Refused):
                raise FenceError(f"{key}: {outcome.error}")
            if not isinstance(outcome, Stale):
                return
        raise FenceError(f"{key}: its topology changes too often")
