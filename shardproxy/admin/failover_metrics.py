"""The metrics of health and failover, as a table. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shardproxy.admin.metrics import COUNTER, GAUGE, Kind, Labels, Sample
from shardproxy.failover.events import EventName, Total
from shardproxy.model import Engine


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
    """What a scrape sees of health and failover."""

    clusters: Mapping[str, Any]  # of the status document
    totals: Mapping[tuple[str, EventName], Total]

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
    for (cluster, name), total in view.totals.items():
        yield (cluster, name.value), total.count


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


def _shard_epoch(view: FailoverView) -> Iterator[Sample]:
    for name, cluster in view.replicated.items():
        for shard in cluster["shards"]:
            yield (name, str(shard["shard"])), shard["epoch"]


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
        "shardproxy_shard_epoch",
        GAUGE,
        "Grows with every change of primary.",
        ("cluster", "shard"),
        _shard_epoch,
    ),
)

SECONDS = "shardproxy_failover_seconds"
SECONDS_HELP = "From the verdict to the new primary being served, by kind."


def metric_names() -> frozenset[str]:
    """Every series a scrape can show, as Prometheus names them."""
    return frozenset({metric.name for metric in TABLE} | {f"{SECONDS}_{part}" for part in ("sum", "count")})
