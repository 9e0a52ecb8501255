"""Whether the shards that a config takes slots from have keys. Asks engines; decides by `taking.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeError, NodeFailure, NodeLink
from shardproxy.store.record import ShardRecord
from shardproxy.topology.assign import Records
from shardproxy.topology.taking import slots_taken, taken_text
from shardproxy.wire.info import InfoError, read_fields

ASK_TIMEOUT = 2.0  # seconds; all shards are asked at once

CountKeys = Callable[[ShardKey, Address], Awaitable[int | None]]  # None = the node cannot be asked


async def why_not_reload(setups: Sequence[ShardSetup], records: Records, count_keys: CountKeys) -> str | None:
    """Say why these setups cannot be served: who has keys, or cannot be asked for them, would lose slots."""
    taken = slots_taken(setups, records)
    keys: dict[ShardKey, int | None] = {}

    async def count(loser: ShardRecord) -> None:
        keys[loser.key] = await _keys_of(loser, count_keys)

    with trio.move_on_after(ASK_TIMEOUT):
        async with trio.open_nursery() as nursery:
            for one in taken:
                nursery.start_soon(count, one.loser)
    refused = [one for one in taken if keys.get(one.loser.key) != 0]
    said = {one.loser.key: _keys_text(keys.get(one.loser.key)) for one in refused}
    return taken_text(refused, setups, records, said) if refused else None


async def keys_count(link: NodeLink) -> int | None:
    """How many keys a node has, in all its databases; None when it cannot be asked."""
    try:
        async with link:
            fields = read_fields(await link.request("INFO", "keyspace"))
    except (NodeFailure, NodeError, InfoError):
        return None
    databases = (value for name, value in fields.items() if name.startswith("db"))
    return sum(int(value.partition(",")[0].removeprefix("keys=")) for value in databases)


async def _keys_of(record: ShardRecord, count_keys: CountKeys) -> int | None:
    """How many keys a shard has; a replica can tell that there are some, but not that there are none."""
    primary = record.primary or record.last
    if primary is not None and (keys := await count_keys(record.key, primary)) is not None:
        return keys
    others = [await count_keys(record.key, node) for node in record.nodes if node != primary]
    if any(others):
        return max(keys for keys in others if keys is not None)
    return 0 if primary is None and None not in others else None


def _keys_text(keys: int | None) -> str:
    if keys is None:
        return "cannot be asked for keys"
    return "has 1 key" if keys == 1 else f"has {keys} keys"
