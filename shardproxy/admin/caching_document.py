"""Caching as plain JSON values: what /api/status shows of each cluster that has rules."""

from __future__ import annotations

from typing import Any

from shardproxy.caching.statistics import CachingStatistics, RuleStatistics
from shardproxy.dataplane.statistics import RuleStatistics as Served
from shardproxy.dataplane.statistics import Statistics

NOTHING = Served(0, 0, 0, 0, 0)


def caching_document(cluster: str, caching: CachingStatistics, served: Statistics) -> dict[str, Any] | None:
    """What became of reads and writes by rule, in the config's order; None where there are no rules."""
    rules = {match: counts for (name, match), counts in caching.rules.items() if name == cluster}
    if not rules:
        return None
    of = served.clusters[cluster].caching if cluster in served.clusters else {}
    known = caching.cluster(cluster)
    return {
        "rules": [_rule(match, counts, of.get(match, NOTHING)) for match, counts in rules.items()],
        "backlog": known.backlog,
        "dead_letters": known.dead,
        "sources": [
            {"source": source, "is_open": is_open}
            for (name, source), is_open in caching.breakers().items()
            if name == cluster
        ],
    }


def _rule(match: str, counts: RuleStatistics, served: Served) -> dict[str, Any]:
    loads = counts.load_times
    return {
        "match": match,
        "hits": served.hits,
        "misses": served.misses,
        "loads": counts.loads,
        "shared": counts.shared,
        "spared": counts.spared,
        "failures": counts.failures,
        "stale": counts.stale,
        "refreshes": counts.refreshes,
        "waiting": counts.waiting,
        "load_seconds": round(loads.sum / total, 6) if (total := sum(loads.counts)) else None,
        "errors": counts.refused,
        "writes": counts.writes,
        "drained": counts.drained,
        "indoubt": counts.doubtful,
    }
