"""The page of `top`: what it works out, and that it fits, whatever there is to show."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from shardproxy.cli import watch_seconds
from shardproxy.cli.live import page
from shardproxy.cli.rates import Counters, quantile, rates_of
from shardproxy.cli.tables import count, seconds, size
from shardproxy.cli.top_page import View, top_page

METRICS = """\
# TYPE shardproxy_clients gauge
shardproxy_clients{{cluster="main"}} 7
# TYPE shardproxy_client_received_bytes counter
shardproxy_client_received_bytes_total{{cluster="main"}} {received}
# TYPE shardproxy_command_seconds histogram
shardproxy_command_seconds_bucket{{cluster="main",class="read",le="0.001"}} {fast}
shardproxy_command_seconds_bucket{{cluster="main",class="read",le="0.01"}} {all}
shardproxy_command_seconds_bucket{{cluster="main",class="read",le="+Inf"}} {all}
shardproxy_command_seconds_count{{cluster="main",class="read"}} {all}
shardproxy_command_seconds_sum{{cluster="main",class="read"}} 1
shardproxy_command_seconds_bucket{{cluster="main",class="write",le="+Inf"}} 5
shardproxy_command_seconds_count{{cluster="main",class="write"}} 5
shardproxy_command_seconds_sum{{cluster="main",class="write"}} 1
# TYPE shardproxy_node_requests counter
shardproxy_node_requests_total{{cluster="main",node="10.0.0.1:7001"}} {all}
"""


def counters(at: float, **values: int) -> Counters:
    return Counters.read(METRICS.format(**values), at)


BEFORE, NOW = counters(10.0, received=0, fast=0, all=0), counters(12.0, received=500, fast=90, all=100)


def test_rates_are_of_what_happened_between() -> None:
    rates = rates_of("main", BEFORE, NOW)
    assert (rates.clients, rates.rate, rates.bytes) == (7, 50.0, 250.0)
    assert rates.nodes == {"10.0.0.1:7001": 50.0}
    assert list(rates.classes) == ["read"], "nobody wrote meanwhile"
    p50, p99, p999 = rates.classes["read"].percentiles
    assert p50 == pytest.approx(0.001 * 50 / 90)
    assert p99 == pytest.approx(0.001 + 0.009 * 9 / 10)
    assert p999 == pytest.approx(0.001 + 0.009 * 9.9 / 10)


def test_counters_that_began_anew_say_nothing() -> None:
    rates = rates_of("main", NOW, counters(14.0, received=1, fast=1, all=2))
    assert (rates.rate, rates.bytes, rates.nodes) == (0.0, 0.0, {"10.0.0.1:7001": 0.0})


def test_quantiles_end_at_the_last_bound() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({1.0: 0.0, float("inf"): 0.0}, 0.5) is None
    assert quantile({1.0: 1.0, float("inf"): 10.0}, 0.99) == 1.0


def status(shards: int, **node: Any) -> dict[str, Any]:
    """A cluster of so many shards of two nodes; `node` is what is special of the last one."""
    found: list[dict[str, Any]] = []
    for number in range(shards):
        nodes: list[dict[str, Any]] = [
            {
                "address": f"10.{number}.0.{place}:7001",
                "role": "replica" if place else "primary",
                "state": "up",
                "sync": "streaming" if place else None,
                "sync_reason": "",
                "reason": "",
                "since": 3600.0,
                "lag": place,
                "zone": "eu-west-1a",
                "manager": None,
                "version": "7.2.4",
            }
            for place in (0, 1)
        ]
        found.append(
            {"shard": number, "name": None, "state": "ok", "epoch": 1, "slots": ["0-65"], "nodes": nodes}
        )
    if node and found:
        found[-1]["nodes"][0].update(node)
    return {"clusters": {"main": {"is_paused": False, "shards": found}} if shards else {}, "proxies": []}


HOT = {
    "clusters": {
        "main": {
            "keys": [
                {
                    "key": f"a very long key of [red]an application[/] {number}" * 3,
                    "shard": 0,
                    "requests_per_second": 100.0 - number,
                    "bytes_per_second": 1e6,
                    "share": 0.5,
                    "reads": 1.0,
                }
                for number in range(10)
            ]
        }
    }
}
EVENTS = [
    {
        "cluster": "main",
        "shard": 1,
        "shard_name": None,
        "name": "FailoverComplete",
        "message": f"number {n} " * 30,
    }
    for n in range(10)
]
DOWN = {"state": "down", "reason": "nothing listens"}


def lines(view: View, width: int = 80, height: int = 24) -> list[str]:
    out = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    out.print(top_page(view, width, height))
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


RATES = {"main": rates_of("main", BEFORE, NOW)}
VIEWS = {
    "small": View("127.0.0.1:9700", "12:00:00", status(1), RATES),
    "all there is": View("127.0.0.1:9700", "12:00:00", status(3, **DOWN), RATES, HOT, EVENTS),
    "250 shards": View("127.0.0.1:9700", "12:00:00", status(250, **DOWN), RATES, HOT, EVENTS),
    "empty": View("127.0.0.1:9700", "12:00:00", status(0)),
    "in trouble": View("127.0.0.1:9700", "12:00:00", status(3), RATES, trouble="no proxy answers " * 20),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 10), (132, 50), (60, 24)])
def test_a_page_fits(view: View, width: int, height: int) -> None:
    found = lines(view, width, height)
    assert len(found) <= height
    assert max(map(len, found)) <= width


def test_what_is_not_well_comes_first() -> None:
    found = lines(VIEWS["250 shards"])
    first = next(number for number, line in enumerate(found) if line.startswith("shard ")) + 1
    assert "10.249.0.0:7001" in found[first]
    assert "down" in found[first]
    assert "10.0.0.0:7001" in found[first + 1], "then come the busiest"
    assert any("nodes more" in line for line in found)
    assert "1 complaint: shardproxy status" in found[0]


def test_all_of_it_is_there_at_80_by_24() -> None:
    text = "\n".join(lines(VIEWS["all there is"]))
    for part in (
        "p99.9",
        "read",
        "10.1.0.1:7001",
        "streaming",
        "of shard",
        "[red]",
        "FailoverComplete",
        "9.1ms",
    ):
        assert part in text, part
    assert "number 9" in text, "the newest event"


def test_trouble_stands_above_what_was_there() -> None:
    found = lines(VIEWS["in trouble"])
    assert "no proxy answers" in found[0]
    assert any("10.0.0.0:7001" in line for line in found)


def test_a_watched_page_says_what_has_no_room() -> None:
    out = Console(file=io.StringIO(), width=20, height=4, color_system=None)
    out.print(page(Text("head" * 10), "one\ntwo\nthree\nfour\n", 4))
    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue().splitlines() == ["head" * 5, "one", "two", "... 2 lines more"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status", "--watch"], ["status", "--watch=2"]),
        (["status", "--watch", "0.5"], ["status", "--watch", "0.5"]),
        (["status", "--watch", "--output", "json"], ["status", "--watch=2", "--output", "json"]),
        (["status", "--watch=9"], ["status", "--watch=9"]),
        (["explain", "c", "--", "GET", "--watch"], ["explain", "c", "--", "GET", "--watch"]),
    ],
)
def test_how_often_may_be_left_out(words: list[str], said: list[str]) -> None:
    assert watch_seconds(words) == said


def test_figures_are_short() -> None:
    assert [seconds(value) for value in (None, 8e-5, 0.0012, 0.034, 3.4)] == [
        "",
        "80us",
        "1.2ms",
        "34ms",
        "3.4s",
    ]
    assert [count(value) for value in (0, 3, 3.14, 12345.6)] == ["0", "3", "3.1", "12,346"]
    assert [size(value) for value in (0, 2048, 3 << 30)] == ["0 B", "2.0 KiB", "3.0 GiB"]
