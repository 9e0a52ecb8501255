"""Health and failover as plain JSON values: what /api/status and /api/events answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shardproxy.admin.caching_document import caching_document
from shardproxy.admin.job_document import job_document
from shardproxy.admin.sharing import proxies_document, store_document
from shardproxy.admin.status import Sources
from shardproxy.admin.sync import sync_of
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.dataplane.statistics import Statistics
from shardproxy.failover.events import Event
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, Engine, Node, Topology
from shardproxy.model.health import Busy, NodeDown, NodeHealth, NodeState
from shardproxy.model.replication import ShardKey
from shardproxy.scaling.advice import Scaled
from shardproxy.store.notes import is_paused
from shardproxy.store.record import ShardRecord
from shardproxy.topology.sources.source import DeciderStatus


def status_document(sources: Sources, now: float) -> dict[str, Any]:
    """Show every shard that is watched: who is primary, how each node is, since when (`now`: trio time)."""
    clusters: dict[str, Any] = {
        name: _pool(topology, sources, now)
        for name, topology in sources.topologies.items()
        if topology.engine is Engine.MEMCACHED
    }
    for key, setup in sorted(sources.setups.items()):
        cluster = clusters.setdefault(
            key.cluster,
            {
                "engine": Engine.REDIS.value,
                "is_paused": is_paused(sources.notes, key.cluster),
                "shards": [],
            },
        )
        cluster["shards"].append(_shard(key, setup, sources, now))
    for name, source in sources.deciders.items():
        if name in clusters:
            clusters[name]["decider"] = _decider(source.status)
    for name, cluster in clusters.items():
        certificates = dict.fromkeys(sources.status.now.certificates.get(name, ()))
        jobs = sources.jobs.jobs(name)
        cluster["job"] = next((job_document(job) for job in reversed(jobs) if not job.state.is_over), None)
        if (scaled := sources.scaled.get(name)) is not None:
            cluster["scaling"] = _scaling(scaled)
        cluster["certificates"] = [
            {"file": one.file, "name": one.name, "not_after": one.not_after} for one in certificates
        ]
    return {
        "clusters": clusters,
        "store": store_document(sources.sharing),
        "proxies": proxies_document(sources.sharing),
    }


def _decider(status: DeciderStatus) -> dict[str, Any]:
    """Who decides instead of us, and how it stands with them."""
    asked = [{"address": address, "why_silent": why} for address, why in status.asked.items()]
    return {"from": status.kind, "trouble": status.trouble, "asked": asked}


def _scaling(scaled: Scaled) -> dict[str, Any]:
    """How many shards have slots and should have, and how busy they are; parts of 1."""
    advice, load = scaled.advice, scaled.load
    return {
        "shards": advice.shards,
        "wanted": advice.wanted,
        "why": advice.why,
        "waits": round(advice.waits),
        "ready": scaled.ready,
        "cpu": load.cpu,
        "memory": load.memory,
        "text": scaled.text,
    }


def caching_add(
    document: dict[str, Any], caching: CachingStatistics, statistics: Statistics
) -> dict[str, Any]:
    """The same document, with what caching did of each cluster that has rules."""
    for name, cluster in document["clusters"].items():
        if (of := caching_document(name, caching, statistics)) is not None:
            cluster["caching"] = of
    return document


def relaxed_add(document: dict[str, Any], statistics: Statistics) -> dict[str, Any]:
    """The same document, with what each cluster served of one shard that several would refuse, by command."""
    for name, cluster in document["clusters"].items():
        counts = statistics.clusters.get(name)
        cluster["relaxed"] = {
            command: {"count": of.count, "example": of.example}
            for command, of in (counts.relaxed if counts else {}).items()
        }
    return document


def _pool(topology: Topology, sources: Sources, now: float) -> dict[str, Any]:
    """Nodes without replicas, each a shard of its own: as the data plane finds them."""
    return {
        "engine": topology.engine.value,
        "is_paused": False,
        "shards": [
            {
                "shard": shard.number,
                "state": "ok",
                "epoch": topology.epoch,
                "is_automatic": False,
                "is_managed": False,
                "is_covered": False,
                "name": None,
                "slots": [str(slots) for slots in shard.slots],
                "held": [],
                "is_only_writes_held": False,
                "is_moving": False,
                "why_not": None,
                "nodes": [
                    _pool_node(node, sources.down.get((topology.cluster, node.address)), now)
                    for node in shard.nodes
                ],
            }
            for shard in topology.shards
        ],
    }


def _pool_node(node: Node, down: NodeDown | None, now: float) -> dict[str, Any]:
    return {
        "address": str(node.address),
        "role": "node",
        "state": (NodeState.DOWN if down else NodeState.UP).value,
        "reason": down.reason if down else "",
        "since": round(now - down.since, 1) if down else None,
        "lag": None,
        "sync": None,
        "sync_reason": "",
        "version": None,
        "manager": None,
        "zone": node.zone,
        "is_readable": False,
        "busy": None,
    }


def events_document(events: tuple[Event, ...], setups: Mapping[ShardKey, ShardSetup]) -> dict[str, Any]:
    """Show events, their shards under the names they have now."""
    names = {(key.cluster, key.index): setup.name for key, setup in setups.items()}
    return {
        "events": [
            {
                "number": event.number,
                "time": event.time.isoformat(timespec="milliseconds"),
                "name": event.name.value,
                "cluster": event.cluster,
                "shard": event.shard,
                "shard_name": None if event.shard is None else names.get((event.cluster, event.shard)),
                "message": event.message,
            }
            for event in events
        ]
    }


def _shard(key: ShardKey, setup: ShardSetup, sources: Sources, now: float) -> dict[str, Any]:
    record = sources.records.get(key)
    topology = sources.topologies.get(key.cluster)
    shard = topology.shard_numbered(key.index) if topology is not None else None
    hold = record.hold if record is not None else None
    nodes = dict.fromkeys((*setup.addresses, *(record.nodes if record else ())))
    healths = {node: sources.boards.health.get((key, node)) for node in nodes}
    readable = sources.boards.reads.get(key, frozenset())
    rows = [_node(node, health, record, healths, now) for node, health in healths.items()]
    for node, row in zip(nodes, rows, strict=True):
        row["zone"] = setup.zone_of(node)
        row["is_readable"] = node in readable
        _show_busy(row, sources.standing(key.cluster, node).busy, now)
    return {
        "shard": key.index,
        "state": record.state.value if record else "new",
        "epoch": record.epoch if record else 0,
        "is_automatic": setup.is_automatic,
        "is_managed": setup.is_managed,
        "is_covered": any(_could_take_over(node, health, record) for node, health in healths.items()),
        "name": setup.name,
        "slots": [str(slots) for slots in shard.slots] if shard is not None else [],
        "held": [str(slots) for slots in hold.slots] if hold is not None else [],
        "is_only_writes_held": hold is not None and hold.only_writes,
        "is_moving": record is not None and record.is_mixed,
        "why_not": shard.why_not if shard is not None else None,
        "nodes": rows,
    }


def _node(
    node: Address,
    health: NodeHealth | None,
    record: ShardRecord | None,
    healths: Mapping[Address, NodeHealth | None],
    now: float,
) -> dict[str, Any]:
    is_primary = record is not None and node == record.primary
    primary = healths.get(record.primary) if record is not None and record.primary is not None else None
    sync = None if is_primary else sync_of(health, primary)
    return {
        "address": str(node),
        "role": "primary" if is_primary else "replica" if record is not None else "unknown",
        "state": health.verdict.state.value if health else "unknown",
        "reason": health.verdict.reason if health else "not asked yet",
        "since": round(now - health.verdict.since, 1) if health else None,  # seconds ago
        "sync": sync.sync.value if sync else None,  # of a replica that answers
        "sync_reason": sync.reason if sync else "",
        "lag": 0 if is_primary else _lag(health, primary),
        "version": health.server.version if health and health.server else None,
        "manager": health.manager if health else None,
    }


def _show_busy(row: dict[str, Any], busy: Busy | None, now: float) -> None:
    """With what, for how long by now, and whose that is."""
    row["busy"] = busy and {
        "command": busy.command,
        "seconds": round(now - busy.since, 1),
        "client": busy.client,
    }
    if busy is not None and row["state"] == NodeState.BUSY.value:
        row["reason"] = busy.text(now)


def _could_take_over(node: Address, health: NodeHealth | None, record: ShardRecord | None) -> bool:
    """Whether a replica is up and known to have the primary's history."""
    if record is None or record.lineage is None or health is None or health.replication is None:
        return False
    seen = health.replication
    is_in_sync = seen.is_link_up and seen.lineage.replid == record.lineage.replid
    return node in record.joined and node != record.primary and health.verdict.is_answering and is_in_sync


def _lag(replica: NodeHealth | None, primary: NodeHealth | None) -> int | None:
    """Bytes of the primary's writes that a replica did not have when they were last asked."""
    if replica is None or primary is None or replica.replication is None or primary.replication is None:
        return None
    if not replica.replication.is_link_up or not replica.verdict.is_answering:
        return None
    return max(0, primary.replication.offset - replica.replication.offset)
