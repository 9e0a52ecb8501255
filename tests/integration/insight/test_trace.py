"""Requests are seen as they pass, with where their time goes, and nobody pays for it while nobody looks."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, cast

import pytest

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

TIMEOUT = 60.0  # seconds
VALUE = "a value that nobody is to see"
Line = dict[str, Any]


class Trace:
    """What a trace tells, read by a thread."""

    def __init__(self, proxy: Proxy, query: str) -> None:
        self.lines: list[Line] = []
        self.response = urllib.request.urlopen(f"{proxy.admin}/api/trace?{query}", timeout=TIMEOUT)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        for line in self.response:
            self.lines.append(json.loads(line))

    def wait(self) -> list[Line]:
        """All it told, once it has ended."""
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()
        return self.lines


@contextmanager
def traced(proxy: Proxy, query: str) -> Iterator[Trace]:
    trace = Trace(proxy, query)
    try:
        yield trace
    finally:
        trace.wait()
        trace.response.close()


@pytest.fixture(scope="module")
def shards(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=2, replicas=0)


@pytest.fixture(scope="module")
def proxy(shards: Fleet, start_proxy_for_module: StartProxy) -> Proxy:
    return start_proxy_for_module(config_of(shards, workers=2))


@pytest.fixture
def wire(proxy: Proxy) -> Iterator[Wire]:
    with closing(Wire(proxy.address())) as wire:
        yield wire


def test_what_matches_is_told_until_there_is_enough(proxy: Proxy, wire: Wire) -> None:
    with traced(proxy, "cluster=main&match=user:*&seconds=50&limit=3") as trace:
        wire.ask("SET", "user:1", VALUE)
        wire.ask("SET", "other", VALUE)
        wire.ask("LPUSH", "user:1", VALUE)
        wire.ask("MGET", "other", "user:2")
    *requests, end = trace.wait()
    assert end == {"ended": "limit", "seen": 3, "dropped": 0}
    told = [(one["command"], one["key"], one["outcome"]) for one in requests]
    assert told == [("set", "user:1", "ok"), ("lpush", "user:1", "error"), ("mget", "user:2", "ok")]
    first = requests[0]
    assert first["slot"] == 10778
    assert (first["shard"], first["user"]) == (1, "default")
    assert first["node"].startswith("127.0.0.1:")
    assert first["client"].startswith("127.0.0.1:")
    assert set(first["phases"]) == {"waited", "parked", "upstream", "client"}
    assert 0 < first["phases"]["upstream"] <= first["microseconds"]
    assert first["request_bytes"] > len(VALUE)
    assert first["reply_bytes"] == len("+OK\r\n")
    assert VALUE not in json.dumps(requests)


def test_keys_are_matched_whole_wherever_they_are(proxy: Proxy, wire: Wire) -> None:
    long = f"user:{'7' * 200}:cart"
    many = [f"{{a}}{number}" for number in range(50)]
    with traced(proxy, "cluster=main&match=user:*:cart&seconds=50&limit=1") as trace:
        wire.ask("GET", long)
    assert trace.wait()[0]["key"] == f"{long[:128]}... ({len(long) - 128} more bytes)"
    with traced(proxy, f"cluster=main&match={many[-1]}&seconds=50&limit=1".replace("{", "%7B")) as trace:
        wire.ask("MGET", *many)
    assert trace.wait()[0]["key"] == many[-1]


def test_what_waited_and_what_the_control_plane_answered_is_told_of(
    shards: Fleet, proxy: Proxy, wire: Wire
) -> None:
    with traced(proxy, "cluster=main&match=queue&seconds=50&limit=3") as trace:
        assert wire.ask("BLPOP", "queue", "0.01") is None
        wire.ask("RPUSH", "queue", VALUE)
        digest = wire.ask("SCRIPT", "LOAD", "return 7")
        for shard in shards.shards:
            with closing(Wire(cast(RedisNode, shard.primary).address)) as direct:
                direct.ask("SCRIPT", "FLUSH")  # the control plane loads it anew, and asks again
        assert wire.ask("EVALSHA", digest, 1, "queue") == 7
    *requests, _ = trace.wait()
    assert [(one["command"], one["key"]) for one in requests] == [
        (command, "queue") for command in ("blpop", "rpush", "evalsha")
    ]
    assert requests[0]["node"] is None
    assert VALUE not in json.dumps(requests)


def test_what_the_near_cache_answers_is_told_of(start_fleet: StartFleet, start_proxy: StartProxy) -> None:
    config = config_of(start_fleet(shards=1, replicas=0), workers=1)
    config["clusters"]["main"]["near_cache"] = {"memory": "8mb"}
    proxy = start_proxy(config)
    with closing(Wire(proxy.address())) as wire:
        wire.ask("SET", "hot", VALUE)

        def is_kept() -> bool:
            for _ in range(50):
                wire.ask("GET", "hot")
            return proxy.metrics()['shardproxy_near_hits_total{cluster="main"}'] > 0

        wait_until(is_kept, "it is kept")
        with traced(proxy, "match=hot&seconds=50&limit=1") as trace:
            wire.ask("GET", "hot")
    [found, _] = trace.wait()
    assert (found["command"], found["key"], found["node"], found["shard"]) == ("get", "hot", None, 0)


def test_more_than_is_read_at_once_is_told_once_each(proxy: Proxy, wire: Wire) -> None:
    count = 1000
    with traced(proxy, f"cluster=main&match=n:*&seconds=50&limit={count}") as trace:
        for number in range(count):
            wire.send_command("GET", f"n:{number}")
        for _ in range(count):
            wire.reply()
    *requests, end = trace.wait()
    assert end == {"ended": "limit", "seen": count, "dropped": 0}
    # told when their client has them: a client that reads in spurts has them in another order
    assert sorted(one["key"] for one in requests) == sorted(f"n:{number}" for number in range(count))


def test_it_ends_in_time_with_nothing(proxy: Proxy, wire: Wire) -> None:
    with traced(proxy, "match=nobody:*&seconds=0.2") as trace:
        wire.ask("GET", "user:1")
    assert trace.wait() == [{"ended": "time", "seen": 0, "dropped": 0}]


def test_what_has_no_key_is_told_of_where_all_is(proxy: Proxy, wire: Wire) -> None:
    with traced(proxy, "cluster=main&seconds=50&limit=1") as trace:
        wire.ask("DBSIZE")
    assert trace.wait()[0]["key"] is None


def test_few_look_at_once_and_whoever_goes_makes_room(proxy: Proxy) -> None:
    with ExitStack() as stack:
        others = [
            stack.enter_context(closing(urllib.request.urlopen(f"{proxy.admin}/api/trace?seconds=50")))
            for _ in range(8)
        ]
        status, text = proxy.get("/api/trace?seconds=1")
        assert (status, json.loads(text)["error"]) == (
            429,
            "too many traces at once: wait until one of them ends",
        )
        for other in others:
            other.close()
        wait_until(lambda: proxy.get("/api/trace?seconds=0.1")[0] == 200, "who has gone looks no more")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=100001", "limit=x", "seconds=61", "seconds=-1", "match="]
)
def test_it_is_bounded(proxy: Proxy, query: str) -> None:
    status, text = proxy.get(f"/api/trace?{query}")
    assert status == 400
    assert json.loads(text)["error"].startswith("limit is 1-100000, seconds up to 60")


def test_clusters_are_told_by_name(proxy: Proxy) -> None:
    status, text = proxy.get("/api/trace?cluster=nope")
    assert (status, json.loads(text)["error"]) == (404, "there is no cluster nope: there is main")
