"""What a question to insight costs: everything else of the process waits while it is answered."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

from shardproxy.app.insight import InsightDesk, InsightTools
from shardproxy.commands.table import Table
from shardproxy.config import parse_config
from shardproxy.config.clusters import RedisCluster
from shardproxy.dataplane.statistics import Statistics
from shardproxy.dataplane.users import ANYBODY
from shardproxy.health.monitor import Boards
from shardproxy.insight.interface import Asked
from shardproxy.model.slots import slot_of
from shardproxy.nodes import NodeLinks
from tests.unit.app.fake_native import statistics

SHARDS = 40
FIRST = "127.0.0.1:7101"
CONFIG = {
    "engine": "redis",
    "endpoints": {"primary": "127.0.0.1:7000"},
    "shards": [
        {"nodes": [f"127.0.0.1:{7101 + 2 * at}", f"127.0.0.1:{7102 + 2 * at}"]} for at in range(SHARDS)
    ],
}


class Plane:
    """Says where keys are, and counts how often all its counters are read."""

    table = Table.load().encode()

    def __init__(self) -> None:
        self.looks = 0

    def slot(self, cluster: str, key: bytes) -> int:
        return slot_of(key)

    def statistics(self) -> Statistics:
        self.looks += 1
        return Statistics.read(statistics())


class Site:
    def __init__(self) -> None:
        config = parse_config(json.dumps({"clusters": {"main": CONFIG}}))
        cluster = config.clusters["main"]
        assert isinstance(cluster, RedisCluster)
        self.plane, self.terms_read = Plane(), 0
        configured: Any = SimpleNamespace(settings=SimpleNamespace(config=cluster, zone=None))
        self.desk = InsightDesk(
            InsightTools(
                cast("Any", self.plane),
                {"main": configured},
                {one.cluster: one for one in config.topologies()},
                {},
                {},
                Boards(),
                {},
                {},
                {},
                lambda _: (ANYBODY,),
                self._terms,
                lambda _: NodeLinks(),
            )
        )

    def _terms(self) -> dict[Any, Any]:
        self.terms_read += 1
        return {}

    def explain(self, *args: bytes) -> dict[str, Any]:
        return self.desk.explain(Asked("main", args))


def test_a_question_reads_counters_and_terms_once() -> None:
    """At 250 shards of three nodes reading the counters takes 26 ms."""
    site = Site()
    said = site.explain(b"MGET", *(b"key:%d" % at for at in range(100)))
    assert len(said["parts"]) > SHARDS // 2
    assert (site.plane.looks, site.terms_read) == (1, 1)


def test_the_shards_asked_about_are_those_of_the_keys() -> None:
    site = Site()
    said = site.explain(b"GET", b"foo")  # slot 12182, of 16384
    (part,) = said["parts"]
    assert part["shard"] == said["keys"][0]["shard"] == 12182 * SHARDS // 16384
    without = site.explain(b"DBSIZE")
    assert {part["shard"] for part in without["parts"]} <= {0}


def test_what_waits_for_a_node_is_told() -> None:
    site = Site()
    (part,) = site.explain(b"GET", b"{06S}")["parts"]  # slot 0
    assert [node["outstanding_bytes"] for node in part["nodes"]] == [13, 0]
