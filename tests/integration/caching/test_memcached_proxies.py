"""Caching before memcached as applications have it: `shardproxy run` over real nodes and SQLite."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shardproxy.fleet import Fleet
from shardproxy.model import Engine
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Config, Proxy, StartProxy, config_of, wait_until
from tests.integration.caching.test_proxies import ANN, BOB, Database, caching, rule_of, writes

OpenWire = Callable[..., Wire]
ANN_TEXT, BOB_TEXT = (json.dumps(one, separators=(",", ":")).encode() for one in (ANN, BOB))
SLOW = """
import json, pathlib, trio

async def load(key, parts):
    at = pathlib.Path({directory!r})
    with (at / "asked").open("a") as asked:
        asked.write("x")
    while not (at / "open").exists():
        await trio.sleep(0.01)
    return json.loads((at / "value").read_text())
"""


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "app.db")


@pytest.fixture
def pool(start_fleet: StartFleet) -> Fleet:
    return start_fleet(engine=Engine.MEMCACHED, shards=2, replicas=0)


def found(key: str, value: bytes) -> bytes:
    return b"VALUE %b 0 %d\r\n%b\r\nEND\r\n" % (key.encode(), len(value), value)


def ask(client: Wire, line: str, data: bytes | None = None) -> bytes:
    """The whole reply to a command."""
    client.send(line.encode() + b"\r\n" + (data + b"\r\n" if data is not None else b""))
    reply = until(client, b"\r\n")
    while reply.rpartition(b"\r\n")[0].rpartition(b"\r\n")[2] != b"END" and reply.startswith(b"VALUE"):
        reply += until(client, b"\r\n")
    if reply.startswith(b"VA "):
        reply += client.read(int(reply.split()[1]) + 2)
    return reply


def until(client: Wire, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        data += client.read(1)
    return data


def put(client: Wire, verb: str, key: str, value: bytes, more: str = "") -> bytes:
    return ask(client, f"{verb} {key} 0 0 {len(value)}{more}", value)


class Slow:
    """A source that answers when the test says so."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "slow_loader.py").write_text(SLOW.format(directory=str(directory)))
        self.value(ANN)

    def value(self, value: Any) -> None:
        (self.directory / "value").write_text(json.dumps(value))

    def wait_asked(self, times: int = 1) -> None:
        asked = self.directory / "asked"
        wait_until(lambda: asked.exists() and len(asked.read_text()) >= times, "the source is asked")

    def asked(self) -> int:
        return len((self.directory / "asked").read_text())

    def open(self) -> None:
        (self.directory / "open").touch()

    def config(self, **rule: Any) -> Config:
        rules = {"match": "user:{id}", "load": {"source": "slow", "as": "json"}, "ttl": "60s", **rule}
        return {
            "sources": {"slow": {"python": "slow_loader:load", "timeout": "5s"}},
            "rules": [{"missing": "30s", **rules}],
        }


@pytest.fixture
def slow(tmp_path: Path) -> Slow:
    return Slow(tmp_path)


@contextmanager
def clients_of(wire: OpenWire, proxies: list[Proxy], count: int) -> Iterator[list[Wire]]:
    yield [wire(proxies[number % len(proxies)].address(), timeout=30) for number in range(count)]


def test_reads_are_loaded_and_known(
    start_proxy: StartProxy, pool: Fleet, database: Database, wire: OpenWire
) -> None:
    database.add(1, ANN)
    database.add(2, BOB)
    proxy = start_proxy(config_of(pool, caching=caching(database)))
    client = wire(proxy.address())
    assert ask(client, "get user:1") == found("user:1", ANN_TEXT)
    assert ask(client, "get user:1") == found("user:1", ANN_TEXT)
    assert ask(client, "get user:9") == b"END\r\n"
    assert ask(client, "get user:9") == b"END\r\n"
    assert ask(client, "mg user:9 v") == b"EN\r\n"
    assert ask(client, "get plain") == b"END\r\n"
    several = ask(client, "get user:1 user:2 user:9 plain")
    assert several == found("user:1", ANN_TEXT).removesuffix(b"END\r\n") + found("user:2", BOB_TEXT)
    assert rule_of(proxy)["loads"] == 3
    assert rule_of(proxy)["spared"] >= 2


