"""A PostgreSQL that is killed, frozen, cut off and started again, as a source."""

# ruff: noqa: ASYNC240  # small files
from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from shardproxy.caching.rules import compile_rule
from shardproxy.caching.sources.guarded import GuardedSource
from shardproxy.caching.sources.interface import (
    Rows,
    SourceBusyError,
    SourceDownError,
    SourceSlowError,
    SourceUnfitError,
)
from shardproxy.caching.sources.opening import open_sources
from shardproxy.caching.sources.postgres import Postgres as PostgresDialect
from shardproxy.config.caching import Caching
from shardproxy.config.caching import Rule as RuleConfig
from shardproxy.fleet import free_port
from tests.fixtures.postgres import Database, Postgres, StartPostgres
from tests.fixtures.relay import Relay
from tests.fixtures.rules import loading, parts_of

TIMEOUT = 1.0
TABLE = ("create table t (id int primary key, n int)", "insert into t values (1, 10)")
RULE = loading("t:{id}", sql="select n from t where id = :id")
PARTS = parts_of(RULE, b"t:1")
TEN = Rows(("n",), ((10,),))
WRITES = compile_rule(
    0,
    RuleConfig.model_validate(
        {
            "match": "t:{id}",
            "write": {
                "mode": "through",
                "source": "main",
                "upsert": "update t set n = :value where id = :id",
            },
        }
    ),
)


IN_TRANSACTION = "select count(*) from pg_stat_activity where state = 'idle in transaction'"


@pytest.fixture
def server(start_postgres: StartPostgres) -> Postgres:
    return start_postgres()


@pytest.fixture
def database(server: Postgres) -> Database:
    return server.database(*TABLE)


def caching(url: str, password: Path, **more: object) -> Caching:
    source = {"url": url, "password": {"file": str(password)}, "timeout": TIMEOUT, "connections": 2, **more}
    return Caching.model_validate({"sources": {"main": source}, "rules": [RULE.config]})


