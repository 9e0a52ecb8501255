"""Whether a config would hide keys. Asks engines; decides by `taking.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeError, NodeFailure, NodeLink
from shardproxy.store.record import ShardRecord
from shardproxy.topology.assign import Records
from shardproxy.topology.logins import credentials_of, tls_of
from shardproxy.topology.project import shard_setups
from shardproxy.topology.reload import Clusters
from shardproxy.topology.taking import (
    keys_text,
    left_text,
    moved_text,
    shards_left,
    shards_moved,
    slots_taken,
    taken_text,
)
from shardproxy.wire.info import InfoError, read_fields

ASK_TIMEOUT = 2.0  # seconds; all shards are asked at once

CountKeys = Callable[[ShardKey, Address], Awaitable[int | None]]  # None = the node cannot be asked


async def why_not_served(wanted: Clusters, records: Records) -> str | None:
    """As why_not_reload, of these clusters' own engines."""
    setups = [setup for name, settings in wanted.items() for setup in shard_setups(name, settings, records)]

    async def count(key: ShardKey, address: Address) -> int | None:
        settings = wanted[key.cluster]
        login, tls = partial(credentials_of, settings), partial(tls_of, settings)
        return await keys_count(NodeLink(address, credentials=login, tls=tls))

    return await why_not_reload(setups, records, count)


async def why_not_reload(setups: Sequence[ShardSetup], records: Records, count_keys: CountKeys) -> str | None:
    """Say why these setups cannot be served: keys would not be found any more.

    That is so where a shard that has slots leaves the config; where all nodes of one are replaced, though
    they have keys, by nodes that have none; and where something else decides who is primary, also where a
    shard that has keys, or cannot be asked for them, would lose slots.
    """
    ours = [setup for setup in setups if setup.decider is None]
    left, moved = shards_left(ours, records), shards_moved(setups, records)
    taken = slots_taken([setup for setup in setups if setup.decider is not None], records)
    keys: dict[ShardKey, int | None] = {}
    empty: set[ShardKey] = set()  # the new nodes have no keys, as far as they can be asked

    async def count(record: ShardRecord) -> None:
        keys[record.key] = await _keys_of(record, count_keys)

    async def look(setup: ShardSetup) -> None:
        empty.add(setup.key)
        if any([await count_keys(setup.key, node) for node in setup.addresses]):
            empty.remove(setup.key)

    with trio.move_on_after(ASK_TIMEOUT):
        async with trio.open_nursery() as nursery:
            for record in dict.fromkeys((*(one.loser for one in taken), *(record for _, record in moved))):
                nursery.start_soon(count, record)
            for setup, _ in moved:
                nursery.start_soon(look, setup)
    refused = [one for one in taken if keys.get(one.loser.key) != 0]
    said = {one.loser.key: keys_text(keys.get(one.loser.key)) for one in refused}
    reasons = [left_text(left)] if left else []
    if refused:
        reasons.append(taken_text(refused, setups, records, said))
    for setup, record in moved:
        if (lost := keys.get(setup.key)) and setup.key in empty:
            reasons.append(moved_text(setup, record, lost))
    return "; ".join(reasons) or None


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
