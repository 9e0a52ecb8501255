"""What nodes count and measure of themselves, as a table. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shardproxy.admin.metric import COUNTER, GAUGE, Labels, Metric, each
from shardproxy.model.health import NodeKey
from shardproxy.model.vitals import Vitals

RECENT = 60.0  # seconds; what a node said before is not shown as what is


@dataclass(frozen=True, slots=True)
class NodeView:
    """What a scrape sees: what nodes last said, and the trio time now."""

    vitals: Mapping[NodeKey, Vitals]
    now: float


def _heard(view: NodeView) -> Iterator[tuple[Labels, Vitals]]:
    """Of each node that has said something lately."""
    for (shard, node), vitals in view.vitals.items():
        if view.now - vitals.at <= RECENT:
            yield (shard.cluster, str(shard.index), str(node)), vitals


_node = each(("cluster", "shard", "node"), _heard)
TABLE: tuple[Metric[NodeView], ...] = (
    _node("shardproxy_node_memory_used_bytes", GAUGE, "Memory of a node's data.", lambda v: v.memory_used),
    _node(
        "shardproxy_node_memory_max_bytes",
        GAUGE,
        "How much that may be (maxmemory); 0 = no limit.",
        lambda v: v.memory_max,
    ),
    _node(
        "shardproxy_node_memory_resident_bytes",
        GAUGE,
        "Memory of a node's process.",
        lambda v: v.memory_resident,
    ),
    _node("shardproxy_node_keys", GAUGE, "Keys of a node, of all databases.", lambda v: v.keys),
    _node("shardproxy_node_clients", GAUGE, "Connections a node has, ours too.", lambda v: v.clients),
    _node(
        "shardproxy_node_clients_refused_total",
        COUNTER,
        "Connections a node refused, as it has maxclients.",
        lambda v: v.rejected,
    ),
    _node(
        "shardproxy_node_cpu_seconds_total",
        COUNTER,
        "CPU time of the thread of a node that runs commands.",
        lambda v: v.cpu,
    ),
    _node(
        "shardproxy_node_evicted_keys_total", COUNTER, "Keys dropped for want of memory.", lambda v: v.evicted
    ),
    _node("shardproxy_node_expired_keys_total", COUNTER, "Keys whose time was over.", lambda v: v.expired),
    _node(
        "shardproxy_node_keyspace_hits_total", COUNTER, "Lookups of keys that were there.", lambda v: v.hits
    ),
    _node(
        "shardproxy_node_keyspace_misses_total",
        COUNTER,
        "Lookups of keys that were not there.",
        lambda v: v.misses,
    ),
    _node(
        "shardproxy_node_full_syncs_total",
        COUNTER,
        "Whole copies a node gave its replicas.",
        lambda v: v.full_syncs,
    ),
    _node(
        "shardproxy_node_saves_ok",
        GAUGE,
        "Whether a node's last save and write to its log went well, where it does either.",
        lambda v: v.is_saving_well,
    ),
)
