"""Which node of each shard is the primary, as the records of failover have it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from shardproxy.model import Address, Engine, Node, Shard, Topology
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord, ShardState

Records = Mapping[ShardKey, ShardRecord]


def topology_with_roles(configured: Topology, records: Records, *, is_watched: bool = True) -> Topology:
    """Give every shard the primary on record, or none until failover has found out which node it is.

    `is_watched`: what is on record was true a moment ago. It may not be when the process has just started.
    """
    if configured.engine is not Engine.REDIS:
        return configured
    shards = tuple(
        shard_with_record(shard, records.get(ShardKey(configured.cluster, shard.index)), is_watched)
        for shard in configured.shards
    )
    return replace(configured, shards=shards)


def shard_with_record(shard: Shard, record: ShardRecord | None, is_watched: bool = True) -> Shard:
    """A node that is alone has to be the primary; of several any may have the newest data."""
    if record is None or record.state is ShardState.NEW or is_of_other_nodes(record, shard.nodes):
        return shard if len(shard.nodes) == 1 else shard_with_primary(shard, None)
    if len(record.nodes) > 1 and not is_watched:
        return shard_with_primary(shard, None, record.nodes)
    return shard_with_primary(shard, record.primary, record.nodes)


def is_of_other_nodes(record: ShardRecord, nodes: tuple[Node, ...]) -> bool:
    """Whether the config gave the shard's place to other nodes: then the record says nothing of them."""
    return not {node.address for node in nodes} & set(record.nodes)


def shard_with_primary(shard: Shard, primary: Address | None, members: tuple[Address, ...] = ()) -> Shard:
    """The same shard with that primary, or none; members are nodes although the config may not name them."""
    nodes = {node.address: node for node in shard.nodes}
    for address in members:
        nodes.setdefault(address, Node(address))
    found = nodes.get(primary) if primary is not None else None
    replicas = tuple(node for node in nodes.values() if node != found)
    return replace(shard, primary=found, replicas=replicas)
