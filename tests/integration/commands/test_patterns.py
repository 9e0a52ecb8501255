"""Glob patterns match as an engine matches them, and no client can make the control plane busy with one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shardproxy.dataplane import _native
from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import Wire
from tests.fixtures.offload import ask_engine, open_desk
from tests.fixtures.proxy import Proxy

SYMBOLS = b"*?[]^-\\abcZ"
words = st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=7).map(bytes)
patterns = st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=9).map(bytes)


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)
@given(pattern=patterns, keys=st.sets(words, min_size=1, max_size=20))
def test_a_pattern_matches_what_it_matches_in_an_engine(
    fleet: Fleet, pattern: bytes, keys: set[bytes]
) -> None:
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    node.ask("FLUSHALL")
    node.ask("MSET", *(word for key in keys for word in (key, b"x")))
    found = set(_native.glob_filter(pattern, sorted(keys), False))
    assert found == set(node.ask("KEYS", pattern))


@pytest.mark.parametrize(
    "pattern", ["GE[T]", "*[a-C]l", "*|L*", "[Z-a]et", "g[\\E]t", "g\\ET", "[^G]*t", "*a*e*t"]
)
async def test_commands_are_listed_as_an_engine_lists_them(fleet: Fleet, pattern: str) -> None:
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    request = ("COMMAND", "LIST", "FILTERBY", "PATTERN", pattern)
    async with open_desk(fleet) as desk:
        ours = await desk.ask(*request)
    theirs = await ask_engine(node, *request)
    only_ours = {b"client|no-touch", b"client|setinfo"}  # the proxy has them whatever the engine's version
    assert set(ours.split(b"\r\n")[2::2]) - only_ours == set(theirs.split(b"\r\n")[2::2])


@pytest.fixture
def listener(proxy: Proxy, wire: Callable[..., Wire]) -> Wire:
    client = wire(proxy)
    client.ask("SUBSCRIBE", "a" * 60, "news", "olds")
    return client


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize("stars", [8, 30])
def test_many_stars_take_no_time(proxy: Proxy, wire: Callable[..., Wire], stars: int) -> None:
    client = wire(proxy)  # which gives up after a while
    hostile = "*a" * stars + "b"
    assert client.ask("PUBSUB", "CHANNELS", hostile) == []
    assert client.ask("COMMAND", "LIST", "FILTERBY", "PATTERN", hostile) == []
    assert client.ask("PUBSUB", "CHANNELS", "[mn]e?s") == [b"news"]
    assert client.ask("PUBSUB", "NUMSUB", "news", "nobody") == [b"news", 1, b"nobody", 0]


def test_patterns_that_cost_too_much_are_refused(proxy: Proxy, wire: Callable[..., Wire]) -> None:
    listener, client = wire(proxy), wire(proxy)
    listener.send_command("SUBSCRIBE", "a" * 1_000_000)
    listener.reply()
    error = "ERR the pattern would take too long to match"
    assert client.ask("PUBSUB", "CHANNELS", "*" + "a" * 500_000 + "b") == error
    assert client.ask("COMMAND", "LIST", "FILTERBY", "PATTERN", "*a" * 1_000_000) == error


def test_a_million_words_are_refused_not_looked_at(proxy: Proxy, wire: Callable[..., Wire]) -> None:
    client = wire(proxy)
    for command in (("COMMAND", "INFO"), ("COMMAND", "DOCS"), ("CLIENT", "KILL"), ("PUBSUB", "NUMSUB")):
        assert client.ask(*command, *["get"] * 100_000) == "ERR more than 65536 arguments"
    assert len(client.ask("COMMAND", "INFO", *["get"] * 50_000)) == 50_000


async def test_the_last_filter_of_a_kind_counts(fleet: Fleet) -> None:
    async with open_desk(fleet) as desk:
        filters = ["ID", "7"] * 20_000 + ["ID", "8"]
        assert await desk.ask("CLIENT", "KILL", *filters) == b":0\r\n"
