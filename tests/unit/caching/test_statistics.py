"""Counts of caching as metrics and as a document."""

from __future__ import annotations

import re
from dataclasses import fields

from shardproxy.admin import caching_metrics
from shardproxy.admin.caching_document import caching_document
from shardproxy.admin.metric import Kind
from shardproxy.caching.statistics import BOUNDS, CachingStatistics, RuleStatistics
from shardproxy.dataplane.statistics import Statistics
from shardproxy.model.times import Times

NOTHING_SERVED = Statistics((), {}, 0, {})
RULE = ("main", "user:{id}")


def counted() -> CachingStatistics:
    counts = CachingStatistics()
    rule = counts.rule(*RULE)
    for number, field in enumerate(fields(RuleStatistics)):
        if field.type == "int":
            setattr(rule, field.name, 1000 + number)
    rule.load_times.add(0.003)
    counts.cluster("main").backlog = 7
    counts.breakers = lambda: {("main", "db"): True}
    return counts


def test_times_are_a_cumulative_histogram() -> None:
    times = Times(BOUNDS)
    for seconds in (0.0005, 0.001, 0.0011, 100.0):
        times.add(seconds)
    assert times.cumulative[0] == (0.001, 2)
    assert times.cumulative[1] == (0.0025, 3)
    assert times.cumulative[-2:] == [(BOUNDS[-1], 3), (float("inf"), 4)]


def test_every_count_of_a_rule_is_a_metric() -> None:
    view = caching_metrics.CachingView(NOTHING_SERVED, counted())
    shown = {value for metric in caching_metrics.TABLE for _, value in metric.read(view)}
    wanted = {1000 + n for n, field in enumerate(fields(RuleStatistics)) if field.type == "int"}
    reads = {1000}  # what the data plane counts as misses
    assert wanted - reads <= shown
    assert {7, True} <= shown


def test_names_follow_the_rules() -> None:
    for metric in caching_metrics.TABLE:
        assert re.fullmatch(r"shardproxy_cache_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert metric.help.endswith(".")
        assert set(metric.labels) <= {"cluster", "rule", "source"}
    assert len({metric.name for metric in caching_metrics.TABLE}) == len(caching_metrics.TABLE)


def test_a_cluster_without_rules_has_no_document() -> None:
    counts = counted()
    assert caching_document("other", counts, NOTHING_SERVED) is None
    document = caching_document("main", counts, NOTHING_SERVED)
    assert document is not None
    assert document["backlog"] == 7
    assert document["sources"] == [{"source": "db", "is_open": True}]
    (rule,) = document["rules"]
    assert (rule["match"], rule["load_seconds"], rule["hits"]) == ("user:{id}", 0.003, 0)
