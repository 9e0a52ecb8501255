"""Databases as sources: real PostgreSQL and SQLite answer alike."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from shardproxy.caching.rules import Rule, compile_rule
from shardproxy.caching.sources.interface import (
    Rows,
    SourceBusyError,
    SourceRefusedError,
    SourceSlowError,
    SourceUnfitError,
)
from shardproxy.caching.sources.postgres import Postgres as PostgresDialect
from shardproxy.caching.sources.sql import SqlSource
from shardproxy.caching.sources.sqlite import Sqlite
from shardproxy.caching.sources.turns import Turns
from shardproxy.config.caching import Rule as RuleConfig
from tests.fixtures.postgres import Postgres

TABLE = (
    "create table users (id integer primary key, name text, email text unique, age integer check (age < 200),"
    " is_admin boolean, photo {bytes})"
)
FILLED = "insert into users (id, name, email, age) values (42, 'Ada', 'ada@example.com', 36)"
Run = Callable[..., list[tuple[Any, ...]]]
TIMEOUT = 10.0


class Place:
    """A database with a table of users, as a source and beside it."""

    def __init__(self, source: SqlSource, run: Run) -> None:
        self.source, self.run = source, run


@pytest.fixture(params=["postgres", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    dialect: PostgresDialect | Sqlite
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        database = server.database(TABLE.format(bytes="bytea"), FILLED)
        dialect = PostgresDialect(database.url, lambda: database.password, TIMEOUT)
        run: Run = database.run
    else:
        file = tmp_path / "app.db"
        dialect = Sqlite(f"sqlite:///{file}", TIMEOUT)
        run = lambda *statements: _sqlite(file, *statements)  # noqa: E731
        run(TABLE.format(bytes="blob"), FILLED)
    source = SqlSource(dialect, Turns(2, 5), TIMEOUT)
    yield Place(source, run)
    source.close()


def _sqlite(file: Path, *statements: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        return [connection.execute(statement).fetchall() for statement in statements][-1]
    finally:
        connection.close()


def loading(sql: str, match: str = "user:{id}", **more: Any) -> Rule:
    load = {"source": "main", "sql": sql, "as": "json", **more}
    return compile_rule(0, RuleConfig.model_validate({"match": match, "ttl": 1, "load": load}))


def writing(upsert: str, *, form: str = "json", match: str = "user:{id}", **more: Any) -> Rule:
    write = {"mode": "through", "source": "main", "as": form, "upsert": upsert, **more}
    return compile_rule(0, RuleConfig.model_validate({"match": match, "write": write}))


async def load(place: Place, rule: Rule, key: bytes) -> Rows | None:
    parts = rule.parts(key)
    assert parts is not None
    return await place.source.load(rule, parts)


async def write(place: Place, rule: Rule, key: bytes, value: bytes) -> None:
    parts = rule.parts(key)
    assert parts is not None
    async with place.source.writing(rule, parts, "upsert", rule.given_text(value)) as executed:
        await executed.commit()


async def test_a_part_is_compared_with_a_column_of_numbers_or_of_text(place: Place) -> None:
    by_number = loading("select name, age from users where id = :id")
    by_text = loading("select id from users where name = :name", "name:{name}")
    assert await load(place, by_number, b"user:42") == Rows(("name", "age"), (("Ada", 36),))
    assert await load(place, by_text, b"name:Ada") == Rows(("id",), ((42,),))
    assert await load(place, by_number, b"user:43") is None


@pytest.mark.parametrize("part", ["x", "42x", "42 or 1=1", "1e999", "99999999999999999999", "' --", "é"])
async def test_a_part_that_is_no_number_has_no_row(place: Place, part: str) -> None:
    rule = loading("select name from users where id = :id")
    assert await load(place, rule, f"user:{part}".encode()) is None


async def test_a_part_is_a_value_whatever_it_looks_like(place: Place) -> None:
    rule = loading("select id from users where name = :name and '100%s' <> ':x' -- :y", "name:{name}")
    for name in ("Robert'); drop table users;--", ":name", "%(name)s", "?", "$1", "a\\"):
        place.run("update users set name = '{}'".format(name.replace("'", "''")))
        assert await load(place, rule, b"name:" + name.encode()) == Rows(("id",), ((42,),))
    assert await load(place, rule, b"name:x' or '1'='1") is None


async def test_what_the_database_says_of_a_statement_is_the_reason(place: Place) -> None:
    with pytest.raises(SourceUnfitError, match="emial"):
        await load(place, loading("select emial from users where id = :id"), b"user:42")
    with pytest.raises(SourceUnfitError, match="answers no rows"):
        await load(place, loading("update users set age = 1 where id = :id"), b"user:42")


async def test_a_write_is_there_once_it_is_committed_and_not_before(place: Place) -> None:
    rule = writing("insert into users (id, name, age) values (:id, :name, :age)")
    parts = rule.parts(b"user:1")
    assert parts is not None
    given = rule.given_text(b'{"name": "Bob", "age": 5, "more": [1]}')
    async with place.source.writing(rule, parts, "upsert", given) as executed:
        assert place.run("select count(*) from users where id = 1") == [(0,)]
        await executed.commit()
    assert place.run("select name, age from users where id = 1") == [("Bob", 5)]


async def test_a_write_that_is_left_is_undone(place: Place) -> None:
    rule = writing("update users set age = :age where id = :id")
    parts = rule.parts(b"user:42")
    assert parts is not None
    for _ in range(5):  # more often than there are connections
        with pytest.raises(KeyError):
            async with place.source.writing(rule, parts, "upsert", {"age": 1}):
                raise KeyError
        with trio.CancelScope() as scope:
            async with place.source.writing(rule, parts, "upsert", {"age": 1}):
                scope.cancel()
                await trio.lowlevel.checkpoint()
    assert place.run("update users set name = 'x'", "select age from users") == [(36,)]


async def test_the_database_says_why_it_refuses_and_keeps_nothing(place: Place) -> None:
    rule = writing("insert into users (id, email, age) values (:id, :email, :age)")
    with pytest.raises(SourceRefusedError, match=r"(?i)unique"):
        await write(place, rule, b"user:1", b'{"email": "ada@example.com", "age": 1}')
    with pytest.raises(SourceRefusedError, match=r"(?i)check constraint"):
        await write(place, rule, b"user:1", b'{"email": "x", "age": 900}')
    await write(place, rule, b"user:1", b'{"email": "x", "age": 1}')
    assert place.run("select count(*) from users") == [(2,)]


async def test_a_table_that_is_not_there_is_no_fault_of_the_value(place: Place) -> None:
    rule = writing("update users set age = :age where id = :id", delete="delete from users where uid = :id")
    parts = rule.parts(b"user:42")
    assert parts is not None
    with pytest.raises(SourceUnfitError, match="uid"):
        async with place.source.writing(rule, parts, "delete", {}):
            pass
    place.run("alter table users rename to away", "select 1")
    with pytest.raises(SourceUnfitError, match="users"):
        await write(place, rule, b"user:42", b'{"age": 1}')
    place.run("alter table away rename to users", "select 1")
    await write(place, rule, b"user:42", b'{"age": 1}')


async def test_fields_of_json_have_their_types_in_the_database(place: Place) -> None:
    rule = writing("update users set name = :name, age = :age, is_admin = :is_admin where id = :id")
    await write(place, rule, b"user:42", '{"name": "12é", "age": null, "is_admin": true}'.encode())
    assert place.run("select name, age, is_admin from users") in ([("12é", None, True)], [("12é", None, 1)])
    await write(place, rule, b"user:42", b'{"name": 12, "age": 7, "is_admin": false}')
    assert place.run("select name, age, is_admin from users") in ([("12", 7, False)], [("12", 7, 0)])
    await write(place, rule, b"user:42", b'{"name": {"a": [1, null]}, "age": 7, "is_admin": false}')
    assert place.run("select name from users") == [('{"a":[1,null]}',)]


async def test_a_value_is_written_as_text_or_as_its_bytes(place: Place) -> None:
    text = writing("update users set name = :value where id = :id", form="string")
    raw = writing("update users set photo = :value_bytes where id = :id", form="string")
    await write(place, text, b"user:42", b"back\\slash")
    await write(place, raw, b"user:42", b"\x00\xff\\x41")
    assert place.run("select name, photo from users") == [("back\\slash", b"\x00\xff\\x41")]
    with pytest.raises(SourceRefusedError, match="not UTF-8 text, and the statement wants :value"):
        await write(place, text, b"user:42", b"\xff")


async def test_a_parameter_that_is_missing_is_named(place: Place) -> None:
    rule = writing("update users set name = :name, age = :age where id = :id", optional=["age"])
    with pytest.raises(SourceRefusedError, match="no field name, and the statement wants :name"):
        await write(place, rule, b"user:42", b'{"id": 7, "age": 1}')
    await write(place, rule, b"user:42", b'{"name": "N", "id": 7}')
    assert place.run("select id, name, age from users") == [(42, "N", None)]


async def test_a_statement_that_takes_too_long_is_ended_in_the_database(place: Place) -> None:
    slow = (
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000000000)"
        " select max(i) from n where :id <> 'x'"
    )
    rule, quick = loading(slow), loading("select name from users where id = :id")
    parts = rule.parts(b"user:42")
    assert parts is not None
    source = SqlSource(_with_timeout(place.source.dialect, 0.3), Turns(1, 5), 0.3)
    for _ in range(2):
        with pytest.raises(SourceSlowError):
            await source.load(rule, parts)
        assert await source.load(quick, parts) == Rows(("name",), (("Ada",),))  # on the only connection
    source.close()


async def test_whoever_goes_away_leaves_no_statement_behind(place: Place) -> None:
    slow = (
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000000000)"
        " select max(i) from n where :id <> 'x'"
    )
    rule, quick = loading(slow), loading("select name from users where id = :id")
    parts = rule.parts(b"user:42")
    assert parts is not None
    source = SqlSource(_with_timeout(place.source.dialect, 600), Turns(1, 5), 600)
    for _ in range(2):
        with trio.move_on_after(0.1):
            await source.load(rule, parts)
        with trio.fail_after(30):  # on the only connection
            assert await source.load(quick, parts) == Rows(("name",), (("Ada",),))
    source.close()


async def test_a_lock_is_waited_for_until_the_deadline(place: Place) -> None:
    rule = writing("update users set age = :age where id = :id")
    parts = rule.parts(b"user:42")
    assert parts is not None
    other = SqlSource(_with_timeout(place.source.dialect, 0.5), Turns(1, 5), 0.5)
    async with place.source.writing(rule, parts, "upsert", {"age": 1}) as first:
        with pytest.raises((SourceSlowError, SourceBusyError)):
            async with other.writing(rule, parts, "upsert", {"age": 2}):
                pass
        await first.commit()
    async with other.writing(rule, parts, "upsert", {"age": 3}) as second:
        await second.commit()
    assert place.run("select age from users") == [(3,)]
    other.close()


async def test_a_delete_does_not_overtake_an_insert_that_may_be_committed_yet(place: Place) -> None:
    rule = writing(
        "insert into users (id, name) values (:id, :name)", delete="delete from users where id = :id"
    )
    parts = rule.parts(b"user:7")
    assert parts is not None
    other = SqlSource(_with_timeout(place.source.dialect, 0.5), Turns(1, 5), 0.5)
    async with place.source.writing(rule, parts, "upsert", {"name": "Eve"}) as first:
        for op in ("delete", "wait"):
            with pytest.raises((SourceSlowError, SourceBusyError)):
                async with other.writing(rule, parts, op, {}):
                    pass
        await first.commit()
    async with other.writing(rule, parts, "wait", {}):
        pass
    async with other.writing(rule, parts, "delete", {}) as second:
        await second.commit()
    assert place.run("select id from users") == [(42,)]
    other.close()


async def test_no_more_are_asked_at_once_than_there_are_connections(place: Place) -> None:
    rule = writing("update users set age = :age where id = :id")
    quick = loading("select name from users where id = :id")
    parts = rule.parts(b"user:42")
    assert parts is not None
    source = SqlSource(_with_timeout(place.source.dialect, 0.5), Turns(1, 1), 0.5)
    refusals = []

    async def asks() -> None:
        with pytest.raises(SourceBusyError) as refused:
            await source.load(quick, parts)
        refusals.append(str(refused.value))

    async with source.writing(rule, parts, "upsert", {"age": 1}), trio.open_nursery() as nursery:
        nursery.start_soon(asks)
        nursery.start_soon(asks)
    assert sorted(refusals) == ["the source had no connection free in time", "too many wait for the source"]
    source.close()


def _with_timeout(dialect: Any, timeout: float) -> Any:
    if isinstance(dialect, Sqlite):
        return Sqlite(f"sqlite:///{str(dialect.url.database).removeprefix('file:')}", timeout)
    return PostgresDialect(dialect.url.render_as_string(), dialect.password, timeout)
