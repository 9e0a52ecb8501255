"""The metrics of health, failover and the store, as a table. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shardproxy.admin.metrics import COUNTER, GAUGE, Kind, Labels, Sample
from shardproxy.failover.event_log import Total
from shardproxy.failover.events import EventName
from shardproxy.health.statistics import HealthStatistics
from shardproxy.model import Engine
from shardproxy.model.replication import ShardKey
from shardproxy.store.statistics import StoreStatistics


@dataclass(frozen=True, slots=True)
class FailoverMetric:
    """One line of the table; `read` gives its samples from what a scrape sees."""

    name: str
    kind: Kind
    help: str
    labels: Labels
    read: Callable[[FailoverView], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class FailoverView:
    """What a scrape sees of the control plane."""

    clusters: Mapping[str, Any]  # of the status document
    totals: Mapping[tuple[str, EventName], Total]
    alarms: Mapping[ShardKey, str] = field(default_factory=dict)  # that stand
    health: HealthStatistics = field(default_factory=HealthStatistics)
    store: StoreStatistics = field(default_factory=StoreStatistics)
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


def _up(view: FailoverView) -> Iterator[Sample]:
    for labels, node in _rows(view.clusters):
        yield labels, node["state"] == "up"


def _primary(view: FailoverView) -> Iterator[Sample]:
    for labels, node in _rows(view.replicated):
        yield labels, node["role"] == "primary"


def _readable(view: FailoverView) -> Iterator[Sample]:
    for labels, node in _rows(view.replicated):
        yield labels, node["is_readable"]


def _in_sync(view: FailoverView) -> Iterator[Sample]:
    for labels, node in _rows(view.replicated):
        if node["role"] == "replica":
            yield labels, node["sync"] == "streaming"


def _lag(view: FailoverView) -> Iterator[Sample]:
    for labels, node in _rows(view.replicated):
        if node["lag"] is not None:
            yield labels, node["lag"]


def _busy(view: FailoverView) -> Iterator[Sample]:
    for labels, node in _rows(view.replicated):
        yield labels, node["busy"]["seconds"] if node["busy"] else 0


def _shard_epoch(view: FailoverView) -> Iterator[Sample]:
    for name, cluster in view.replicated.items():
        for shard in cluster["shards"]:
            yield (name, str(shard["shard"])), shard["epoch"]


def _paused(view: FailoverView) -> Iterator[Sample]:
    for name, cluster in view.replicated.items():
        yield (name,), cluster["is_paused"]


def _tilted(view: FailoverView) -> Iterator[Sample]:
    for name in view.replicated:
        yield (name,), name in view.health.tilted


def _alarm(view: FailoverView) -> Iterator[Sample]:
    for name, cluster in view.replicated.items():
        for shard in cluster["shards"]:
            yield (name, str(shard["shard"])), ShardKey(name, shard["shard"]) in view.alarms


def _store_writes(view: FailoverView) -> Iterator[Sample]:
    yield ("ok",), view.store.writes
    yield ("failed",), view.store.failures


def _process(name: str, kind: Kind, text: str, value: Callable[[FailoverView], float]) -> FailoverMetric:
    def read(view: FailoverView) -> Iterator[Sample]:
        yield (), value(view)

    return FailoverMetric(name, kind, text, (), read)


TABLE = (
    FailoverMetric(
        "shardproxy_failovers_total",
        COUNTER,
        "Primaries replaced, by kind (failover, switchover).",
        ("cluster", "kind"),
        _failovers,
    ),
    FailoverMetric(
        "shardproxy_events_total", COUNTER, "Events of shards, by name.", ("cluster", "event"), _events
    ),
    FailoverMetric(
        "shardproxy_node_up", GAUGE, "Whether a node answers and is fit.", ("cluster", "shard", "node"), _up
    ),
    FailoverMetric(
        "shardproxy_node_primary",
        GAUGE,
        "Whether a node is its shard's primary.",
        ("cluster", "shard", "node"),
        _primary,
    ),
    FailoverMetric(
        "shardproxy_node_readable",
        GAUGE,
        "Whether reads may go to a replica.",
        ("cluster", "shard", "node"),
        _readable,
    ),
    FailoverMetric(
        "shardproxy_node_in_sync",
        GAUGE,
        "Whether a replica gets the primary's writes; of replicas only.",
        ("cluster", "shard", "node"),
        _in_sync,
    ),
    FailoverMetric(
        "shardproxy_node_lag_bytes",
        GAUGE,
        "Writes of the primary that a replica does not have yet.",
        ("cluster", "shard", "node"),
        _lag,
    ),
    FailoverMetric(
        "shardproxy_node_busy_seconds",
        GAUGE,
        "How long a node has owed the reply to a command that may take long; 0 = it owes none.",
        ("cluster", "shard", "node"),
        _busy,
    ),
    FailoverMetric(
        "shardproxy_shard_epoch",
        GAUGE,
        "Grows with every change of primary.",
        ("cluster", "shard"),
        _shard_epoch,
    ),
    FailoverMetric(
        "shardproxy_alarm", GAUGE, "Whether a shard needs an operator.", ("cluster", "shard"), _alarm
    ),
    FailoverMetric(
        "shardproxy_paused", GAUGE, "Whether automatic failover is paused.", ("cluster",), _paused
    ),
    FailoverMetric(
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
    FailoverMetric(
        "shardproxy_store_writes_total",
        COUNTER,
        "Writes to the store, by outcome (ok, failed).",
        ("outcome",),
        _store_writes,
    ),
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

SECONDS = "shardproxy_failover_seconds"
SECONDS_HELP = "From the verdict to the new primary being served, by kind."


def metric_names() -> frozenset[str]:
    """Every series a scrape can show, as Prometheus names them."""
    return frozenset({metric.name for metric in TABLE} | {f"{SECONDS}_{part}" for part in ("sum", "count")})
