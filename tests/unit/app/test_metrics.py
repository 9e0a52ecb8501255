"""The metrics table: every counter of the data plane, once, by the rules of naming."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from shardproxy.access.statistics import LoginStatistics
from shardproxy.admin import caching_metrics, failover_metrics, login_metrics, metrics, process_metrics
from shardproxy.admin.collector import registry_build
from shardproxy.admin.metric import Kind, Line
from shardproxy.admin.status import Sources, Status, StatusBoard
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.dataplane.statistics import Statistics
from shardproxy.dataplane.tls import CertificateFile
from tests.unit.app.fake_native import statistics


def registry() -> CollectorRegistry:
    async def clients() -> tuple[dict[str, object], ...]:
        return ()

    read = Statistics.read(statistics())
    logins = LoginStatistics(
        accepted=Counter({"main": 1001}),
        refused=Counter({("main", "wrong signature"): 1002}),
        throttled=Counter({"main": 1003}),
        asked=Counter({"main": 1004}),
        failed=Counter({"main": 1005}),
    )
    certificates = {"main": (CertificateFile("/tls.crt", "cache.example", 2e9, "/tls.key"),)}
    status = Status(reloads=2, reloads_refused=1, certificates=certificates)
    caching = CachingStatistics()
    caching.rule("main", "user:{id}").loads = 91
    caching.rule("main", "user:{id}").load_times.add(92)
    caching.cluster("main").backlog = 93
    caching.breakers = lambda: {("main", "db"): False}
    sources = Sources(StatusBoard(status), lambda: read, clients, {}, logins=logins, caching=caching)
    return registry_build(sources, 0.0)


@pytest.fixture(scope="module")
def families() -> list[Metric]:
    return list(text_string_to_metric_families(generate_latest(registry()).decode()))


def samples(families: list[Metric]) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in families:
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


EVERY_COUNTER = {
    **{f"worker {n}": n for n in (40, 41, 42, 43, 44, 45, 85)},
    **{f"cluster {n}": n for n in (3, 20, 21, 22, 23, 24, 25, 26, 27, 31, 32, 33, 34, 35, 36, 37, 46)},
    **{f"latency {n}": n for n in (28, 30, 0.5)},
    "share of the hottest key": 0.125,
    "largest reply": 99,
    **{f"node {n}": n for n in range(4, 15)},
    "age": 0.25,
    "epoch": 6,
    **{f"login {n}": n for n in range(1001, 1006)},
    **{f"caching {n}": n for n in (49, 50, 52, 53, 91, 92, 93)},
    "reloads": 2,
    "refused reloads": 1,
}


@pytest.mark.parametrize("value", EVERY_COUNTER.values(), ids=EVERY_COUNTER.keys())
def test_every_counter_is_shown(families: list[Metric], value: float) -> None:
    ours = [name for name, _, shown in samples(families) if shown == value and name.startswith("shardproxy_")]
    assert ours, f"no metric shows {value}"


def test_names_follow_the_rules() -> None:
    of_workers = [(metric.name, metric.kind, metric.help, metric.labels) for metric in metrics.TABLE]
    of_logins = [(metric.name, metric.kind, metric.help, metric.labels) for metric in login_metrics.TABLE]
    named = of_workers + of_logins
    for name, kind, text, labels in named:
        assert name.endswith("_total") == (kind is Kind.COUNTER), name
        assert re.fullmatch(r"shardproxy_[a-z_]+", name)
        assert text.endswith("."), name
        assert not re.search(r"_(ms|millis|microseconds|kb|mb)(_|$)", name), "base units only"
        assert set(labels) <= {"worker", "cluster", "shard", "node", "command", "outcome", "reason", "event"}
    assert len({name for name, *_ in named}) == len(named)


def series(*lines: Line[Any]) -> set[str]:
    return {name for line in lines for name in line.series}


def test_the_table_names_all_that_a_scrape_shows(families: list[Metric]) -> None:
    shown = {name for name, _, _ in samples(families) if name.startswith("shardproxy_")}
    known = series(*metrics.TABLE, *metrics.TIMES, *caching_metrics.TABLE, *caching_metrics.TIMES)
    known |= series(*login_metrics.TABLE, *process_metrics.TABLE)
    known |= {line.name for line in failover_metrics.TABLE if "cluster" not in line.labels}
    assert shown == known, "no shard is watched here"


def test_latency_is_a_cumulative_histogram(families: list[Metric]) -> None:
    def buckets(metric: str) -> list[tuple[str, float]]:
        of = [
            (labels["le"], value) for name, labels, value in samples(families) if name == f"{metric}_bucket"
        ]
        *finite, last = of
        assert last == ("+Inf", 30.0)
        return finite

    doubling = [(2.0**power / 1e6, 0 if power <= 10 else 28 if power == 11 else 30) for power in range(5, 25)]
    for metric in ("shardproxy_command_seconds", "shardproxy_family_command_seconds"):
        assert [(float(le), value) for le, value in buckets(metric)] == doubling
    of_shards = [(float(le), value) for le, value in buckets("shardproxy_shard_command_seconds")]
    assert of_shards == doubling[::2], "there may be hundreds of shards"


def test_the_process_is_measured_too(families: list[Metric]) -> None:
    names = {name for name, _, _ in samples(families)}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= names
