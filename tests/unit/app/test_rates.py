"""Rates and percentiles, out of what the workers counted at two moments."""

from __future__ import annotations

import pytest

from shardproxy.admin.rates import Snapshot, rates_document
from shardproxy.config import parse_config
from shardproxy.dataplane.statistics import Statistics
from tests.unit.app.fake_native import statistics

CONFIG = """
clusters:
  main:
    engine: redis
    endpoints: {primary: "127.0.0.1:7000"}
    shards: [{nodes: ["127.0.0.1:7101", "127.0.0.1:7102"]}]
"""
TOPOLOGIES = {"main": parse_config(CONFIG).topologies()[0]}


FAST, SLOWER = 36, 40  # buckets: from 1.024 to 1.28 ms, from 2.048 to 2.56 ms


def at(moment: float, *, reads: int, node: int, fine: list[list[int]]) -> Snapshot:
    values = statistics()
    cluster = values["clusters"]["main"]
    cluster["latency"] = {"read": {"fine": fine, "sum": 1.0}}
    cluster["shards"] = {0: {"latency": cluster["latency"], "sampled": 0, "hottest": 0}}
    cluster["nodes"]["127.0.0.1:7101"]["requests"] = node
    return Snapshot(moment, Statistics.read(values))


def test_rates_are_of_the_last_second_and_percentiles_of_them_all() -> None:
    kept = [
        at(10.0, reads=0, node=0, fine=[]),
        at(11.0, reads=100, node=90, fine=[[FAST, 100]]),
        at(13.0, reads=200, node=130, fine=[[FAST, 100], [SLOWER, 100]]),
    ]
    cluster = rates_document(kept, TOPOLOGIES)["clusters"]["main"]
    assert cluster["requests_per_second"] == 50.0
    assert cluster["clients"] == 3
    assert cluster["classes"]["read"]["rate"] == 50.0
    assert cluster["classes"]["read"]["p50"] == pytest.approx(0.00128)
    assert cluster["classes"]["read"]["p99"] == pytest.approx(0.00254976)
    assert cluster["shards"]["0"]["rate"] == 20.0
    assert cluster["shards"]["0"]["p50"] == pytest.approx(0.00128)
    assert cluster["nodes"] == {"127.0.0.1:7101": {"rate": 20.0, "connections": 4}}


def test_one_moment_says_nothing_and_a_new_cluster_no_rate() -> None:
    one = at(1.0, reads=10, node=10, fine=[[FAST, 10]])
    assert rates_document([one], TOPOLOGIES) == {"clusters": {}}
    without = Snapshot(0.0, Statistics.read({**statistics(), "clusters": {}}))
    cluster = rates_document([without, one], {})["clusters"]["main"]
    assert cluster["shards"] == {}
    assert cluster["nodes"]["127.0.0.1:7101"]["rate"] == 0.0


def test_counters_that_begin_anew_are_no_negative_rate() -> None:
    kept = [
        at(1.0, reads=900, node=900, fine=[[FAST, 900]]),
        at(2.0, reads=5, node=5, fine=[[SLOWER, 5]]),
    ]
    cluster = rates_document(kept, TOPOLOGIES)["clusters"]["main"]
    assert cluster["classes"]["read"]["rate"] == 0.0
    assert cluster["shards"]["0"]["rate"] == 0.0
