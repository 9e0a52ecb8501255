"""The metrics table: every counter of the data plane, once, by the rules of naming."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from shardproxy.access.statistics import LoginStatistics
from shardproxy.admin import failover_metrics, login_metrics
from shardproxy.admin.collector import registry_build
from shardproxy.admin.metrics import TABLE, Kind, metric_names
from shardproxy.admin.status import Sources, Status, StatusBoard
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
    sources = Sources(StatusBoard(status), lambda: read, clients, {}, logins=logins)
    return registry_build(sources, clock=lambda: 0.0)


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
    **{f"latency {n}": n for n in (28, 29, 30, 0.5)},
    **{f"node {n}": n for n in range(4, 15)},
    "age": 0.25,
    "epoch": 6,
    **{f"login {n}": n for n in range(1001, 1006)},
    "reloads": 2,
    "refused reloads": 1,
}


@pytest.mark.parametrize("value", EVERY_COUNTER.values(), ids=EVERY_COUNTER.keys())
def test_every_counter_is_shown(families: list[Metric], value: float) -> None:
    ours = [name for name, _, shown in samples(families) if shown == value and name.startswith("shardproxy_")]
    assert ours, f"no metric shows {value}"


def test_names_follow_the_rules() -> None:
    for metric in TABLE:
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
    named = [(metric.name, metric.help, metric.labels) for metric in TABLE]
    named += [(metric.name, metric.help, metric.labels) for metric in login_metrics.TABLE]
    for name, text, labels in named:
        assert re.fullmatch(r"shardproxy_[a-z_]+", name)
        assert text.endswith("."), name
        assert not re.search(r"_(ms|millis|microseconds|kb|mb)(_|$)", name), "base units only"
        assert set(labels) <= {"worker", "cluster", "node", "command", "outcome", "reason", "event"}
    assert len({name for name, _, _ in named}) == len(named)


def test_the_table_names_all_that_a_scrape_shows(families: list[Metric]) -> None:
    shown = {name for name, _, _ in samples(families) if name.startswith("shardproxy_")}
    by_cluster = {metric.name for metric in failover_metrics.TABLE if "cluster" in metric.labels}
    by_cluster |= {f"{failover_metrics.SECONDS}_{part}" for part in ("sum", "count")}
    assert (
        shown
        == (metric_names() | login_metrics.metric_names() | failover_metrics.metric_names()) - by_cluster
    )  # no shard is watched here


def test_latency_is_a_cumulative_histogram(families: list[Metric]) -> None:
    buckets = [
        (labels["le"], value)
        for name, labels, value in samples(families)
        if name == "shardproxy_command_seconds_bucket"
    ]
    assert buckets == [("0.001", 28), ("0.002", 29), ("+Inf", 30)]


def test_the_process_is_measured_too(families: list[Metric]) -> None:
    names = {name for name, _, _ in samples(families)}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= names
