"""The records of a Redis Cluster's shards, as a controller would have them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from shardproxy.model.replication import ShardKey
from shardproxy.store.record import Promise, ShardRecord, ShardState
from shardproxy.topology.sources.cluster.decide import ClusterLayout, Group
from shardproxy.topology.sources.cluster.numbers import Numbers


def record_made(key: ShardKey, group: Group, before: ShardRecord | None, wait: int) -> ShardRecord:
    """What is on record of a shard; the process of a primary that says nothing is that of before."""
    replicas = tuple(sorted(address for _, address in group.replicas))
    nodes = (group.address, *replicas)
    is_same = before is not None and before.primary == group.address
    known = before.run_id if before is not None and is_same else ""
    return ShardRecord(
        key,
        max(group.epoch + 1, before.epoch if before is not None else 1),  # 0 says that there was none yet
        ShardState.OK,
        group.address,
        nodes,
        joined=nodes,
        slots=group.slots,
        promise=Promise(frozenset(replicas) if wait else frozenset(), wait),
        run_id=group.run_id or known,
    )


def numbers_found(layout: ClusterLayout, shown: Mapping[ShardKey, ShardRecord]) -> Numbers:
    """The numbers that shards have on record, by where their nodes are: ids are on none."""
    places = {node: key.index for key, record in shown.items() for node in record.nodes}
    return Numbers(
        {
            node: places[address]
            for group in layout.groups
            for node, address in ((group.primary, group.address), *group.replicas)
            if address in places
        }
    )
