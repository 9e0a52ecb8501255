"""Changes that others make in a real PostgreSQL are heard of."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio

from shardproxy.caching.listening import listen
from shardproxy.caching.rules import Rule, compile_rules
from shardproxy.caching.sources.postgres import Postgres as PostgresDialect
from shardproxy.config.caching import Rule as RuleConfig
from tests.fixtures.postgres import Database, Postgres, StartPostgres
from tests.fixtures.relay import Relay

TRIGGER = Path(__file__).parents[3] / "config" / "caching.sql"
TABLE = "create table users (id int primary key, name text)"


def rules(*matches: str) -> tuple[Rule, ...]:
    load = {"source": "main", "sql": "select 1"}
    return compile_rules(
        RuleConfig.model_validate({"match": match, "ttl": 1, "load": load}) for match in matches
    )


RULES = rules("user:{id}:profile", "user:{id}", "user:{id}:order:{order}", "team:{id}:*", "all")


class Heard:
    """What was heard, in its order; MISSED stands for everything."""

    MISSED = b"everything"

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self._more = trio.Event()

    async def changed(self, keys: Sequence[bytes]) -> None:
        await self._add(*keys)

    async def missed(self) -> None:
        await self._add(self.MISSED)

    async def _add(self, *said: bytes) -> None:
        self.said += said
        self._more.set()
        self._more = trio.Event()

    async def until(self, *wanted: bytes) -> None:
        """Wait until these were said, in any order, and forget them."""
        with trio.fail_after(20):
            while not set(wanted) <= set(self.said):
                await self._more.wait()
        for one in wanted:
            self.said.remove(one)


@pytest.fixture
def database(postgres: Postgres) -> Database:
    return postgres.database(TABLE)


@pytest.fixture
async def heard(database: Database) -> AsyncIterator[Heard]:
    async with trio.open_nursery() as nursery:
        heard = Heard()
        await nursery.start(listening(database, database.server.port, heard, alive=0.02))
        await heard.until(Heard.MISSED)
        yield heard
        nursery.cancel_scope.cancel()


def listening(
    database: Database, port: int, heard: Heard, alive: float = 5.0
) -> Callable[..., Awaitable[None]]:
    dialect = PostgresDialect(database.url_at(port), lambda: database.password, 1.0)
    return partial(listen, dialect, "cache", RULES, heard.changed, heard.missed, alive=alive)


async def test_a_payload_is_a_key_or_keys_or_parts_or_everything(database: Database, heard: Heard) -> None:
    for payload, keys in [
        ("user:1:profile", [b"user:1:profile"]),
        ("{user:1}:cart", [b"{user:1}:cart"]),
        ('["a", "b c"]', [b"a", b"b c"]),
        ('{"id": 42}', [b"user:42:profile", b"user:42"]),
        ('{"id": "4 2"}', [b"user:4 2:profile", b"user:4 2"]),
        ('{"id": 42, "order": 7}', [b"user:42:profile", b"user:42", b"user:42:order:7"]),
        ("", [Heard.MISSED]),
    ]:
        database.run(f"notify cache, '{payload}'")
        await heard.until(*keys)
        assert not heard.said


class Kept(PostgresDialect):
    """Shows what the server has sent and nobody has read."""

    def connect(self) -> psycopg.Connection[Any]:
        self.connection = super().connect()
        return self.connection

    def unread(self) -> bytes:
        with socket.socket(fileno=os.dup(self.connection.fileno())) as peeked:
            try:
                return peeked.recv(1 << 16, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return b""


async def test_what_may_have_changed_altogether_is_said_once_for_many(database: Database) -> None:
    heard, gate = Heard(), trio.Event()

    async def missed() -> None:
        await heard.missed()
        await gate.wait()

    dialect = Kept(database.url, lambda: database.password, 1.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, dialect, "cache", RULES, heard.changed, missed)
        await heard.until(Heard.MISSED)
        for _ in range(20):
            database.run("notify cache, ''")
        database.run("notify cache, 'end'")
        with trio.fail_after(20):
            while b"end" not in dialect.unread():  # noqa: ASYNC110  # it tells nobody
                await trio.sleep(0.01)
        gate.set()
        await heard.until(b"end", Heard.MISSED)
        database.run("notify cache, 'last'")
        await heard.until(b"last")
        assert not heard.said
        nursery.cancel_scope.cancel()


async def test_the_trigger_of_the_example_tells_of_every_change(database: Database, heard: Heard) -> None:
    database.run(await trio.Path(TRIGGER).read_text())
    for statement, ids in [
        ("insert into users values (1, 'a'), (2, 'b')", "12"),
        ("update users set name = 'c' where id = 1", "1"),
        ("update users set id = 3 where id = 2", "23"),
        ("delete from users where id = 3", "3"),
    ]:
        database.run(statement)
        await heard.until(*(f"user:{one}:profile".encode() for one in ids))
        await heard.until(*(f"user:{one}".encode() for one in ids))
        assert not heard.said
    database.run("begin; update users set name = 'x'; rollback", "notify cache, 'end'")
    await heard.until(b"end")
    assert not heard.said, "what was rolled back did not change"
    database.run("truncate users")
    await heard.until(Heard.MISSED)


async def test_a_thousand_changes_are_all_heard(database: Database, heard: Heard) -> None:
    database.run("select pg_notify('cache', 'k' || n) from generate_series(1, 3000) n")
    await heard.until(*(f"k{n}".encode() for n in range(1, 3001)))
    assert not heard.said


async def test_what_was_said_while_the_server_was_away_counts_as_missed(
    start_postgres: StartPostgres,
) -> None:
    server = start_postgres()
    database, heard = server.database(TABLE), Heard()
    async with trio.open_nursery() as nursery:
        await nursery.start(listening(database, server.port, heard))
        await heard.until(Heard.MISSED)
        server.kill()
        server.start()
        await heard.until(Heard.MISSED)
        database.run("notify cache, 'a'")
        await heard.until(b"a")
        assert not heard.said
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("fault", ["cut", "silence"])
async def test_a_connection_that_is_cut_or_silent_is_made_anew(database: Database, fault: str) -> None:
    relay, heard = Relay(database.server.port), Heard()
    async with trio.open_nursery() as nursery:
        await nursery.start(relay.run)
        await nursery.start(listening(database, relay.port, heard, alive=0.2))
        await heard.until(Heard.MISSED)
        getattr(relay, fault)()
        database.run("notify cache, 'lost'")
        relay.cut()  # what the silence held back, too
        relay.heal()
        await heard.until(Heard.MISSED)
        heard.said.clear()
        database.run("notify cache, 'b'")
        await heard.until(b"b")
        nursery.cancel_scope.cancel()


async def test_silence_is_found_out(database: Database) -> None:
    """No error comes of a connection whose packets are lost."""
    relay, heard = Relay(database.server.port), Heard()
    async with trio.open_nursery() as nursery:
        await nursery.start(relay.run)
        await nursery.start(listening(database, relay.port, heard, alive=0.2))
        await heard.until(Heard.MISSED)
        relay.mute()
        with trio.fail_after(20):
            while _listeners(database):  # noqa: ASYNC110  # it tells nobody
                await trio.sleep(0.05)
        relay.heal()
        await heard.until(Heard.MISSED)
        nursery.cancel_scope.cancel()


def _listeners(database: Database) -> bool:
    query = f"select count(*) from pg_stat_activity where usename = '{database.user}'"
    return database.server.admin(query + " and query like 'LISTEN%'") != [(0,)]


async def test_it_is_tried_until_there_is_a_server(start_postgres: StartPostgres) -> None:
    server = start_postgres()
    database, heard = server.database(TABLE), Heard()
    server.kill()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listening(database, server.port, heard))
        await trio.sleep(0.5)
        assert not heard.said
        server.start()
        await heard.until(Heard.MISSED)
        nursery.cancel_scope.cancel()
