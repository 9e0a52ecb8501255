"""Who has one shard is told what several would refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from shardproxy.config import parse_config
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.dataplane.statistics import ClusterCounts, LibertyStatistics, Statistics
from shardproxy.topology.growth import LOOKS, run_growth_log, warn_of_growth
from tests.unit.app.fake_native import statistics

ONE = '[{nodes: ["a:1"]}]'
TWO = '[{nodes: ["a:1"]}, {nodes: ["b:1"]}]'


def settings(shards: str, more: str = "") -> dict[str, ClusterSettings]:
    cluster = f"{{engine: redis, endpoints: {{primary: '127.0.0.1:7000'}}, shards: {shards}{more}}}"
    text = f"clusters: {{main: {cluster}}}"
    return {"main": ClusterSettings.read(parse_config(text).clusters["main"], "7.0.15", None)}


def counted(**relaxed: LibertyStatistics) -> dict[str, ClusterCounts]:
    whole = Statistics.read(cast("Any", statistics()))
    return {"main": replace(whole.clusters["main"], relaxed=relaxed)}


def test_growth_is_warned_of_with_what_it_refuses() -> None:
    rename = LibertyStatistics(3, "RENAME a:# b:#")
    for before, now, is_warned in (
        (settings(ONE), settings(TWO), True),
        (settings(ONE), settings(ONE, ", slots: strict"), True),
        (settings(ONE), settings(ONE), False),
        (settings(TWO), settings(ONE), False),
        (settings(ONE, ", slots: strict"), settings(TWO), False),
        ({}, settings(TWO), False),
        (settings(ONE), {}, False),
    ):
        with capture_logs() as logs:
            warn_of_growth(before, now, counted(rename=rename))
        assert len(logs) == is_warned
        for line in logs:
            assert (line["cluster"], line["commands"], line["examples"]) == (
                "main",
                {"rename": 3},
                ["RENAME a:# b:#"],
            )


async def test_every_command_is_told_once(autojump_clock: MockClock) -> None:
    now = [counted()]
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_growth_log, lambda: now[0])
            await trio.sleep(2.5 * LOOKS)
            assert logs == []
            now[0] = counted(rename=LibertyStatistics(1, "RENAME a b"))
            await trio.sleep(3 * LOOKS)
            now[0] = counted(rename=LibertyStatistics(9, "RENAME a b"), eval=LibertyStatistics(1, "EVAL c d"))
            await trio.sleep(3 * LOOKS)
            nursery.cancel_scope.cancel()
    assert [line["commands"] for line in logs] == [{"rename": 1}, {"eval": 1}]
