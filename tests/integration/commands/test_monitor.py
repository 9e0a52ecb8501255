"""MONITOR: what an engine shows of the same requests, whichever shard and worker has them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from shardproxy.fleet import Fleet
from shardproxy.model import Address
from tests.fixtures.clients import Wire
from tests.fixtures.oracle import Pair
from tests.fixtures.proxy import Proxy, StartProxy, config_of

LINE = re.compile(r"\d{10}\.\d{6} \[(\d+) (lua|127\.0\.0\.1:\d+|unix:[^\]]*)\] (.*)", re.DOTALL)
LAST = ("ECHO", "the end of what is shown")

REQUESTS: list[tuple[str | bytes | int, ...]] = [
    ("SET", "k", b'\x00\xff "x"\\\n\t\r\a\b'),
    ("set", "k", "plain"),
    ("NOPE",),
    ("GET",),
    ("INCR", "k"),
    ("SELECT", 3),
    ("GET", "k"),
    ("SELECT", 99),
    ("AUTH", "secret"),
    ("AUTH", "somebody", "secret"),
    ("HELLO", 3, "AUTH", "somebody", "secret"),
    ("HELLO", 2, "SETNAME", "me"),
    ("HELLO", 9),
    ("CONFIG", "GET", "port"),
    ("CONFIG", "NOPE"),
    ("CLIENT", "SETNAME", "me"),
    ("CLIENT", "NO-EVICT", "off"),
    ("CLIENT", "LIST"),
    ("INFO", "server"),
    ("COMMAND", "COUNT"),
    ("EVAL", "return 1", 0),
    ("EVAL", "return 1", 1),
    ("EVALSHA", "ab", 0),
    ("SCRIPT", "LOAD", "return 1"),
    ("MULTI",),
    ("SET", "a", 1),
    ("EVAL", "return 1", 0),
    ("NOPE",),
    ("EXEC",),
    ("MULTI",),
    ("SET", "a", 1),
    ("EVAL", "return 1", 0),
    ("EXEC",),
    ("EXEC",),
    ("MULTI",),
    ("MULTI",),
    ("GET", "a"),
    ("DISCARD",),
    ("DISCARD",),
    ("WATCH", "a"),
    ("UNWATCH",),
    ("SUBSCRIBE", "c"),
    ("GET", "a"),
    ("PING",),
    ("UNSUBSCRIBE", "c"),
    ("PUBLISH", "c", "m"),
    ("BLPOP", "nothing", "0.01"),
    ("OBJECT", "ENCODING", "k"),
    ("OBJECT", "NOPE"),
    ("SLOWLOG", "LEN"),
    ("LATENCY", "LATEST"),
    ("KEYS", "*"),
    ("DBSIZE",),
    ("SCAN", 0),
    ("FLUSHALL",),
    ("RESET",),
    ("GET", "k"),
]


def shown(monitor: Wire) -> list[tuple[str, str]]:
    """Database and words of each line, up to those of LAST."""
    found: list[tuple[str, str]] = []
    while not (found and found[-1][1] == f'"{LAST[0]}" "{LAST[1]}"'):
        line = monitor.reply().decode()
        matched = LINE.fullmatch(line)
        assert matched, line
        found.append((matched[1], matched[3]))
    return found[:-1]


def said_and_shown(address: Address) -> list[tuple[str, str]]:
    with closing(Wire(address)) as monitor, closing(Wire(address)) as client:
        assert monitor.ask("MONITOR") == b"OK"
        for request in REQUESTS:
            client.ask(*request)
        client.ask(*LAST)
        return shown(monitor)


def test_it_shows_what_an_engine_shows(pair: Pair) -> None:
    theirs = said_and_shown(pair.plain.address)
    assert said_and_shown(pair.primary) == theirs
    assert not [words for _, words in theirs if "secret" in words]


def test_nothing_of_one_worker_or_shard_is_missing(fleet: Fleet, start_proxy: StartProxy) -> None:
    proxy = start_proxy(config_of(fleet, workers=3))
    addresses = [proxy.address(kind) for kind in ("configuration", "primary", "reader")]
    with closing(Wire(proxy.address("reader"))) as monitor:
        assert monitor.ask("MONITOR") == b"OK"
        clients = [Wire(addresses[number % 3]) for number in range(9)]
        for number, client in enumerate(clients):
            for key in range(20):
                client.send_command("GET", f"{number}:{key}")
        for client in clients:
            for _ in range(20):
                client.reply()
        clients[0].ask(*LAST)
        lines = [words for _, words in shown(monitor)]
        for number in range(9):
            of_client = [words for words in lines if words.startswith(f'"GET" "{number}:')]
            assert of_client == [f'"GET" "{number}:{key}"' for key in range(20)]
        assert len(lines) == 180
        for client in clients:
            client.close()


def test_it_is_refused_where_the_config_denies_it(fleet: Fleet, start_proxy: StartProxy) -> None:
    proxy = start_proxy(config_of(fleet, commands={"deny": ["monitor"]}))
    with closing(Wire(proxy.address())) as client:
        assert str(client.ask("MONITOR")).startswith("ERR MONITOR is refused by this proxy: ")


def test_client_list_says_who_monitors(proxy: Proxy) -> None:
    with closing(Wire(proxy.address())) as monitor, closing(Wire(proxy.address())) as client:
        number = monitor.ask("CLIENT", "ID")
        monitor.ask("MONITOR")
        line = client.ask("CLIENT", "LIST", "ID", number).decode()
        assert " flags=O " in line
        assert client.ask("CLIENT", "KILL", "ID", number) == 1


@pytest.fixture
def tapped(proxy: Proxy) -> Iterator[subprocess.Popen[str]]:
    """redis-cli as people run it."""
    command = ("redis-cli", "-p", str(proxy.port), "MONITOR")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_redis_cli_monitors(proxy: Proxy, tapped: subprocess.Popen[str]) -> None:
    assert tapped.stdout is not None
    assert tapped.stdout.readline() == "OK\n"
    with closing(Wire(proxy.address())) as client:
        client.ask("GET", "a key")
    assert tapped.stdout.readline().endswith('] "GET" "a key"\n')
