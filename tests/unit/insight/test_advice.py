"""What is advised: each finding with figures that call for it, and nothing of a cluster that is well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shardproxy.insight.advice import Severity, advise
from shardproxy.insight.figures import ClusterFigures, ShardFigures
from shardproxy.model import SlotRange

GIB = 1 << 30
SHARD = ShardFigures(
    0,
    "users",
    (SlotRange(0, 5460),),
    ("a", "b"),
    keys=10_000,
    used=GIB // 2,
    startup=1 << 20,
    maxmemory=GIB,
    commands_rate=500.0,
    requests_rate=500.0,
)
WELL = ClusterFigures(
    "sessions",
    "redis",
    2.0,
    (SHARD, replace(SHARD, number=1, label="1"), replace(SHARD, number=2, label="2")),
    clients=10,
    accepted_rate=0.5,
    requests_rate=1500.0,
)
HOT_KEY = {
    "key": "user:7",
    "slot": 1,
    "shard": 0,
    "requests_per_second": 400.0,
    "bytes_per_second": 1.0,
    "share": 0.8,
    "reads": 0.99,
}
HOT_FAMILY = {"family": "cart:*", "shards": {"0": 0.95, "1": 0.2}, "share": 0.3}


def first_is(**fields: Any) -> ClusterFigures:
    return replace(WELL, shards=(replace(SHARD, **fields), *WELL.shards[1:]))


def test_of_a_cluster_that_is_well_nothing_is_said() -> None:
    cool = {"keys": [{**HOT_KEY, "share": 0.1}], "families": [{**HOT_FAMILY, "shards": {"0": 0.4}}]}
    assert advise(WELL, cool) == ()


# figures, what is hot: which finding, how grave, and a part of the title or the advice
CASES: dict[str, tuple[ClusterFigures, dict[str, Any], str, Severity, str]] = {
    "keys": (first_is(keys=40_000), {}, "key_skew", Severity.WARNING, "--by keys"),
    "keys, of many shards": (
        replace(WELL, shards=(replace(SHARD, keys=900_000), *WELL.shards[1:] * 5)),
        {},
        "key_skew",
        Severity.CRITICAL,
        "shard users",
    ),
    "memory": (
        replace(
            WELL, shards=tuple(replace(s, maxmemory=0, used=GIB << 2 * (s is SHARD)) for s in WELL.shards)
        ),
        {},
        "memory_skew",
        Severity.WARNING,
        "bigkeys",
    ),
    "load": (first_is(commands_rate=4000.0), {}, "load_skew", Severity.WARNING, "hotkeys sessions"),
    "a hot key": (WELL, {"keys": [HOT_KEY]}, "hot_key", Severity.CRITICAL, "near_cache"),
    "a hot key that is written": (
        WELL,
        {"keys": [{**HOT_KEY, "share": 0.3, "reads": 0.1}]},
        "hot_key",
        Severity.WARNING,
        "split it in the application",
    ),
    "a family": (WELL, {"families": [HOT_FAMILY]}, "hot_family", Severity.WARNING, "95% of the requests"),
    "evictions": (
        first_is(evicted_rate=12.0, evicted=500, policy="allkeys-lru"),
        {},
        "evictions",
        Severity.WARNING,
        "12 keys a second",
    ),
    "nearly full": (
        first_is(used=int(0.97 * GIB)),
        {},
        "nearly_full",
        Severity.CRITICAL,
        "writes are refused",
    ),
    "nearly full, evicts": (
        first_is(used=int(0.97 * GIB), policy="allkeys-lfu"),
        {},
        "nearly_full",
        Severity.WARNING,
        "keys are evicted",
    ),
    "maxmemory": (first_is(maxmemory=2 * GIB), {}, "unbalanced_maxmemory", Severity.WARNING, "CONFIG SET"),
    "maxmemory of some only": (
        first_is(maxmemory=0),
        {},
        "unbalanced_maxmemory",
        Severity.WARNING,
        "0 is no limit",
    ),
    "one zone": (first_is(zones=("a", "a")), {}, "one_zone", Severity.WARNING, "another zone"),
    "connections": (
        replace(WELL, accepted_rate=900.0),
        {},
        "connection_per_request",
        Severity.WARNING,
        "900 connections a second",
    ),
    "no replica": (first_is(zones=("a",)), {}, "no_replica", Severity.INFO, "1 of 3 shards"),
}


@pytest.mark.parametrize(("figures", "hot", "name", "severity", "part"), CASES.values(), ids=CASES.keys())
def test_what_is_wrong_is_said_with_figures_and_a_cure(
    figures: ClusterFigures, hot: dict[str, Any], name: str, severity: Severity, part: str
) -> None:
    found = {finding.name: finding for finding in advise(figures, hot)}
    assert list(found) == [name]
    finding = found[name]
    assert finding.severity is severity
    assert part in f"{finding.title}\n{finding.advice}"
    assert finding.figures


def test_zones_that_nobody_told_are_no_fault() -> None:
    assert advise(first_is(zones=(None, None))) == ()


def test_little_says_nothing() -> None:
    few = replace(WELL, shards=tuple(replace(one, keys=3, used=1 << 20, commands_rate=0.1, requests_rate=0.1)
                                     for one in WELL.shards))  # fmt: skip
    skewed = replace(few, shards=(replace(few.shards[0], keys=100, commands_rate=9.0), *few.shards[1:]))
    assert advise(skewed, {"keys": [HOT_KEY]}) == ()


def test_a_shard_that_could_not_be_asked_is_not_judged() -> None:
    silent = replace(WELL.shards[0], why_not="node down", keys=0, used=0, maxmemory=0)
    assert advise(replace(WELL, shards=(silent, *WELL.shards[1:]))) == ()


def test_the_gravest_comes_first() -> None:
    found = advise(first_is(zones=("a",), used=int(0.97 * GIB), evicted_rate=1.0))
    assert [finding.severity for finding in found] == [Severity.CRITICAL, Severity.WARNING, Severity.INFO]
