"""Caching before PostgreSQL, as applications have it: it is killed, it hangs, it is changed by others."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from shardproxy.fleet import Fleet
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.postgres import Database, Postgres, StartPostgres
from tests.fixtures.proxy import Config, Proxy, StartProxy, config_of, wait_until

TABLE = "create table users (id bigint primary key, name text check (name <> 'bad'))"
TRIGGER = """
create function told() returns trigger language plpgsql as $$
begin
  perform pg_notify('cache', json_build_object('id', coalesce(new.id, old.id))::text);
  return null;
end $$;
create trigger told after insert or update or delete on users for each row execute function told()
"""
SELECT = "select name from users where id = :id"
UPSERT = (
    "insert into users (id, name) values (:id, :value) on conflict (id) do update set name = excluded.name"
)
OpenWire = Callable[..., Wire]


@pytest.fixture
def server(start_postgres: StartPostgres) -> Postgres:
    return start_postgres()


@pytest.fixture
def database(server: Postgres) -> Database:
    return server.database(TABLE)


def proxy_with(start: StartProxy, fleet: Fleet, database: Database, **rule: Any) -> Proxy:
    return start(config_with(fleet, database, **rule), env={"DATABASE_PASSWORD": database.password})


def config_with(fleet: Fleet, database: Database, *, invalidates: bool = False, **rule: Any) -> Config:
    caching: dict[str, Any] = {
        "sources": {"main": {"url": database.url, "password": {"env": "DATABASE_PASSWORD"}, "timeout": "1s"}},
        "rules": [
            {
                "match": "user:{id}",
                "load": {"source": "main", "sql": SELECT, "as": "string"},
                "ttl": "60s",
                "missing": "1s",
                **rule,
            }
        ],
    }
    if invalidates:
        caching["invalidate"] = {"source": "main", "channel": "cache"}
    return config_of(fleet, caching=caching, failover={"enabled": False})


def writes(mode: str) -> dict[str, Any]:
    return {"mode": mode, "upsert": UPSERT, "delete": "delete from users where id = :id"}


def name_of(database: Database, number: int) -> str | None:
    found = database.run(f"select name from users where id = {number}")
    return str(found[0][0]) if found else None


def test_a_database_that_is_killed_and_comes_back(
    start_proxy: StartProxy, fleet: Fleet, server: Postgres, database: Database, wire: OpenWire
) -> None:
    proxy = proxy_with(start_proxy, fleet, database, write=writes("through"))
    client = wire(proxy.address(), timeout=30)
    assert client.ask("SET", "user:1", "ann") == b"OK"
    server.kill()
    assert client.ask("GET", "user:1") == b"ann"
    for command in (("GET", "user:2"), ("SET", "user:1", "bob"), ("DEL", "user:1")):
        refused = client.ask(*command)
        assert isinstance(refused, ReplyError)
        assert str(refused).startswith("ERR LOADER "), refused
    assert client.ask("GET", "user:1") == b"ann", "what was refused has changed nothing"
    server.start()
    wait_until(lambda: client.ask("SET", "user:1", "bob") == b"OK", "the source is tried again", timeout=30)
    assert name_of(database, 1) == "bob"
    assert client.ask("GET", "user:1") == b"bob"


def test_a_database_that_hangs_is_waited_for_no_longer_than_agreed(
    start_proxy: StartProxy, fleet: Fleet, server: Postgres, database: Database, wire: OpenWire
) -> None:
    database.run("insert into users values (1, 'ann'), (2, 'bob')")
    proxy = proxy_with(start_proxy, fleet, database)
    client = wire(proxy.address(), timeout=30)
    assert client.ask("GET", "user:1") == b"ann"
    server.freeze()
    try:
        refused = client.ask("GET", "user:2")
        assert isinstance(refused, ReplyError)
        assert str(refused).startswith("ERR LOADER "), refused
        assert client.ask("GET", "user:1") == b"ann"
    finally:
        server.thaw()
    wait_until(lambda: client.ask("GET", "user:2") == b"bob", "the source is tried again", timeout=30)


def test_writes_behind_wait_for_a_database_that_is_away(
    start_proxy: StartProxy, fleet: Fleet, server: Postgres, database: Database, wire: OpenWire
) -> None:
    proxy = proxy_with(start_proxy, fleet, database, write=writes("behind"))
    client = wire(proxy.address(), timeout=30)
    server.kill()
    for number in range(100):
        assert client.ask("SET", f"user:{number % 5}", f"n{number}") == b"OK"
    assert client.ask("SET", "user:7", "bad") == b"OK"
    assert client.ask("GET", "user:4") == b"n99"
    server.start()
    wait_until(
        lambda: [name_of(database, number) for number in range(5)] == [f"n{95 + n}" for n in range(5)],
        "all of it is drained",
        timeout=30,
    )
    dead = 'shardproxy_cache_dead_letters{cluster="main"}'
    wait_until(lambda: proxy.metrics()[dead] == 1, "what it refuses is a dead letter", timeout=30)
    assert name_of(database, 7) is None
    assert client.ask("GET", "user:7") is None


def test_changes_behind_the_proxy_are_heard_also_those_that_were_missed(
    start_proxy: StartProxy, fleet: Fleet, server: Postgres, wire: OpenWire
) -> None:
    database = server.database(TABLE, TRIGGER)
    database.run("insert into users values (1, 'ann')")
    proxy = proxy_with(start_proxy, fleet, database, invalidates=True)
    client = wire(proxy.address(), timeout=30)
    assert client.ask("GET", "user:1") == b"ann"
    wait_until(lambda: database.run("select 1 from pg_stat_activity where query ~ 'LISTEN'"), "it listens")
    database.run("update users set name = 'bob'")
    wait_until(lambda: client.ask("GET", "user:1") == b"bob", "it is told")
    database.run("delete from users")
    wait_until(lambda: client.ask("GET", "user:1") is None, "it is told")
    database.run("insert into users values (1, 'eve')")
    wait_until(lambda: client.ask("GET", "user:1") == b"eve", "a key without a row may get one")
    server.kill()
    server.start()
    database.run("update users set name = 'zoe'")
    wait_until(lambda: client.ask("GET", "user:1") == b"zoe", "what was missed may have changed", timeout=30)


def test_two_proxies_and_one_that_is_killed_leave_both_sides_with_the_same(
    start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire
) -> None:
    rule = {"write": writes("through")}
    proxies = [proxy_with(start_proxy, fleet, database, **rule) for _ in range(2)]
    said: list[tuple[int, int, str]] = []
    ended = threading.Event()

    def write(which: int, user: int) -> None:
        client = Wire(proxies[which].address(), timeout=30)
        try:
            for number in range(100_000):
                if ended.is_set():
                    return
                if client.ask("SET", f"user:{user}", f"{which}-{number}") == b"OK":
                    said.append((which, user, f"{which}-{number}"))
        except (OSError, EOFError):
            return
        finally:
            client.close()

    threads = [threading.Thread(target=write, args=(which, user)) for which in (0, 1) for user in (0, 1, 2)]
    for thread in threads:
        thread.start()
    everyone = {(which, user) for which in (0, 1) for user in (0, 1, 2)}
    wait_until(lambda: everyone <= {one[:2] for one in said}, "all write", timeout=30)
    proxies[0].kill()
    before = len(said)
    wait_until(
        lambda: {user for which, user, _ in said[before:] if which == 1} == {0, 1, 2},
        "the other goes on, once the leases have ended",
        timeout=30,
    )
    ended.set()
    for thread in threads:
        thread.join(30)
    reader = wire(proxies[1].address(), timeout=30)
    for user in range(3):
        has = name_of(database, user)
        assert reader.ask("GET", f"user:{user}") == (has or "").encode()
        assert has == [name for which, its, name in said if its == user and which == 1][-1]


def test_status_tells_of_a_source_that_fails(
    start_proxy: StartProxy, fleet: Fleet, server: Postgres, database: Database, wire: OpenWire
) -> None:
    proxy = proxy_with(start_proxy, fleet, database)
    client = wire(proxy.address(), timeout=30)
    server.kill()
    for number in range(10):
        client.ask("GET", f"user:{number}")
    caching = json.loads(proxy.get("/api/status")[1])["clusters"]["main"]["caching"]
    assert caching["sources"] == [{"source": "main", "is_open": True}]
    assert caching["rules"][0]["failures"] >= 5


def test_dead_letters_are_shown(
    start_proxy: StartProxy, fleet: Fleet, database: Database, wire: OpenWire
) -> None:
    proxy = proxy_with(start_proxy, fleet, database, write=writes("behind"))
    client = wire(proxy.address(), timeout=30)
    assert client.ask("SET", "user:7", "bad") == b"OK"
    dead = 'shardproxy_cache_dead_letters{cluster="main"}'
    wait_until(lambda: proxy.metrics()[dead] == 1, "it is a dead letter", timeout=30)
    (letter,) = json.loads(proxy.get("/api/dead-letters?cluster=main")[1])["letters"]
    assert (letter["key"], letter["operation"]) == ("user:7", "upsert")
    assert "violates check constraint" in letter["reason"]
    shown = typed("dead-letters", "main", "--admin", proxy.config["admin"])
    assert "user:7" in shown
    assert "1 writes were refused by their database" in typed("status", "--admin", proxy.config["admin"])
    assert client.ask("XDEL", letter["stream"], letter["id"]) == 1
    assert json.loads(proxy.get("/api/dead-letters?cluster=main")[1])["letters"] == []


def typed(*words: str) -> str:
    """What a command of ours prints."""
    done = subprocess.run(
        (sys.executable, "-m", "shardproxy", *words), capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout
