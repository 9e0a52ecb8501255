"""Caching as applications have it: `shardproxy run` over real engines and SQLite."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shardproxy.fleet import Fleet
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Config, Proxy, StartProxy, config_of, wait_until

SELECT = "select name, email from users where id = :id"
UPSERT = (
    "insert into users (id, name, email) values (:id, :name, :email)"
    " on conflict (id) do update set name = excluded.name, email = excluded.email"
)
DELETE = "delete from users where id = :id"
OpenWire = Callable[..., Wire]
ANN = {"name": "ann", "email": "ann@example.com"}
BOB = {"name": "bob", "email": "bob@example.com"}


class Database:
    """A file of SQLite that the test looks into, beside the proxies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run("pragma journal_mode = wal")
        self.run("create table users (id integer primary key, name text check (name <> 'bad'), email text)")

    def run(self, *statement: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=10)
        try:
            return connection.execute(*statement).fetchall()
        finally:
            connection.close()

    def add(self, number: int, row: dict[str, str]) -> None:
        self.run(
            "insert or replace into users (id, name, email) values (?, ?, ?)",
            (number, row["name"], row["email"]),
        )

    def row(self, number: int) -> dict[str, str] | None:
        found = self.run("select name, email from users where id = ?", (number,))
        return dict(zip(("name", "email"), found[0], strict=True)) if found else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody writes there meanwhile."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute("begin exclusive")
        try:
            yield
        finally:
            connection.rollback()
            connection.close()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "app.db")


def caching(database: Database, *, load: dict[str, Any] | None = None, **rule: Any) -> Config:
    return {
        "sources": {"main": {"url": f"sqlite:///{database.path}", "timeout": "2s"}},
        "rules": [
            {
                "match": "user:{id}",
                "load": load or {"source": "main", "sql": SELECT, "as": "json"},
                "ttl": "60s",
                "missing": "30s",
                **rule,
            }
        ],
    }


def writes(mode: str) -> dict[str, Any]:
    return {"mode": mode, "upsert": UPSERT, "delete": DELETE}


def proxy_of(fleet: Fleet, rules: Config) -> Config:
    return config_of(fleet, caching=rules, failover={"enabled": False})


def value(reply: Any) -> Any:
    assert not isinstance(reply, ReplyError), reply
    return None if reply is None else json.loads(reply)


def rule_of(proxy: Proxy) -> dict[str, Any]:
    status = json.loads(proxy.get("/api/status")[1])
    found = status["clusters"]["main"]["caching"]["rules"][0]
    assert isinstance(found, dict)
    return found


def test_reads_are_loaded_and_known(
    start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire
) -> None:
    database.add(1, ANN)
    database.add(2, BOB)
    proxy = start_proxy(proxy_of(fleet, caching(database)))
    client = wire(proxy.address())
    assert value(client.ask("GET", "user:1")) == ANN
    assert value(client.ask("GET", "user:1")) == ANN
    assert client.ask("GET", "user:9") is None
    assert client.ask("GET", "user:9") is None
    assert client.ask("GET", "other:1") is None
    found = client.ask("MGET", "user:1", "user:2", "user:9", "other:1")
    assert [value(one) for one in found] == [ANN, BOB, None, None]
    assert rule_of(proxy)["loads"] == 3
    assert rule_of(proxy)["spared"] >= 1
    metrics = proxy.metrics()
    assert metrics['shardproxy_cache_loads_total{cluster="main",rule="user:{id}"}'] == 3
    assert metrics['shardproxy_cache_load_seconds_count{cluster="main",rule="user:{id}"}'] == 3
    assert metrics['shardproxy_cache_hits_total{cluster="main",rule="user:{id}"}'] >= 1
    shown = subprocess.run(
        (sys.executable, "-m", "shardproxy", "status", "--admin", proxy.config["admin"]),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    assert "user:{id}" in shown


def test_a_thousand_clients_of_two_proxies_cost_one_query(
    start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire
) -> None:
    database.add(1, ANN)
    config = proxy_of(fleet, caching(database))
    proxies = [start_proxy(config), start_proxy(config)]
    clients = [wire(proxies[number % 2].address(), timeout=30) for number in range(1000)]
    for client in clients:
        client.send_command("GET", "user:1")
    assert [value(client.reply()) for client in clients] == [ANN] * 1000
    assert sum(rule_of(proxy)["loads"] for proxy in proxies) == 1


def test_writes_go_through(start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire) -> None:
    proxy = start_proxy(proxy_of(fleet, caching(database, write=writes("through"))))
    client = wire(proxy.address())
    assert client.ask("SET", "user:1", json.dumps(ANN)) == b"OK"
    assert database.row(1) == ANN
    assert value(client.ask("GET", "user:1")) == ANN
    refused = client.ask("SET", "user:1", json.dumps({**ANN, "name": "bad"}))
    assert isinstance(refused, ReplyError)
    assert str(refused).startswith("ERR LOADER refused: ")
    assert "CHECK constraint failed" in str(refused)
    assert value(client.ask("GET", "user:1")) == ANN
    assert value(client.ask("GETSET", "user:1", json.dumps(BOB))) == ANN
    assert database.row(1) == BOB
    assert client.ask("MSET", "user:2", json.dumps(ANN), "user:3", json.dumps(BOB), "plain", "x") == b"OK"
    assert (database.row(2), database.row(3), client.ask("GET", "plain")) == (ANN, BOB, b"x")
    partly = client.ask("MSET", "user:4", json.dumps(ANN), "user:5", "no json", "user:6", json.dumps(ANN))
    assert isinstance(partly, ReplyError)
    assert str(partly).startswith("ERR LOADER 1 of 3 keys were written, and then not user:5: refused: ")
    assert (database.row(4), database.row(6)) == (ANN, None)
    assert client.ask("DEL", "user:1", "user:2", "plain") == 3
    assert (database.row(1), database.row(2), database.row(3)) == (None, None, BOB)
    assert client.ask("GET", "user:1") is None
    refused = client.ask("MSETNX", "user:1", "{}", "{user:1}", "{}")
    assert isinstance(refused, ReplyError)
    assert str(refused).startswith("ERR LOADER MSETNX is refused for keys that are kept in a database")


def test_a_thousand_keys_that_are_not_cached_are_read_at_once(
    start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire
) -> None:
    database.run(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000)"
        " insert into users select i, 'u' || i, null from n"
    )
    proxy = start_proxy(proxy_of(fleet, caching(database)))
    client = wire(proxy.address(), timeout=30)
    found = client.ask("MGET", *(f"user:{number}" for number in range(1, 1001)))
    assert [value(one)["name"] for one in found] == [f"u{number}" for number in range(1, 1001)]


