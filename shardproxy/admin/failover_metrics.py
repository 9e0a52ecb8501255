"""The metrics of health, failover and the store, as a table. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shardproxy.admin.metric import COUNTER, GAUGE, Labels, Metric, Sample, Summary, each
from shardproxy.admin.status import Sharing
from shardproxy.failover.event_log import Total
from shardproxy.failover.events import AlarmName, EventName
from shardproxy.health.statistics import HealthStatistics
from shardproxy.model import Engine
from shardproxy.model.replication import ShardKey
from shardproxy.store.statistics import StoreStatistics


@dataclass(frozen=True, slots=True)
class FailoverView:
    """What a scrape sees of the control plane."""

    clusters: Mapping[str, Any]  # of the status document
    totals: Mapping[tuple[str, EventName], Total]
    alarms: Mapping[tuple[ShardKey, AlarmName], str] = field(default_factory=dict)  # that stand
    health: HealthStatistics = field(default_factory=HealthStatistics)
    store: StoreStatistics = field(default_factory=StoreStatistics)
    sharing: Sharing = field(default_factory=Sharing)
    now: float = 0.0  # trio time

    @property
    def replicated(self) -> Mapping[str, Any]:
        """Clusters whose shards have primaries."""
        return {name: of for name, of in self.clusters.items() if of["engine"] == Engine.REDIS.value}


KINDS = {EventName.FAILOVER_COMPLETE: "failover", EventName.SWITCHOVER_COMPLETE: "switchover"}


def _failovers(view: FailoverView) -> Iterator[Sample]:
    for cluster in view.replicated:
        for name, kind in KINDS.items():
            yield (cluster, kind), view.totals.get((cluster, name), Total()).count


def _events(view: FailoverView) -> Iterator[Sample]:
    for cluster in view.replicated:
        for name in EventName:  # also what has not happened yet: a series that begins at 1 shows no increase
            yield (cluster, name.value), view.totals.get((cluster, name), Total()).count


def _rows(clusters: Mapping[str, Any]) -> Iterator[tuple[Labels, Mapping[str, Any]]]:
    for name, cluster in clusters.items():
        for shard in cluster["shards"]:
            for node in shard["nodes"]:
                yield (name, str(shard["shard"]), node["address"]), node


def _nodes(view: FailoverView) -> Iterator[tuple[Labels, Mapping[str, Any]]]:
    yield from _rows(view.clusters)


def _replicated_nodes(view: FailoverView) -> Iterator[tuple[Labels, Mapping[str, Any]]]:
    yield from _rows(view.replicated)


def _shards(view: FailoverView) -> Iterator[tuple[Labels, Mapping[str, Any]]]:
    for name, cluster in view.replicated.items():
        for shard in cluster["shards"]:
            yield (name, str(shard["shard"])), shard


def _whole(view: FailoverView) -> Iterator[tuple[Labels, FailoverView]]:
    yield (), view


_process = each((), _whole)
_shard = each(("cluster", "shard"), _shards)
_node = each(("cluster", "shard", "node"), _replicated_nodes)
_any_node = each(("cluster", "shard", "node"), _nodes)


def _in_sync(view: FailoverView) -> Iterator[Sample]:
    for labels, node in _rows(view.replicated):
        if node["role"] == "replica":
            yield labels, node["sync"] == "streaming"


def _lag(view: FailoverView) -> Iterator[Sample]:
    for labels, node in _rows(view.replicated):
        if node["lag"] is not None:
            yield labels, node["lag"]


def _alarm(view: FailoverView) -> Iterator[Sample]:
    for name, cluster in view.replicated.items():
        for shard in cluster["shards"]:
            for alarm in AlarmName:
                stands = (ShardKey(name, shard["shard"]), alarm) in view.alarms
                yield (name, str(shard["shard"]), alarm.value), stands


def _store_writes(view: FailoverView) -> Iterator[Sample]:
    yield ("ok",), view.store.writes
    yield ("failed",), view.store.failures


def _store_requests(view: FailoverView) -> Iterator[Sample]:
    yield ("ok",), view.store.requests - view.store.request_failures
    yield ("failed",), view.store.request_failures


def _proxies(view: FailoverView) -> Iterator[Sample]:
    draining = sum(member.is_draining for member in view.sharing.members.values())
    yield ("serving",), len(view.sharing.members) - draining
    yield ("draining",), draining


def _paused(view: FailoverView) -> Iterator[Sample]:
    for name, cluster in view.replicated.items():
        yield (name,), cluster["is_paused"]


def _tilted(view: FailoverView) -> Iterator[Sample]:
    for name in view.replicated:
        yield (name,), name in view.health.tilted


def _synced(view: FailoverView) -> Iterator[Sample]:
    for name in view.clusters:
        yield (name,), view.sharing.synced.get(name, True)


def _leads(view: FailoverView) -> Iterator[Sample]:
    for name in view.replicated:
        yield (name,), view.sharing.leaders.get(name) == view.sharing.member


def _took(view: FailoverView) -> Iterator[tuple[Labels, int, float]]:
    for cluster in view.replicated:
        for name, kind in KINDS.items():
            total = view.totals.get((cluster, name), Total())
            yield (cluster, kind), total.count, total.seconds


TABLE: tuple[Metric[FailoverView], ...] = (
    Metric(
        "shardproxy_failovers_total",
        COUNTER,
        "Primaries replaced, by kind (failover, switchover).",
        ("cluster", "kind"),
        _failovers,
    ),
    Metric("shardproxy_events_total", COUNTER, "Events of shards, by name.", ("cluster", "event"), _events),
    _any_node(
        "shardproxy_node_up", GAUGE, "Whether a node answers and is fit.", lambda n: n["state"] == "up"
    ),
    _node(
        "shardproxy_node_primary",
        GAUGE,
        "Whether a node is its shard's primary.",
        lambda n: n["role"] == "primary",
    ),
    _node(
        "shardproxy_node_readable", GAUGE, "Whether reads may go to a replica.", lambda n: n["is_readable"]
    ),
    Metric(
        "shardproxy_node_in_sync",
        GAUGE,
        "Whether a replica gets the primary's writes; of replicas only.",
        ("cluster", "shard", "node"),
        _in_sync,
    ),
    Metric(
        "shardproxy_node_lag_bytes",
        GAUGE,
        "Writes of the primary that a replica does not have yet.",
        ("cluster", "shard", "node"),
        _lag,
    ),
    _node(
        "shardproxy_node_busy_seconds",
        GAUGE,
        "How long a node has owed the reply to a command that may take long; 0 = it owes none.",
        lambda n: n["busy"]["seconds"] if n["busy"] else 0,
    ),
    _shard("shardproxy_shard_epoch", GAUGE, "Grows with every change of primary.", lambda s: s["epoch"]),
    Metric(
        "shardproxy_alarm",
        GAUGE,
        "Whether a shard needs an operator, by what it is about (failover, persistence, backups).",
        ("cluster", "shard", "alarm"),
        _alarm,
    ),
    Metric(
        "shardproxy_failover_paused",
        GAUGE,
        "Whether automatic failover is paused.",
        ("cluster",),
        _paused,
    ),
    Metric(
        "shardproxy_health_tilted",
        GAUGE,
        "Whether silence of a cluster's nodes proves nothing now, as the fault may be ours.",
        ("cluster",),
        _tilted,
    ),
    _process(
        "shardproxy_health_questions_total",
        COUNTER,
        "Questions asked of nodes.",
        lambda v: v.health.questions,
    ),
    _process(
        "shardproxy_health_loop_lag_seconds",
        GAUGE,
        "The longest that the control plane's loop was late within the last minute.",
        lambda v: v.health.loop_lag(v.now),
    ),
    Metric(
        "shardproxy_store_writes_total",
        COUNTER,
        "Writes to the store, by outcome (ok, failed).",
        ("outcome",),
        _store_writes,
    ),
    Metric(
        "shardproxy_store_requests_total",
        COUNTER,
        "Requests to the store, by outcome (ok, failed); a state file gets none.",
        ("outcome",),
        _store_requests,
    ),
    Metric(
        "shardproxy_store_synced",
        GAUGE,
        "Whether all that the store has of a cluster is known here; else nothing is decided from here.",
        ("cluster",),
        _synced,
    ),
    Metric("shardproxy_leads", GAUGE, "Whether this proxy decides for a cluster.", ("cluster",), _leads),
    Metric("shardproxy_proxies", GAUGE, "Proxies that share the store, by state.", ("state",), _proxies),
    _process(
        "shardproxy_store_write_seconds_total",
        COUNTER,
        "Time of all these writes.",
        lambda v: v.store.seconds,
    ),
    _process(
        "shardproxy_store_last_write_seconds",
        GAUGE,
        "Time of the latest of these writes.",
        lambda v: v.store.last_seconds,
    ),
)

TIMES: tuple[Summary[FailoverView], ...] = (
    Summary(
        "shardproxy_failover_seconds",
        "From the verdict to the new primary being served, by kind.",
        ("cluster", "kind"),
        _took,
    ),
)
