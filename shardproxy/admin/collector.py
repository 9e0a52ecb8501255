"""All tables of metrics, read by prometheus-client at scrape time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import trio
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from shardproxy.admin import (
    caching_metrics,
    failover_metrics,
    job_metrics,
    login_metrics,
    metrics,
    node_metrics,
    process_metrics,
)
from shardproxy.admin.failover import status_document
from shardproxy.admin.families import families
from shardproxy.admin.status import Sources
from shardproxy.dataplane.statistics import Statistics


async def scrape(
    sources: Sources, encode: Callable[[Collector], bytes], limiter: trio.CapacityLimiter
) -> bytes:
    """The text of all metrics, as `encode` writes it.

    A thread adds up what the workers counted and writes the text, a hundred milliseconds at hundreds of
    shards; only what trio's tasks change is read among them.
    """
    statistics = await trio.to_thread.run_sync(sources.statistics, limiter=limiter)
    own = tuple(_own(sources, statistics, trio.current_time()))
    return await trio.to_thread.run_sync(lambda: encode(_registry(statistics, own)), limiter=limiter)


def registry_build(sources: Sources, now: float) -> CollectorRegistry:
    """All metrics of this moment (`now`: trio time), and those of the Python process."""
    statistics = sources.statistics()
    return _registry(statistics, tuple(_own(sources, statistics, now)))


def _registry(statistics: Statistics, own: Iterable[Family]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(TableCollector(statistics, own))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class TableCollector(Collector):
    """What the workers have counted, and then what was read elsewhere."""

    def __init__(self, statistics: Statistics, own: Iterable[Family]) -> None:
        self._statistics = statistics
        self._own = own

    def describe(self) -> list[Family]:
        """Say nothing: registering need not work everything out."""
        return []

    def collect(self) -> Iterator[Family]:
        yield from families((*metrics.TABLE, *metrics.TIMES), self._statistics)
        yield from self._own


def _own(sources: Sources, statistics: Statistics, now: float) -> Iterator[Family]:
    """What the control plane counts itself."""
    process = process_metrics.ProcessView(sources.status.now, sources.audit.statistics, sources.spans)
    yield from families(process_metrics.TABLE, process)
    yield from families(login_metrics.TABLE, sources.logins)
    yield from families((*failover_metrics.TABLE, *failover_metrics.TIMES), _failover(sources, now))
    yield from families(node_metrics.TABLE, node_metrics.NodeView(sources.boards.vitals, now))
    yield from families((*job_metrics.TABLE, *job_metrics.TIMES), _jobs(sources))
    caching = caching_metrics.CachingView(statistics, sources.caching)
    yield from families((*caching_metrics.TABLE, *caching_metrics.TIMES), caching)


def _failover(sources: Sources, now: float) -> failover_metrics.FailoverView:
    return failover_metrics.FailoverView(
        status_document(sources, now)["clusters"],
        sources.events.totals,
        sources.events.alarms,
        sources.boards.statistics,
        sources.store,
        sources.sharing,
        now,
    )


def _jobs(sources: Sources) -> job_metrics.JobView:
    clusters = tuple(sorted({key.cluster for key in sources.setups}))
    return job_metrics.JobView(
        clusters, sources.jobs.kinds, sources.jobs.jobs(), sources.jobs_done, sources.scaled
    )
