"""SORT BY and GET look keys up: anywhere on the only shard, by their tag on several."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shardproxy.fleet import Fleet
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of

Ask = Callable[..., Wire]


@pytest.fixture(scope="module")
def small(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=1, replicas=0)


@pytest.mark.parametrize(
    "line",
    [
        "SORT list BY w_* GET # GET v_*",
        "SORT_RO list BY w_* GET # GET v_*",
        "SORT list BY {tag}w_* GET # GET v_*",
        "SORT list BY w_* LIMIT 0 10 GET # GET h_*->f",
    ],
)
def test_the_only_shard_has_all_that_patterns_look_up(
    small: Fleet, start_proxy: StartProxy, wire: Ask, line: str
) -> None:
    client = wire(start_proxy(config_of(small, workers=1)))
    client.ask("DEL", "list")
    client.ask("RPUSH", "list", "a", "b")
    for name, weight in (("a", 2), ("b", 1)):
        client.ask("MSET", f"w_{name}", weight, f"{{tag}}w_{name}", weight, f"v_{name}", name.upper())
        client.ask("HSET", f"h_{name}", "f", name.upper())
    assert client.ask(*line.split()) == [b"b", b"B", b"a", b"A"]
    client.ask("MULTI")
    assert client.ask(*line.split()) == b"QUEUED"
    assert client.ask("EXEC") == [[b"b", b"B", b"a", b"A"]]
    assert client.ask("SORT", "list", "BY", "w_*", "STORE", "elsewhere") == 2
    assert client.ask("LRANGE", "elsewhere", 0, -1) == [b"b", b"a"]


def test_of_several_shards_the_tag_says_which(proxy: Proxy, wire: Ask) -> None:
    client = wire(proxy)
    client.ask("RPUSH", "{l}ist", "a", "b")
    client.ask("MSET", "{l}w_a", 2, "{l}w_b", 1)
    assert client.ask("SORT", "{l}ist", "BY", "{l}w_*") == [b"b", b"a"]
    assert str(client.ask("SORT", "{l}ist", "BY", "w_*")).startswith("ERR BY option of SORT denied")
