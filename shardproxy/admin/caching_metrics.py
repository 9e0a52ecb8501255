"""The metrics of caching, as a table. Knows nothing of HTTP; a rule is known by its pattern."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shardproxy.admin.metric import COUNTER, GAUGE, Bounds, Histogram, Labels, Metric, Sample, each
from shardproxy.caching.statistics import CachingStatistics, ClusterStatistics, RuleStatistics
from shardproxy.dataplane.statistics import RuleStatistics as Served
from shardproxy.dataplane.statistics import Statistics
from shardproxy.model.times import Times


@dataclass(frozen=True, slots=True)
class CachingView:
    """What a scrape sees: what the workers have served, and what came of the rest."""

    served: Statistics
    caching: CachingStatistics


def _rules(view: CachingView) -> Iterator[tuple[Labels, RuleStatistics]]:
    yield from view.caching.rules.items()


def _served_rules(view: CachingView) -> Iterator[tuple[Labels, Served]]:
    for cluster, of in view.served.clusters.items():
        for match, counts in of.caching.items():
            yield (cluster, match), counts


def _clusters(view: CachingView) -> Iterator[tuple[Labels, ClusterStatistics]]:
    for cluster, counts in view.caching.clusters.items():
        yield (cluster,), counts


_rule = each(("cluster", "rule"), _rules)
_served = each(("cluster", "rule"), _served_rules)
_cluster = each(("cluster",), _clusters)


def _breakers(view: CachingView) -> Iterator[Sample]:
    yield from view.caching.breakers().items()


TABLE: tuple[Metric[CachingView], ...] = (
    _served(
        "shardproxy_cache_hits_total", COUNTER, "Reads that the engine had something for.", lambda s: s.hits
    ),
    _served("shardproxy_cache_misses_total", COUNTER, "Reads that it had nothing for.", lambda s: s.misses),
    _served(
        "shardproxy_cache_leases_cancelled_total",
        COUNTER,
        "Leases deleted before writes that no source hears of.",
        lambda s: s.cancelled,
    ),
    _served(
        "shardproxy_cache_unhanded_total",
        COUNTER,
        "Reads and writes that were answered without their rule: too many were under way.",
        lambda s: s.unhanded,
    ),
    _rule(
        "shardproxy_cache_loads_total",
        COUNTER,
        "Questions to the source that were answered.",
        lambda s: s.loads,
    ),
    _rule(
        "shardproxy_cache_load_failures_total",
        COUNTER,
        "Questions to the source that were not answered.",
        lambda s: s.failures,
    ),
    _rule(
        "shardproxy_cache_loads_without_row_total",
        COUNTER,
        "Of the loads, those that found no row.",
        lambda s: s.missing,
    ),
    _rule(
        "shardproxy_cache_loads_cancelled_total",
        COUNTER,
        "Loads whose key was written or deleted meanwhile: what was loaded is not kept.",
        lambda s: s.cancelled,
    ),
    _rule(
        "shardproxy_cache_loads_shared_total",
        COUNTER,
        "Reads that waited for a load that another read had begun here.",
        lambda s: s.shared,
    ),
    _rule(
        "shardproxy_cache_loads_spared_total",
        COUNTER,
        "Reads of keys that are known to have no row.",
        lambda s: s.spared,
    ),
    _rule("shardproxy_cache_waiting_reads", GAUGE, "Reads that wait for a load.", lambda s: s.waiting),
    _rule(
        "shardproxy_cache_stale_total",
        COUNTER,
        "Looks at values that were older than their time to live, and served.",
        lambda s: s.stale,
    ),
    _rule(
        "shardproxy_cache_refreshes_total",
        COUNTER,
        "Values loaded anew behind their readers.",
        lambda s: s.refreshes,
    ),
    _rule(
        "shardproxy_cache_errors_total",
        COUNTER,
        "Reads and writes answered with an error of caching.",
        lambda s: s.refused,
    ),
    _rule(
        "shardproxy_cache_writes_total",
        COUNTER,
        "Keys written that the database has, or will have.",
        lambda s: s.writes,
    ),
    _rule(
        "shardproxy_cache_writes_indoubt_total",
        COUNTER,
        "Keys written of which it is not known whether the database has them.",
        lambda s: s.doubtful,
    ),
    _rule(
        "shardproxy_cache_drained_total",
        COUNTER,
        "Writes behind that this proxy has brought to the database.",
        lambda s: s.drained,
    ),
    _rule(
        "shardproxy_cache_drain_retries_total",
        COUNTER,
        "Batches of writes behind that the database did not take, and gets again.",
        lambda s: s.retried,
    ),
    _rule(
        "shardproxy_cache_dead_letters_total",
        COUNTER,
        "Writes behind that the database refused.",
        lambda s: s.buried,
    ),
    _cluster(
        "shardproxy_cache_backlog",
        GAUGE,
        "Writes behind that the database does not have yet, of all proxies.",
        lambda c: c.backlog,
    ),
    _cluster(
        "shardproxy_cache_dead_letters",
        GAUGE,
        "Writes behind that the database refused, and that are kept.",
        lambda c: c.dead,
    ),
    Metric(
        "shardproxy_cache_source_open",
        GAUGE,
        "Whether a source is left alone for a while, as it has failed (1).",
        ("cluster", "source"),
        _breakers,
    ),
)

Pick = Callable[[RuleStatistics], Times]


def _took(pick: Pick) -> Callable[[CachingView], Iterator[tuple[Labels, Bounds, float]]]:
    def read(view: CachingView) -> Iterator[tuple[Labels, Bounds, float]]:
        for labels, counts in view.caching.rules.items():
            taken = pick(counts)
            yield labels, taken.cumulative, taken.sum

    return read


TIMES: tuple[Histogram[CachingView], ...] = (
    Histogram(
        "shardproxy_cache_load_seconds",
        "How long sources took to answer.",
        ("cluster", "rule"),
        _took(lambda s: s.load_times),
    ),
    Histogram(
        "shardproxy_cache_write_seconds",
        "How long a write took until the database had it; of writes behind, their transaction.",
        ("cluster", "rule"),
        _took(lambda s: s.write_times),
    ),
)
