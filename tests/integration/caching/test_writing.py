"""Write-through over real engines: what the database has, what the cache has, and what clients hear."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from shardproxy.caching.writing import CommandError, WriteDoubtError, WriteError
from shardproxy.fleet import Fleet
from shardproxy.wire.reply import OK, Reply
from tests.fixtures.caching import Database, Desk, open_desks, writes
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import CLUSTER

KEY = b"user:1"


@asynccontextmanager
async def open_through(fleet: Fleet, database: Database, **options: Any) -> AsyncIterator[list[Desk]]:
    async with open_desks(fleet, database, write=writes("through"), **options) as desks:
        yield desks


async def leftovers(desk: Desk, key: bytes = KEY) -> list[Reply]:
    slot = desk.slot(key)
    return [await desk.ask(key, "GET", name) for name in (slot.lease(key), slot.write(key), slot.new(key))]


async def test_both_have_it_once_the_client_hears_ok(fleet: Fleet) -> None:
    database = Database()
    async with open_through(fleet, database) as (desk,):
        assert await desk.write(b"SET", KEY, b"ann") == OK
        assert database.rows == {"1": "ann"}
        assert await desk.ask(KEY, "GET", KEY) == b"ann"
        left = await desk.ask(KEY, "PTTL", KEY)
        assert isinstance(left, int)
        assert 50_000 < left <= 60_000
        assert await desk.write(b"SET", KEY, b"bob", b"EX", b"10") == OK
        assert await desk.ask(KEY, "TTL", KEY) == 10
        assert await leftovers(desk) == [None, None, None]


async def test_a_database_that_refuses_leaves_the_cache_as_it_was(fleet: Fleet) -> None:
    database = Database({"1": "ann"}, refused={"bad"})
    async with open_through(fleet, database) as (desk,):
        assert await desk.get(KEY) == b"ann"
        with pytest.raises(WriteError, match="refused: violates a constraint"):
            await desk.write(b"SET", KEY, b"bad")
        assert await desk.ask(KEY, "GET", KEY) == b"ann"
        assert await leftovers(desk) == [None, None, None]
        assert database.committed == []


async def test_a_database_that_is_down_leaves_the_cache_as_it_was(fleet: Fleet) -> None:
    database = Database({"1": "ann"})
    async with open_through(fleet, database) as (desk,):
        assert await desk.get(KEY) == b"ann"
        database.is_down = True
        with pytest.raises(WriteError, match="not written: the database is down"):
            await desk.write(b"SET", KEY, b"new")
        assert await desk.ask(KEY, "GET", KEY) == b"ann"


@pytest.mark.parametrize(
    ("command", "reply", "row"),
    [
        ((b"SET", KEY, b"5", b"GET"), b"3", "5"),
        ((b"GETSET", KEY, b"5"), b"3", "5"),
        ((b"SET", KEY, b"5", b"NX"), None, "3"),
        ((b"SETNX", KEY, b"5"), 0, "3"),
        ((b"SET", KEY, b"5", b"XX"), OK, "5"),
        ((b"INCRBY", KEY, b"4"), 7, "7"),
        ((b"APPEND", KEY, b"4"), 2, "34"),
        ((b"SETEX", KEY, b"10", b"5"), OK, "5"),
        ((b"GETDEL", KEY), b"3", None),
    ],
)
@pytest.mark.parametrize("is_warm", [True, False])
async def test_commands_go_by_what_the_database_has(
    fleet: Fleet, command: tuple[bytes, ...], reply: Reply, row: str | None, is_warm: bool
) -> None:
    database = Database({"1": "3"})
    async with open_through(fleet, database) as (desk,):
        if is_warm:
            await desk.get(KEY)
        assert await desk.write(*command) == reply
        assert database.rows.get("1") == row
        assert await desk.get(KEY) == (None if row is None else row.encode())
        assert await leftovers(desk) in ([None, None, None], [b"m", None, None])


async def test_what_changes_nothing_writes_nothing(fleet: Fleet) -> None:
    database = Database({"1": "3"})
    async with open_through(fleet, database) as (desk,):
        assert await desk.write(b"SET", KEY, b"5", b"NX") is None
        assert await desk.write(b"SET", b"user:2", b"5", b"XX") is None
        assert database.committed == []


async def test_errors_of_a_command_are_the_engines(fleet: Fleet) -> None:
    database = Database({"1": "ann"})
    async with open_through(fleet, database) as (desk,):
        with pytest.raises(CommandError, match="ERR value is not an integer or out of range"):
            await desk.write(b"INCR", KEY)
        with pytest.raises(CommandError, match="WRONGTYPE"):
            await desk.write(b"HSET", KEY, b"f", b"v")
        assert database.committed == []
        assert await leftovers(desk) == [None, None, None]


async def test_deletes_reach_the_database_also_of_keys_that_are_not_cached(fleet: Fleet) -> None:
    database = Database({"1": "ann", "2": "bob"})
    async with open_through(fleet, database) as (desk,):
        await desk.get(KEY)
        assert await desk.write(b"DEL", KEY) == 1
        assert await desk.write(b"DEL", b"user:2") == 0
        assert database.rows == {}
        assert await desk.get(KEY) is None


async def test_fields_of_a_cold_hash_join_those_of_the_row(fleet: Fleet) -> None:
    database = Database({"1": {"name": "ann", "age": "3"}})
    load = {"source": "db", "sql": "select * from t where id = :id", "as": "hash"}
    async with open_through(fleet, database, load=load) as (desk,):
        assert await desk.write(b"HSET", KEY, b"age", b"4", b"town", b"ulm") == 1
        assert database.rows["1"] == {"name": "ann", "age": "4", "town": "ulm"}
        found = await desk.ask(KEY, "HGETALL", KEY)
        assert found == [b"name", b"ann", b"age", b"4", b"town", b"ulm"]
        assert await desk.write(b"HINCRBY", KEY, b"age", b"1") == 5
        assert database.rows["1"]["age"] == "5"


async def test_nobody_reads_what_was_once_the_database_has_committed(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_through(fleet, database, desks=2) as (writer, reader):
        await reader.get(KEY)
        committed = trio.Event()
        found: list[Reply | str] = []

        async def commits(_: str) -> None:
            assert await reader.ask(KEY, "GET", KEY) is None
            committed.set()
            await trio.sleep(0.1)
            assert not found, "a read waits for the write"

        async def read() -> None:
            await committed.wait()
            found.append(await reader.get(KEY))

        database.commits = commits
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            assert await writer.write(b"SET", KEY, b"new") == OK
        assert found == [b"new"]
        assert database.asked == ["1"]


@pytest.mark.parametrize(("words", "value"), [((b"SET", KEY, b"new"), b"new"), ((b"DEL", KEY), None)])
async def test_a_load_that_began_before_a_write_does_not_fill(
    fleet: Fleet, words: tuple[bytes, ...], value: bytes | None
) -> None:
    database = Database({"1": "old"})
    async with open_through(fleet, database, desks=2) as (writer, reader):
        asked, written = trio.Event(), trio.Event()

        async def loads(_: str) -> None:
            if not asked.is_set():
                asked.set()
                await written.wait()

        database.loads = loads
        found: list[Reply | str] = []

        async def read() -> None:
            found.append(await reader.get(KEY))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await asked.wait()
            await writer.write(*words)
            written.set()
        assert found == [value]
        assert await reader.ask(KEY, "GET", KEY) == value


async def test_writers_of_two_proxies_leave_both_with_the_same(fleet: Fleet) -> None:
    database = Database()
    async with open_through(fleet, database, desks=2, timeout=3.0) as desks:

        async def write(number: int) -> None:
            assert await desks[number % 2].write(b"SET", KEY, b"%d" % number, patience=30) == OK

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(write, number)
        assert len(database.committed) == 40
        assert await desks[0].ask(KEY, "GET", KEY) == database.rows["1"].encode()


async def test_a_commit_nobody_answers_is_in_doubt_and_the_key_cold(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_through(fleet, database) as (desk,):
        await desk.get(KEY)

        async def commits(_: str) -> None:
            database.is_down = True

        database.commits = commits
        with pytest.raises(WriteDoubtError, match="did not say whether it has committed"):
            await desk.write(b"SET", KEY, b"new")
        assert await desk.ask(KEY, "GET", KEY) is None
        lease = await desk.ask(KEY, "GET", desk.slot(KEY).write(KEY))
        assert isinstance(lease, bytes)
        assert lease.startswith(b"w:"), "the commit may be under way: nobody loads meanwhile"


async def test_a_commit_that_fails_in_an_odd_way_is_in_doubt_too(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_through(fleet, database) as (desk,):

        async def commits(_: str) -> None:
            raise RuntimeError("no more file descriptors")

        database.commits = commits
        with pytest.raises(WriteDoubtError, match="has committed: RuntimeError"):
            await desk.write(b"SET", KEY, b"new")
        await desk.ask(KEY, "SET", KEY, "old")  # as somebody loads it
        database.rows["1"] = "new"
        with trio.fail_after(10):
            while await desk.get(KEY) != b"new":  # noqa: ASYNC110  # nobody tells
                await trio.sleep(0.01)


async def test_a_writer_that_is_ended_while_it_commits_lets_nobody_load(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_through(fleet, database) as (desk,):
        with trio.CancelScope() as scope:

            async def commits(_: str) -> None:
                scope.cancel()
                await trio.sleep_forever()

            database.commits = commits
            await desk.write(b"SET", KEY, b"new")
        assert scope.cancelled_caught
        lease = await desk.ask(KEY, "GET", desk.slot(KEY).write(KEY))
        assert isinstance(lease, bytes), "the commit may be under way"
        assert lease.startswith(b"w:")


async def test_what_was_loaded_beside_a_commit_that_came_late_is_forgotten(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_through(fleet, database) as (desk,):

        async def commits(_: str) -> None:
            database.is_down = True

        database.commits = commits
        with pytest.raises(WriteDoubtError):
            await desk.write(b"SET", KEY, b"new")
        await desk.ask(KEY, "DEL", desk.slot(KEY).write(KEY))  # it has ended
        await desk.ask(KEY, "SET", KEY, "old")  # as somebody loads it
        database.rows["1"], database.is_down = "new", False
        with trio.fail_after(10):
            while await desk.get(KEY) != b"new":  # noqa: ASYNC110  # nobody tells
                await trio.sleep(0.01)


async def test_an_engine_that_ends_after_the_commit_leaves_the_key_cold(start_fleet: StartFleet) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    database = Database({"1": "old"})
    async with open_through(fleet, database) as (desk,):
        await desk.get(KEY)

        async def commits(_: str) -> None:
            fleet.shards[0].primary.freeze()

        database.commits = commits
        assert await desk.write(b"SET", KEY, b"new") == OK
        fleet.shards[0].primary.thaw()
        assert database.rows == {"1": "new"}
        database.commits = None
        assert await desk.get(KEY) == b"new"


async def test_an_engine_that_is_not_there_writes_nothing(start_fleet: StartFleet) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    database = Database()
    async with open_through(fleet, database, timeout=0.2) as (desk,):
        fleet.shards[0].primary.kill()
        with pytest.raises(WriteError, match=r"not written: slot [0-9]+: its primary cannot be reached$"):
            await desk.write(b"SET", KEY, b"new", patience=0.5)
        assert database.committed == []


async def test_a_writer_that_lost_its_lease_before_the_commit_writes_nothing(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_through(fleet, database) as (desk,):
        taken = desk.slot(KEY).write(KEY)

        original = database.writing

        def writing(*args: Any) -> Any:
            return _stolen(original(*args), desk, taken)

        database.writing = writing  # type: ignore[method-assign,assignment]
        with pytest.raises(WriteError, match="longer than its lease"):
            await desk.write(b"SET", KEY, b"new")
        assert database.committed == []


@pytest.mark.parametrize("words", [(b"DEL", KEY), (b"GETDEL", KEY)])
async def test_what_a_lost_writer_had_prepared_comes_back_by_no_deletion(
    fleet: Fleet, words: tuple[bytes, ...]
) -> None:
    """Its proxy was killed, or cut off, between its COMMIT and the cache; its lease has ended since."""
    database = Database({"1": "ann"})
    async with open_through(fleet, database) as (desk,):
        await desk.ask(KEY, "SET", desk.slot(KEY).new(KEY), "ann", "PX", 60_000)
        await desk.write(*words)
        assert await desk.ask(KEY, "GET", KEY) is None
        assert database.rows == {}
        assert await leftovers(desk) in ([None, None, None], [b"m", None, None])


@asynccontextmanager
async def _stolen(writing: Any, desk: Desk, lease: bytes) -> AsyncIterator[Any]:
    async with writing as transaction:
        await desk.ask(KEY, "SET", lease, "w:another", "PX", 1000)
        yield transaction


async def test_a_key_that_too_few_replicas_forget_is_not_written(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_through(fleet, database, wait=2) as (desk,):
        with pytest.raises(WriteError, match="not written: fewer than 2 replicas have it"):
            await desk.write(b"SET", KEY, b"new")
        assert database.committed == []
        assert await desk.get(KEY) == b"old"


async def test_a_write_that_the_cache_has_already_reaches_the_database(fleet: Fleet) -> None:
    database = Database({"1": "ann"})
    async with open_through(fleet, database) as (desk,):
        assert await desk.get(KEY) == b"ann"
        database.rows["1"] = "changed by others"
        assert await desk.write(b"SET", KEY, b"ann", b"XX") == OK
        assert database.rows == {"1": "ann"}


async def test_what_plain_writes_delete_is_not_the_lease_of_a_write_through(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_through(fleet, database) as (desk,):

        async def commits(_: str) -> None:
            await desk.ask(KEY, "DEL", desk.slot(KEY).lease(KEY))  # as the data plane does, before an EXPIRE

        database.commits = commits
        assert await desk.write(b"SET", KEY, b"new") == OK
        assert await desk.ask(KEY, "GET", KEY) == b"new"


async def test_a_key_whose_writes_behind_are_not_drained_is_not_written_through(fleet: Fleet) -> None:
    database = Database()
    async with (
        open_desks(fleet, database, write=writes("behind")) as (before,),
        open_through(fleet, database) as (desk,),
    ):
        assert await before.write(b"SET", KEY, b"old") == OK
        with pytest.raises(WriteError, match="the database lacks earlier writes of the key"):
            await desk.write(b"SET", KEY, b"new", patience=0.2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.draining.run, CLUSTER, lambda key: desk.plans.written(CLUSTER, key))
            assert await desk.write(b"SET", KEY, b"new") == OK
            nursery.cancel_scope.cancel()
        assert database.committed == [("1", "old"), ("1", "new")]
