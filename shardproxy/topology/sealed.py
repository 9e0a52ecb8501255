"""Asks primaries whether slots have left them, where this process may not hear of it (model/seal.py).

Each write is asked about by the data plane, and is in doubt where some have. This says so before the next one
is sent: it is refused, unexecuted, and the status says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import structlog
import trio

from shardproxy.failover.interfaces import Nodes
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.model.seal import Seal
from shardproxy.nodes import NodeError, NodeFailure
from shardproxy.store.record import ShardRecord
from shardproxy.topology.fit import UNSEALED
from shardproxy.wire.reply import Failure

LOOK = 0.5  # seconds
TIMEOUT = 0.5
AT_ONCE = 16  # nodes

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SealWatch:
    """One process's. It alone writes `unsealed`: shards whose seal counts, and is broken."""

    seals: Callable[[], Mapping[ShardKey, Seal]]  # that count now, by what is served
    records: Mapping[ShardKey, ShardRecord]
    links_of: Callable[
        [str], AbstractAsyncContextManager[Nodes]
    ]  # to a cluster's nodes, its own: a failover waits behind nothing that is asked here
    unsealed: Board[ShardKey, str]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask until cancelled."""
        limiter = trio.CapacityLimiter(AT_ONCE)
        task_status.started()
        while True:
            seals = self.seals()
            for key in [key for key in self.unsealed if key not in seals]:
                self.unsealed.hide(key)
            async with trio.open_nursery() as nursery:
                for key, seal in seals.items():
                    nursery.start_soon(self._ask, key, seal, limiter)
            await trio.sleep(LOOK)

    async def _ask(self, key: ShardKey, seal: Seal, limiter: trio.CapacityLimiter) -> None:
        record = self.records.get(key)
        if record is None or record.primary is None:
            return
        async with limiter:
            try:
                async with self.links_of(key.cluster) as nodes:
                    (reply,) = await nodes.request_many(
                        record.primary, [("SCRIPT", "EXISTS", *seal)], timeout=TIMEOUT, run_id=record.run_id
                    )
            except (NodeFailure, NodeError):
                return  # its health says why
        if isinstance(reply, Failure) or self.seals().get(key) != seal:
            return
        if reply == [1, 0]:
            self.unsealed.hide(key)
        elif key not in self.unsealed:
            why = f"{UNSEALED} {record.primary} has the seal of a later move"
            if reply == [0, 0]:
                why = f"{UNSEALED} {record.primary} lacks the seal that says otherwise"
            self.unsealed.show(key, why)
            log.warning("nothing is written to a shard", shard=str(key), why=why)