@pytest.mark.parametrize("line", ["mg user:1 v k", "mg user:1 v k N30", "mg dXNlcjox v k b"])
def test_meta_gets_are_loaded(
    start_proxy: StartProxy, pool: Fleet, database: Database, wire: OpenWire, line: str
) -> None:
    database.add(1, ANN)
    client = wire(start_proxy(config_of(pool, caching=caching(database))).address())
    key = line.split()[1]
    flags = " b" if line.endswith("b") else ""
    reply = ask(client, line)
    assert reply.startswith(b"VA %d " % len(ANN_TEXT))
    assert reply.endswith(b"\r\n%b\r\n" % ANN_TEXT)
    assert b" kuser:1" in reply  # as it was stored: in plain
    assert ask(client, f"mg {key} v{flags}").endswith(ANN_TEXT + b"\r\n")
    assert ask(client, "gat 100 user:1") == found("user:1", ANN_TEXT)
    assert ask(client, "mg user:1 t") == b"HD t100\r\n"


def test_two_hundred_clients_of_two_proxies_cost_one_load(
    start_proxy: StartProxy, pool: Fleet, slow: Slow, wire: OpenWire
) -> None:
    env = {"PYTHONPATH": f"{slow.directory}:{Path(__file__).parents[3]}"}
    proxies = [start_proxy(config_of(pool, caching=slow.config()), env=env) for _ in range(2)]
    with clients_of(wire, proxies, 200) as clients:
        for client in clients:
            client.send(b"get user:1\r\n")
        slow.wait_asked()
        wait_until(
            lambda: all(rule_of(proxy)["waiting"] == 100 for proxy in proxies), "all reads wait for the load"
        )
        slow.open()
        for client in clients:
            client.expect(found("user:1", ANN_TEXT))
    assert slow.asked() == 1


@pytest.mark.parametrize(
    ("line", "data", "reply", "then"),
    [
        ("set user:1 0 0 3", b"new", b"STORED\r\n", b"new"),
        ("ms user:1 3", b"new", b"HD\r\n", b"new"),
        ("add user:1 0 0 3", b"new", b"STORED\r\n", b"new"),
        ("append user:1 0 0 3", b"new", b"NOT_STORED\r\n", None),
        ("replace user:1 0 0 3", b"new", b"NOT_STORED\r\n", None),
        ("delete user:1", None, b"DELETED\r\n", None),
    ],
)
def test_a_write_beside_a_load_wins(
    start_proxy: StartProxy,
    pool: Fleet,
    slow: Slow,
    wire: OpenWire,
    line: str,
    data: bytes | None,
    reply: bytes,
    then: bytes | None,
) -> None:
    env = {"PYTHONPATH": f"{slow.directory}:{Path(__file__).parents[3]}"}
    proxy = start_proxy(config_of(pool, caching=slow.config()), env=env)
    reader, writer = wire(proxy.address(), timeout=30), wire(proxy.address())
    reader.send(b"get user:1\r\n")
    slow.wait_asked()
    assert ask(writer, line, data) == reply
    slow.value(BOB)  # so that what the cancelled load found would be seen
    slow.open()
    expected = found("user:1", then or BOB_TEXT)
    reader.expect(expected)
    assert ask(writer, "get user:1") == expected


def test_a_load_that_a_delete_overtook_brings_nothing_back(
    start_proxy: StartProxy, pool: Fleet, slow: Slow, wire: OpenWire
) -> None:
    env = {"PYTHONPATH": f"{slow.directory}:{Path(__file__).parents[3]}"}
    proxy = start_proxy(config_of(pool, caching=slow.config()), env=env)
    reader, writer = wire(proxy.address(), timeout=30), wire(proxy.address())
    reader.send(b"get user:1\r\n")
    slow.wait_asked()
    assert ask(writer, "delete user:1") == b"DELETED\r\n"
    slow.open()
    reader.expect(found("user:1", ANN_TEXT))
    assert slow.asked() == 2, "what was found before the delete is not what is answered"