@pytest.fixture
def password(database: Database, tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(database.password)
    return file


@pytest.fixture
async def source(database: Database, password: Path) -> AsyncIterator[GuardedSource]:
    settings = caching(database.url, password, breaker={"failures": 1000})
    async with open_sources(settings.sources, Path("/")) as sources:
        yield sources["main"]


async def test_a_server_that_was_started_again_is_asked_as_if_nothing_had_been(
    server: Postgres, source: GuardedSource
) -> None:
    assert await source.load(RULE, PARTS) == TEN
    server.kill()
    for _ in range(3):
        with pytest.raises(SourceDownError):
            await source.load(RULE, PARTS)
    server.start()
    assert await source.load(RULE, PARTS) == TEN
    server.kill()
    server.start()
    assert await source.load(RULE, PARTS) == TEN, "what was lost unnoticed is no failure"
    async with source.writing(WRITES, PARTS, "upsert", {"value": "11"}) as executed:
        await executed.commit()
    assert await source.load(RULE, PARTS) == Rows(("n",), ((11,),))


async def test_a_frozen_server_costs_its_deadline_and_no_connection_for_longer(
    server: Postgres, source: GuardedSource
) -> None:
    assert await source.load(RULE, PARTS) == TEN
    server.freeze()
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(_fails, source)
    finally:
        server.thaw()
    with trio.fail_after(20):
        assert await source.load(RULE, PARTS) == TEN


async def _fails(source: GuardedSource) -> None:
    with pytest.raises((SourceSlowError, SourceDownError, SourceBusyError)):
        await source.load(RULE, PARTS)


async def test_whether_a_commit_happened_is_unknown_when_its_answer_does_not_come(
    database: Database, password: Path
) -> None:
    relay = Relay(database.server.port)
    async with trio.open_nursery() as nursery:
        await nursery.start(relay.run)
        settings = caching(database.url_at(relay.port), password)
        async with open_sources(settings.sources, Path("/")) as sources:
            source = sources["main"]
            async with source.writing(WRITES, PARTS, "upsert", {"value": "11"}) as executed:
                relay.mute()
                with pytest.raises(SourceSlowError):
                    await executed.commit()
            relay.heal()
            assert await source.load(RULE, PARTS) == Rows(("n",), ((11,),)), "here it did"
            async with source.writing(WRITES, PARTS, "upsert", {"value": "12"}) as executed:
                relay.cut()
                with pytest.raises(SourceDownError):
                    await executed.commit()
            relay.heal()
            assert await source.load(RULE, PARTS) == Rows(("n",), ((11,),)), "and here it did not"
        nursery.cancel_scope.cancel()


async def test_an_abandoned_statement_ends_in_the_server(database: Database, source: GuardedSource) -> None:
    sleeps = loading("t:{id}", sql="select pg_sleep(600) where :id <> ''")
    with pytest.raises(SourceSlowError):
        await source.load(sleeps, PARTS)
    with trio.move_on_after(0.2):
        await source.load(sleeps, PARTS)
    with trio.fail_after(20):
        while _sleeping(database):  # noqa: ASYNC110  # it tells nobody
            await trio.sleep(0.05)
    assert await source.load(RULE, PARTS) == TEN


def _sleeping(database: Database) -> bool:
    query = "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep%'"
    return database.server.admin(query + " and query not like '%pg_stat%'") != [(0,)]


async def test_connections_stay_within_their_bound(database: Database, source: GuardedSource) -> None:
    sleeps = loading("t:{id}", sql="select pg_sleep(600) where :id <> ''")

    async def asks(seconds: float) -> None:
        with trio.move_on_after(seconds), suppress(SourceSlowError, SourceBusyError):
            await source.load(sleeps, PARTS)

    async with trio.open_nursery() as nursery:
        for i in range(40):
            nursery.start_soon(asks, 0.05 * (i % 20))
        for _ in range(10):
            query = f"select count(*) from pg_stat_activity where usename = '{database.user}'"
            # a server notices only at the end of a statement that its client has gone
            assert database.server.admin(query)[0][0] <= 45
            assert source.statistics().taken <= 2
            await trio.sleep(0.1)
    assert source.statistics().taken == source.statistics().waiting == 0


async def test_a_source_that_fails_is_left_alone_and_tried_again(
    server: Postgres, database: Database, password: Path
) -> None:
    settings = caching(database.url, password, breaker={"failures": 2, "retry": "200ms"})
    async with open_sources(settings.sources, Path("/")) as sources:
        source = sources["main"]
        server.kill()
        for _ in range(2):
            with pytest.raises(SourceDownError, match="does not answer"):
                await source.load(RULE, PARTS)
        with pytest.raises(SourceDownError, match="left alone"):
            await source.load(RULE, PARTS)
        server.start()
        with trio.fail_after(20):
            while True:
                try:
                    assert await source.load(RULE, PARTS) == TEN
                    break
                except SourceDownError:
                    await trio.sleep(0.05)
        assert source.statistics().state.value == "closed"


async def test_what_the_database_refuses_does_not_count_as_failing(
    database: Database, password: Path
) -> None:
    settings = caching(database.url, password, breaker={"failures": 1})
    async with open_sources(settings.sources, Path("/")) as sources:
        for _ in range(3):
            with pytest.raises(SourceUnfitError):
                await sources["main"].load(loading("t:{id}", sql="select m from t where id = :id"), PARTS)
        assert await sources["main"].load(RULE, PARTS) == TEN


async def test_a_password_is_read_with_each_connection_and_never_shows(
    server: Postgres, database: Database, password: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = "not-the-password"
    password.write_text(wrong)
    settings = caching(database.url, password, breaker={"failures": 1000})
    async with open_sources(settings.sources, Path("/")) as sources:
        with pytest.raises(SourceDownError, match="does not answer") as refused:
            await sources["main"].load(RULE, PARTS)
        assert "password authentication failed" in refused.value.detail
        password.unlink()
        with pytest.raises(SourceDownError) as unread:
            await sources["main"].load(RULE, PARTS)
        assert "cannot read the secret" in unread.value.detail
        password.write_text(database.password)
        assert await sources["main"].load(RULE, PARTS) == TEN
        server.kill()
        with pytest.raises(SourceDownError) as down:
            await sources["main"].load(RULE, PARTS)
    said = capsys.readouterr()
    for error in (refused.value, down.value):
        chain: BaseException | None = error
        while chain is not None:
            assert wrong not in f"{chain} {chain!r} {error.detail}"
            assert database.password not in f"{chain} {chain!r} {error.detail}"
            chain = chain.__cause__ or chain.__context__
    assert database.password not in said.out + said.err


async def test_tables_may_be_altered(database: Database, source: GuardedSource) -> None:
    everything = loading("t:{id}", sql="select * from t where id = :id")
    for _ in range(10):
        await source.load(everything, PARTS)
    database.run("alter table t add column m int default 5")
    for _ in range(3):
        assert await source.load(everything, PARTS) == Rows(("id", "n", "m"), ((1, 10, 5),))
    database.run("alter table t alter column id type text")
    assert await source.load(everything, PARTS) == Rows(("id", "n", "m"), (("1", 10, 5),))


async def test_a_primary_that_is_none_any_more_is_left(database: Database, password: Path) -> None:
    settings = caching(database.url, password, connections=1, breaker={"failures": 1000})
    async with open_sources(settings.sources, Path("/")) as sources:
        source = sources["main"]
        database.run(f"alter database {database.name} set default_transaction_read_only = on")
        with pytest.raises(SourceDownError) as failed:
            async with source.writing(WRITES, PARTS, "upsert", {"value": "1"}):
                pass
        assert "read-only transaction" in failed.value.detail
        database.server.admin(f"alter database {database.name} set default_transaction_read_only = off")
        async with source.writing(WRITES, PARTS, "upsert", {"value": "1"}) as executed:
            await executed.commit()


async def test_one_of_several_hosts_is_enough(database: Database, password: Path) -> None:
    hosts = f"host=127.0.0.1:{free_port()}&host=127.0.0.1:{database.server.port}"
    url = f"postgresql+psycopg://{database.user}@/{database.name}?{hosts}&target_session_attrs=read-write"
    async with open_sources(caching(url, password).sources, Path("/")) as sources:
        assert await sources["main"].load(RULE, PARTS) == TEN
    beside = PostgresDialect(url, lambda: database.password, TIMEOUT)
    with await trio.to_thread.run_sync(beside.connect) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


async def test_a_deadlock_is_no_refusal_and_no_failure(database: Database, source: GuardedSource) -> None:
    database.run("insert into t values (2, 20)")
    with database.connect() as other:
        other.autocommit = False
        other.execute("update t set n = 0 where id = 2")
        swaps = loading("t:{id}", sql="update t set n = 1 where id = :id returning n")
        async with source.writing(WRITES, PARTS, "upsert", {"value": "1"}):
            with pytest.raises((SourceSlowError, SourceBusyError)):
                await source.load(swaps, parts_of(swaps, b"t:2"))
        other.rollback()
    assert database.run("select sum(n) from t") == [(30,)]


async def test_a_transaction_that_a_proxy_forgets_is_ended_by_the_server(
    database: Database, source: GuardedSource
) -> None:
    async with source.writing(WRITES, PARTS, "upsert", {"value": "1"}) as executed:
        with trio.fail_after(60):
            while database.server.admin(IN_TRANSACTION) != [(0,)]:  # noqa: ASYNC110  # it tells nobody
                await trio.sleep(0.1)
        with pytest.raises((SourceSlowError, SourceDownError)):
            await executed.commit()
    assert database.run("select n from t") == [(10,)]
