"""Caching rules: loads, writes, and the sources behind them."""

from __future__ import annotations

from dashboards.build.page import INSTANCE, RULE_CLUSTER, Page, Row
from dashboards.build.panels import NONE_IS_RIGHT, ORANGE, Query, now, percentiles, rate, series, stat


def rates(*metrics: tuple[str, str]) -> tuple[Query, ...]:
    """Of counters by rule, each with its word."""
    return tuple(
        rate(f"shardproxy_cache_{name}_total", "cluster", "rule", word=word) for name, word in metrics
    )


HITS = "sum(rate(shardproxy_cache_hits_total{@c}[@r]))"
MISSES = "sum(rate(shardproxy_cache_misses_total{@c}[@r]))"

NOW = Row(
    "Now",
    (
        (
            stat(
                "Hits",
                "Part of the reads that the engine had something for.",
                "percentunit",
                f"{HITS} / ({HITS} + {MISSES})",
            ),
            stat("Reads that wait", "For a load.", "short", "sum(shardproxy_cache_waiting_reads{@c})"),
            stat(
                "Sources left alone",
                "As they fail.",
                "short",
                "sum(max by (cluster, source) (shardproxy_cache_source_open{@c}))",
                steps=NONE_IS_RIGHT,
            ),
            stat(
                "Writes behind",
                "That the databases do not have yet.",
                "short",
                "sum(max by (cluster) (shardproxy_cache_backlog{@c}))",
                steps=((1000, ORANGE), (8000, "red")),
            ),
            stat(
                "Dead letters",
                "Writes behind that a database refused, and that are kept.",
                "short",
                "sum(max by (cluster) (shardproxy_cache_dead_letters{@c}))",
                steps=NONE_IS_RIGHT,
            ),
        ),
    ),
)

READS = Row(
    "Reads",
    (
        (
            series("Hits and misses", "By rule.", "ops", *rates(("hits", "hits"), ("misses", "misses"))),
            series(
                "Loads",
                "Questions to sources, those without a row, and reads that needed none of their own.",
                "ops",
                *rates(
                    ("loads", "loads"),
                    ("loads_without_row", "without a row"),
                    ("refreshes", "refreshes"),
                    ("loads_shared", "shared"),
                    ("loads_spared", "spared"),
                ),
            ),
            series(
                "Time of a load",
                "How long sources took to answer.",
                "s",
                *percentiles("shardproxy_cache_load_seconds", "@c", "cluster", "rule", parts=(0.5, 0.99)),
            ),
        ),
        (
            series(
                "Reads that wait",
                "For a load.",
                "short",
                now("sum", "shardproxy_cache_waiting_reads", "cluster", "rule"),
            ),
            series(
                "Old values, and loads in vain",
                "Served beyond their time to live; loads whose key was written meanwhile; leases ended by writes.",
                "ops",
                *rates(
                    ("stale", "stale"), ("loads_cancelled", "cancelled"), ("leases_cancelled", "leases ended")
                ),
            ),
            series(
                "Trouble",
                "Loads that failed, errors to clients, what was answered without its rule, writes in doubt.",
                "ops",
                *rates(
                    ("load_failures", "load failed"),
                    ("errors", "errors"),
                    ("unhanded", "without the rule"),
                    ("writes_indoubt", "in doubt"),
                ),
            ),
        ),
    ),
)

WRITES = Row(
    "Writes, and sources",
    (
        (
            series("Writes", "By rule.", "ops", *rates(("writes", "written"), ("drained", "brought later"))),
            series(
                "Time of a write",
                "Until the database had it; of writes behind, their transaction.",
                "s",
                *percentiles("shardproxy_cache_write_seconds", "@c", "cluster", "rule", parts=(0.5, 0.99)),
            ),
            series(
                "Writes behind",
                "That wait, and that were refused and are kept.",
                "short",
                now("max", "shardproxy_cache_backlog", "cluster", word="waiting"),
                now("max", "shardproxy_cache_dead_letters", "cluster", word="dead letters"),
            ),
        ),
        (
            series(
                "Trouble of writes behind",
                "Batches that are tried again, and writes that were refused.",
                "ops",
                *rates(("drain_retries", "tried again"), ("dead_letters", "refused")),
            ),
            series(
                "Sources left alone",
                "1: it is not asked for a while, as it fails.",
                "short",
                now("max", "shardproxy_cache_source_open", "instance", "cluster", "source"),
            ),
        ),
    ),
)

CACHING = Page(
    "caching",
    "shardproxy: caching",
    "Caching rules: loads, writes through and behind, and the sources behind them.",
    (INSTANCE, RULE_CLUSTER),
    (NOW, READS, WRITES),
)