def test_order_of_one_clients_pipeline_is_kept(
    start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire
) -> None:
    proxy = start_proxy(proxy_of(fleet, caching(database, write=writes("through"))))
    client = wire(proxy.address())
    for number in range(20):
        client.send_command("SET", "user:1", json.dumps({**ANN, "name": str(number)}))
        client.send_command("GET", "user:1")
        client.send_command("GET", "user:2")
    for number in range(20):
        assert client.reply() == b"OK"
        assert value(client.reply())["name"] == str(number)
        assert client.reply() is None


def test_a_database_that_is_down_is_an_error_or_a_miss(
    start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire
) -> None:
    database.add(1, ANN)
    rules = caching(database)
    rules["rules"].append({**rules["rules"][0], "match": "soft:{id}", "on_failure": "miss"})
    proxy = start_proxy(proxy_of(fleet, rules))
    client = wire(proxy.address())
    moved = database.path.with_suffix(".away")
    database.path.rename(moved)
    for _ in range(8):
        refused = client.ask("GET", "user:1")
        assert isinstance(refused, ReplyError)
        assert str(refused).startswith("ERR LOADER ")
    assert client.ask("GET", "soft:1") is None
    assert proxy.metrics()['shardproxy_cache_source_open{cluster="main",source="main"}'] == 1
    moved.rename(database.path)
    wait_until(lambda: not isinstance(client.ask("GET", "user:1"), ReplyError), "the source is tried again")
    assert value(client.ask("GET", "user:1")) == ANN


def test_writes_behind_outlive_a_proxy_that_is_killed(
    start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire
) -> None:
    config = proxy_of(fleet, caching(database, write=writes("behind")))
    first = start_proxy(config)
    client = wire(first.address())
    with database.locked():
        for number in range(50):
            for user in range(4):
                row = json.dumps({**ANN, "name": str(number)})
                assert client.ask("SET", f"user:{user}", row) == b"OK"
        assert database.row(0) is None
        assert rule_of(first)["writes"] == 200
        first.kill()
    second = start_proxy(config)
    wait_until(
        lambda: all((row := database.row(user)) and row["name"] == "49" for user in range(4)),
        "another proxy drains what was acknowledged",
        timeout=30,
    )
    wait_until(
        lambda: second.metrics()['shardproxy_cache_backlog{cluster="main"}'] == 0, "the backlog is gone"
    )


