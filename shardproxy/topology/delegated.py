"""The shards of a cluster whose topology something else decides. Pure.

names in the config ─┐
records (what was    ─┴─> setups: nodes are those on record, for nobody else knows them
found by asking)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shardproxy.config import RedisCluster
from shardproxy.config.topology import FromSentinel
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, Node
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord
from shardproxy.topology.assign import Records, Slots, Wanted, shards_assign, slots_deal, wanted_number


def setups_of(cluster: str, config: RedisCluster, records: Records) -> tuple[ShardSetup, ...]:
    """A cluster's shards by number, as the config has them, or as they were found where others decide."""
    assign = shards_delegated if config.is_delegated else shards_assign
    return assign(cluster, config, records)


def shards_delegated(cluster: str, config: RedisCluster, records: Records) -> tuple[ShardSetup, ...]:
    """The shards by number. Where Sentinels decide they are as many as names; else those that were found."""
    known = sorted((r for r in records.values() if r.key.cluster == cluster), key=lambda record: record.key)
    nodes = {node.address: node.node() for shard in config.shards for node in shard.nodes}
    if isinstance(config.decider, FromSentinel):
        return _named(cluster, config, known, nodes)
    if not known:
        whole = config.topology(cluster).shards[0]
        return (_setup(ShardKey(cluster, 0), config, nodes, None, slots=whole.slots),)
    return tuple(_setup(r.key, config, nodes, r, name=r.name, slots=r.slots) for r in known)


def _named(
    cluster: str, config: RedisCluster, known: Sequence[ShardRecord], nodes: Mapping[Address, Node]
) -> tuple[ShardSetup, ...]:
    assert isinstance(config.decider, FromSentinel)
    given = [config.shard_named(name) for name in config.decider.names]
    wanted = [
        Wanted(shard.name, shard.nodes, shard.slots, one is None or one.slots is None)
        for one, shard in zip(given, config.topology(cluster).shards, strict=True)
    ]
    numbers = wanted_number(wanted, known)
    found = dict(sorted(zip(numbers, wanted, strict=True)))
    on_record = {record.key.index: record for record in known}
    slots = slots_deal(found, {number: record.slots for number, record in on_record.items()})
    return tuple(
        _setup(
            ShardKey(cluster, number),
            config,
            nodes,
            on_record.get(number),
            name=one.name,
            slots=slots[number],
        )
        for number, one in found.items()
    )


def _setup(
    key: ShardKey,
    config: RedisCluster,
    nodes: Mapping[Address, Node],
    record: ShardRecord | None,
    *,
    slots: Slots,
    name: str | None = None,
) -> ShardSetup:
    members = record.nodes if record is not None else ()
    return ShardSetup(
        key,
        tuple(nodes.get(node) or Node(node) for node in members),
        name=name,
        slots=slots,
        wait=config.writes.wait,
        is_automatic=False,
        decider=config.decider.source,
    )