def test_writes_go_through(start_proxy: StartProxy, pool: Fleet, database: Database, wire: OpenWire) -> None:
    proxy = start_proxy(config_of(pool, caching=caching(database, write=writes("through"))))
    client = wire(proxy.address())
    assert put(client, "set", "user:1", ANN_TEXT) == b"STORED\r\n"
    assert database.row(1) == ANN
    assert ask(client, "get user:1") == found("user:1", ANN_TEXT)
    bad = json.dumps({**ANN, "name": "bad"}).encode()
    refused = put(client, "set", "user:1", bad)
    assert refused.startswith(b"SERVER_ERROR LOADER refused: ")
    assert b"CHECK constraint failed" in refused
    assert ask(client, "get user:1") == found("user:1", ANN_TEXT)
    assert put(client, "set", "user:1", b"no json").startswith(b"SERVER_ERROR LOADER refused: ")

    assert put(client, "add", "user:1", BOB_TEXT) == b"NOT_STORED\r\n"
    database.add(3, BOB)
    assert put(client, "add", "user:3", ANN_TEXT) == b"NOT_STORED\r\n", "the database has it"
    assert put(client, "replace", "user:3", ANN_TEXT) == b"STORED\r\n"
    assert put(client, "replace", "user:4", ANN_TEXT) == b"NOT_STORED\r\n"
    assert put(client, "add", "user:4", ANN_TEXT) == b"STORED\r\n"
    assert (database.row(1), database.row(3), database.row(4)) == (ANN, ANN, ANN)

    for line in ("append user:1 0 0 1", "prepend user:1 0 0 1"):
        assert b"refused" in ask(client, line, b"x")
    assert ask(client, "incr user:1 1") == (
        b"SERVER_ERROR incr is refused for keys that are kept in a database\r\n"
    )
    assert ask(client, "get user:1") == found("user:1", ANN_TEXT)

    assert ask(client, "delete user:1") == b"DELETED\r\n"
    assert database.row(1) is None
    assert ask(client, "get user:1") == b"END\r\n"
    assert rule_of(proxy)["writes"] == 4


def test_cas_compares_what_the_cache_has(
    start_proxy: StartProxy, pool: Fleet, database: Database, wire: OpenWire
) -> None:
    proxy = start_proxy(config_of(pool, caching=caching(database, write=writes("through"))))
    client = wire(proxy.address())
    database.add(1, ANN)
    assert put(client, "cas", "user:1", BOB_TEXT, " 7") == b"NOT_FOUND\r\n"
    cas = ask(client, "gets user:1").split(b"\r\n")[0].split()[-1].decode()
    assert put(client, "cas", "user:1", BOB_TEXT, " 99999") == b"EXISTS\r\n"
    assert database.row(1) == ANN
    assert put(client, "cas", "user:1", BOB_TEXT, f" {cas}") == b"STORED\r\n"
    assert database.row(1) == BOB
    assert put(client, "cas", "user:1", ANN_TEXT, f" {cas}") == b"EXISTS\r\n"
    stored = ask(client, f"ms user:1 {len(ANN_TEXT)} c k O9", ANN_TEXT)
    code, cas_flag, *rest = stored.split()
    assert (code, rest) == (b"HD", [b"kuser:1", b"O9"])
    assert ask(client, "mg user:1 c") == b"HD %b\r\n" % cas_flag


def test_a_database_that_is_locked_leaves_the_cache_as_it_was(
    start_proxy: StartProxy, pool: Fleet, database: Database, wire: OpenWire
) -> None:
    rules = caching(database, write=writes("through"))
    rules["sources"]["main"]["timeout"] = "300ms"
    client = wire(start_proxy(config_of(pool, caching=rules)).address(), timeout=30)
    assert put(client, "set", "user:1", ANN_TEXT) == b"STORED\r\n"
    with database.locked():
        assert put(client, "set", "user:1", BOB_TEXT).startswith(b"SERVER_ERROR LOADER not written: ")
    assert ask(client, "get user:1") == found("user:1", ANN_TEXT)
    assert database.row(1) == ANN


def test_a_node_that_is_down_writes_nothing_and_misses(
    start_proxy: StartProxy, start_fleet: StartFleet, database: Database, wire: OpenWire
) -> None:
    pool = start_fleet(engine=Engine.MEMCACHED, shards=1, replicas=0)
    proxy = start_proxy(config_of(pool, caching=caching(database, write=writes("through"))))
    client = wire(proxy.address(), timeout=30)
    assert put(client, "set", "user:1", ANN_TEXT) == b"STORED\r\n"
    pool.kill(pool.nodes[0])
    assert put(client, "set", "user:1", BOB_TEXT).startswith(b"SERVER_ERROR ")
    assert database.row(1) == ANN
    wait_until(lambda: ask(client, "get user:1") == b"END\r\n", "the node counts as down")


def test_what_comes_back_as_it_was_sent_does_so_on_a_miss(
    start_proxy: StartProxy, pool: Fleet, database: Database, wire: OpenWire
) -> None:
    client = wire(start_proxy(config_of(pool, caching=caching(database))).address())
    for flags in ("v k O9", "v", "O9 v t k"):
        plain = ask(client, f"mg plain:9 {flags}")
        assert plain.startswith(b"EN")
        assert ask(client, f"mg user:9 {flags}") == plain.replace(b"plain:9", b"user:9")