def test_sources_that_cannot_be_opened_lose_no_write(
    start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire
) -> None:
    config = proxy_of(fleet, caching(database, write=writes("behind")))
    proxy = start_proxy(config)
    client = wire(proxy.address(), timeout=30)
    row = json.dumps(ANN)
    with database.locked():
        assert client.ask("SET", "user:1", row) == b"OK"
        broken = caching(database, write=writes("behind"), ttl="50s")
        broken["sources"]["other"] = {"url": "postgresql://nobody@host:1x/db"}
        proxy.reload(proxy_of(fleet, broken))
        wait_until(lambda: "caching cannot begin" in proxy.log(), "the other config is taken")
        for command in (("SET", "user:2", row), ("SET", "user:1", row), ("GET", "user:2")):
            refused = client.ask(*command)
            assert isinstance(refused, ReplyError)
            assert str(refused) == "ERR LOADER caching is not ready: its sources are not open"
        assert client.ask("SET", "other", "value") == b"OK"
    assert proxy.metrics()['shardproxy_cache_dead_letters{cluster="main"}'] == 0
    assert database.row(1) is None
    proxy.reload(config)
    wait_until(lambda: database.row(1) == ANN, "what was acknowledged is drained", timeout=20)
    assert client.ask("SET", "user:2", row) == b"OK"
    wait_until(lambda: database.row(2) == ANN, "and so is what comes")


def test_the_first_rules_come_by_a_reload(
    start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire
) -> None:
    """What serves rules is loaded only then."""
    database.add(1, ANN)
    proxy = start_proxy(config_of(fleet, failover={"enabled": False}))
    client = wire(proxy.address(), timeout=30)
    assert client.ask("GET", "user:1") is None
    proxy.reload(proxy_of(fleet, caching(database)))
    wait_until(lambda: value(client.ask("GET", "user:1")) == ANN, "the rule is gone by")
    assert rule_of(proxy)["loads"] == 1


def test_two_proxies_write_through_one_is_killed_and_both_sides_agree(
    start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire
) -> None:
    config = proxy_of(fleet, caching(database, write=writes("through")))
    proxies = [start_proxy(config), start_proxy(config)]
    said: list[tuple[int, str]] = []
    ended = threading.Event()

    def write(which: int) -> None:
        number = 0
        try:
            client = wire(proxies[which].address(), timeout=30)
            while not ended.is_set():
                number += 1
                name = f"{which}-{number}"
                if client.ask("SET", "user:1", json.dumps({**ANN, "name": name})) == b"OK":
                    said.append((which, name))
        except (OSError, EOFError):
            return

    threads = [threading.Thread(target=write, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len({which for which, _ in said}) == 2 and len(said) > 40, "both write", timeout=30)
    proxies[0].kill()
    before = len(said)
    wait_until(lambda: len(said) > before + 10, "the other goes on once the lease has ended", timeout=30)
    ended.set()
    for thread in threads:
        thread.join(30)
    reader = wire(proxies[1].address(), timeout=30)
    assert value(reader.ask("GET", "user:1")) == database.row(1)


def test_an_engine_that_is_killed_loses_no_acknowledged_write(
    start_proxy: StartProxy, start_fleet: StartFleet, database: Database, wire: OpenWire
) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    proxy = start_proxy(proxy_of(fleet, caching(database, write=writes("through"))))
    client = wire(proxy.address(), timeout=30)
    assert client.ask("SET", "user:1", json.dumps(ANN)) == b"OK"
    fleet.shards[0].primary.kill()
    client.send_command("SET", "user:1", json.dumps(BOB))
    refused = client.reply()
    assert isinstance(refused, ReplyError)
    assert database.row(1) == ANN
    fleet.shards[0].primary.start()
    wait_until(lambda: not isinstance(client.ask("GET", "user:1"), ReplyError), "it serves", timeout=30)
    assert value(client.ask("GET", "user:1")) == ANN


def test_an_old_value_is_served_and_refreshed(
    start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire
) -> None:
    database.add(1, ANN)
    rules = caching(database, ttl="1s", jitter=0, stale="60s")
    proxy = start_proxy(proxy_of(fleet, rules))
    client = wire(proxy.address())
    assert value(client.ask("GET", "user:1")) == ANN
    database.add(1, BOB)
    wait_until(lambda: value(client.ask("GET", "user:1")) == BOB, "it is refreshed behind readers")
    assert rule_of(proxy)["stale"] >= 1
    assert rule_of(proxy)["refreshes"] >= 1


def test_commands_that_go_by_what_was_reach_the_database(
    start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire
) -> None:
    load = {"source": "main", "sql": "select name from users where id = :id", "as": "string"}
    upsert = (
        "insert into users (id, name) values (:id, :value) on conflict do update set name = excluded.name"
    )
    write = {"mode": "through", "upsert": upsert, "delete": DELETE}
    database.add(1, {**ANN, "name": "41"})
    proxy = start_proxy(proxy_of(fleet, caching(database, load=load, write=write)))
    client = wire(proxy.address())
    assert client.ask("INCR", "user:1") == 42
    assert client.ask("APPEND", "user:1", "0") == 3
    assert client.ask("SET", "user:1", "7", "NX", "GET") == b"420"
    assert client.ask("GETDEL", "user:2") is None
    assert (database.row(1) or {})["name"] == "420"
    assert client.ask("EXPIRE", "user:1", "5") == 1
    assert client.ask("TTL", "user:1") in (4, 5)
    assert client.ask("GETDEL", "user:1") == b"420"
    assert database.row(1) is None
