"""The metrics table, read by prometheus-client at scrape time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import trio
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from shardproxy import __version__
from shardproxy.access.audit import AuditStatistics
from shardproxy.access.statistics import LoginStatistics
from shardproxy.admin import failover_metrics, job_metrics, login_metrics, metrics
from shardproxy.admin.failover import status_document
from shardproxy.admin.status import Sources, Status
from shardproxy.dataplane.statistics import Latency, Statistics
from shardproxy.failover.event_log import Total
from shardproxy.jobs.statistics import Pauses


def registry_build(sources: Sources, *, clock: Callable[[], float] = trio.current_time) -> CollectorRegistry:
    """Make a registry of our metrics and those of the Python process; scraped in trio, or give it a clock."""
    registry = CollectorRegistry()
    registry.register(TableCollector(sources, clock))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class TableCollector(Collector):
    """Reads the workers' counters once a scrape; holds no counts of its own."""

    def __init__(self, sources: Sources, clock: Callable[[], float]) -> None:
        self._sources = sources
        self._clock = clock

    def describe(self) -> list[Family]:
        """Say nothing: registering must not read the workers."""
        return []

    def collect(self) -> Iterator[Family]:
        statistics = self._sources.statistics()
        for metric in metrics.TABLE:
            yield _family(metric, statistics)
        yield _latency(statistics)
        yield from _process(self._sources.status.now, self._sources.audit.statistics)
        yield from _logins(self._sources.logins)
        yield from _failover(self._sources, self._clock())
        yield from _jobs(self._sources)


def _family(metric: metrics.Metric, statistics: Statistics) -> Family:
    make = CounterMetricFamily if metric.kind is metrics.Kind.COUNTER else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in metric.read(statistics):
        family.add_metric(labels, value)
    return family


def _latency(statistics: Statistics) -> Family:
    family = HistogramMetricFamily(metrics.LATENCY, metrics.LATENCY_HELP, labels=metrics.LATENCY_LABELS)
    for name, cluster in statistics.clusters.items():
        for command_class, latency in cluster.latency.items():
            family.add_metric((name, command_class), _buckets(latency), latency.sum)
    return family


def _buckets(latency: Latency) -> list[tuple[str, float]]:
    """Give the cumulative buckets, +Inf last: its count is the count of the histogram."""
    finite = [(str(float(le)), count) for le, count in latency.buckets if le != float("inf")]
    return [*finite, ("+Inf", latency.count)]


def _failover(sources: Sources, now: float) -> Iterator[Family]:
    totals = sources.events.totals
    view = failover_metrics.FailoverView(
        status_document(sources, now)["clusters"],
        totals,
        sources.events.alarms,
        sources.boards.statistics,
        sources.store,
        sources.sharing,
        now,
    )
    for metric in failover_metrics.TABLE:
        make = CounterMetricFamily if metric.kind is metrics.Kind.COUNTER else GaugeMetricFamily
        family = make(metric.name, metric.help, labels=metric.labels)
        for labels, value in metric.read(view):
            family.add_metric(labels, value)
        yield family
    took = SummaryMetricFamily(
        failover_metrics.SECONDS, failover_metrics.SECONDS_HELP, labels=("cluster", "kind")
    )
    for cluster in view.replicated:
        for name, kind in failover_metrics.KINDS.items():
            total = totals.get((cluster, name), Total())
            took.add_metric((cluster, kind), total.count, total.seconds)
    yield took


def _jobs(sources: Sources) -> Iterator[Family]:
    clusters = tuple(sorted({key.cluster for key in sources.setups}))
    view = job_metrics.JobView(
        clusters, sources.jobs.kinds, sources.jobs.jobs(), sources.jobs_done, sources.scaled
    )
    for metric in job_metrics.TABLE:
        make = CounterMetricFamily if metric.kind is metrics.Kind.COUNTER else GaugeMetricFamily
        family = make(metric.name, metric.help, labels=metric.labels)
        for labels, value in metric.read(view):
            family.add_metric(labels, value)
        yield family
    pauses = HistogramMetricFamily(
        job_metrics.PAUSES, job_metrics.PAUSES_HELP, labels=job_metrics.PAUSES_LABELS
    )
    for cluster in clusters:
        taken = sources.jobs_done.pauses.get(cluster, Pauses())
        pauses.add_metric((cluster,), [(_bound(le), count) for le, count in taken.cumulative], taken.sum)
    yield pauses


def _bound(le: float) -> str:
    return "+Inf" if le == float("inf") else str(le)


def _logins(statistics: LoginStatistics) -> Iterator[Family]:
    for metric in login_metrics.TABLE:
        family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in metric.read(statistics):
            family.add_metric(labels, value)
        yield family


def _process(status: Status, audit: AuditStatistics) -> Iterator[Family]:
    info = GaugeMetricFamily(metrics.INFO, metrics.INFO_HELP, labels=("version",))
    info.add_metric((__version__,), 1)
    yield info
    reloads = CounterMetricFamily(metrics.RELOADS, metrics.RELOADS_HELP, labels=("outcome",))
    reloads.add_metric(("ok",), status.reloads)
    reloads.add_metric(("refused",), status.reloads_refused)
    yield reloads
    expiry = GaugeMetricFamily(
        metrics.CERTIFICATES, metrics.CERTIFICATES_HELP, labels=("cluster", "file", "name")
    )
    for cluster, certificates in status.certificates.items():
        for one in dict.fromkeys(certificates):
            expiry.add_metric((cluster, one.file, one.name), one.not_after)
    yield expiry
    lines = CounterMetricFamily(metrics.AUDIT, metrics.AUDIT_HELP, labels=("outcome",))
    lines.add_metric(("written",), audit.written)
    lines.add_metric(("lost",), audit.lost)
    yield lines
