"""Write-behind over real engines: what is noted, what the database gets, in which order, after faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from shardproxy.caching.draining.streams import NOTES
from shardproxy.caching.engines import Place
from shardproxy.caching.writing import CommandError, WriteDoubtError, WriteError
from shardproxy.fleet import Fleet
from shardproxy.wire.reply import OK, Reply
from tests.fixtures.caching import Database, Desk, open_desks, until, writes
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import CLUSTER

KEY = b"user:1"


@asynccontextmanager
async def open_behind(fleet: Fleet, database: Database, **options: Any) -> AsyncIterator[list[Desk]]:
    async with open_desks(fleet, database, write=writes("behind"), **options) as desks:
        yield desks


@asynccontextmanager
async def draining(*desks: Desk) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for desk in desks:
            nursery.start_soon(desk.draining.run, CLUSTER, lambda key, d=desk: d.plans.written(CLUSTER, key))
        yield
        nursery.cancel_scope.cancel()


async def backlog(desk: Desk, key: bytes = KEY) -> Reply:
    return await desk.ask(key, "XLEN", desk.slot(key).stream)


async def test_a_write_is_noted_and_drained(fleet: Fleet) -> None:
    database = Database()
    async with open_behind(fleet, database) as (desk,):
        assert await desk.write(b"SET", KEY, b"ann") == OK
        assert await desk.ask(KEY, "GET", KEY) == b"ann"
        assert (await backlog(desk), database.committed) == (1, [])
        assert await desk.ask(KEY, "GET", desk.slot(KEY).dirty(KEY)) == b"1"
        async with draining(desk):
            await until(lambda: database.rows == {"1": "ann"})
            await until(lambda: desk.draining.is_idle)
        assert await desk.ask(KEY, "EXISTS", desk.slot(KEY).stream, desk.slot(KEY).dirty(KEY)) == 0
        assert await desk.ask(KEY, "GET", KEY) == b"ann"


async def test_writes_of_many_keys_share_transactions_and_keep_their_order(fleet: Fleet) -> None:
    database = Database()
    async with open_behind(fleet, database) as (desk,):
        for value in range(10):
            for key in range(30):
                await desk.write(b"SET", b"user:%d" % key, b"%d" % value)
        assert await desk.write(b"DEL", b"user:3") == 1
        async with draining(desk):
            await until(lambda: len(database.committed) == 301)
        assert database.transactions < 30
        for key in range(30):
            of_key = [value for name, value in database.committed if name == str(key)]
            assert of_key == [str(v) for v in range(10)] + [None] * (key == 3)


async def test_two_proxies_drain_in_order(fleet: Fleet) -> None:
    database = Database()
    async with open_behind(fleet, database, desks=2) as desks, draining(*desks):
        for value in range(60):
            for key in range(3):
                await desks[value % 2].write(b"SET", b"user:%d" % key, b"%d" % value)
        await until(lambda: all(database.rows.get(str(key)) == "59" for key in range(3)))
        for key in range(3):
            of_key = [int(value) for name, value in database.committed if name == str(key)]
            assert of_key == sorted(of_key)


async def test_a_key_whose_writes_are_not_drained_is_not_loaded(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_behind(fleet, database) as (desk,):
        await desk.write(b"SET", KEY, b"new")
        await desk.ask(KEY, "DEL", KEY)  # evicted
        found: list[Reply | str] = []

        async def read() -> None:
            found.append(await desk.get(KEY))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.sleep(0.1)
            assert database.asked == []
            async with draining(desk):
                await until(lambda: found)
        assert found == [b"new"]


async def test_changes_of_cold_keys_go_by_the_row(fleet: Fleet) -> None:
    database = Database({"1": "5"})
    async with open_behind(fleet, database) as (desk,):
        assert await desk.write(b"INCR", KEY) == 6
        assert await desk.write(b"INCR", b"user:2") == 1
        assert await desk.write(b"SET", KEY, b"9", b"NX") is None
        with pytest.raises(CommandError, match="WRONGTYPE"):
            await desk.write(b"HSET", KEY, b"f", b"v")
        async with draining(desk):
            await until(lambda: database.rows == {"1": "6", "2": "1"})
        assert len(database.committed) == 2


async def test_a_write_that_the_cache_has_already_reaches_the_database(fleet: Fleet) -> None:
    database = Database({"1": "ann"})
    async with open_behind(fleet, database) as (desk,), draining(desk):
        assert await desk.get(KEY) == b"ann"
        database.rows["1"] = "changed by others"
        assert await desk.write(b"SETNX", KEY, b"ann") == 0
        assert await desk.write(b"SET", KEY, b"ann", b"XX") == OK
        await until(lambda: database.rows == {"1": "ann"})
        assert database.committed == [("1", "ann")]


async def test_a_database_that_comes_back_gets_all(fleet: Fleet) -> None:
    database = Database(is_down=True)
    async with open_behind(fleet, database) as (desk,), draining(desk):
        await desk.write(b"SET", KEY, b"1")
        await desk.write(b"SET", KEY, b"2")
        await until(lambda: desk.counts.retried)
        assert await backlog(desk) == 2
        database.is_down = False
        await until(lambda: database.committed == [("1", "1"), ("1", "2")])


async def test_what_the_database_refuses_is_a_dead_letter_and_the_rest_goes_on(fleet: Fleet) -> None:
    database = Database({"1": "row"}, refused={"bad"})
    async with open_behind(fleet, database) as (desk,):
        await desk.write(b"SET", KEY, b"bad")
        await desk.write(b"SET", b"{user:1}x", b"other")
        await desk.write(b"SET", b"user:2", b"good")
        async with draining(desk):
            await until(lambda: database.rows == {"1": "row", "2": "good"})
            await until(lambda: desk.counts.buried)
        letters = await desk.ask(KEY, "XRANGE", desk.slot(KEY).dead, "-", "+")
        assert isinstance(letters, list)
        assert any(b"refused: violates a constraint" in words for _, words in letters)
        assert await desk.get(KEY) == b"row", "the cache has forgotten what the database refused"


async def test_a_full_backlog_makes_writes_wait_and_then_fail(fleet: Fleet) -> None:
    database = Database(is_down=True)
    async with open_behind(fleet, database, limit=3) as (desk,):
        for value in range(3):
            await desk.write(b"SET", KEY, b"%d" % value)
        with pytest.raises(WriteError, match="backlog of 3 writes: not written"):
            await desk.write(b"SET", KEY, b"3", patience=0.2)
        assert await desk.ask(KEY, "GET", KEY) == b"2"
        database.is_down = False
        async with draining(desk):
            assert await desk.write(b"SET", KEY, b"3", patience=10) == OK
            await until(lambda: database.rows == {"1": "3"})


async def test_a_proxy_that_died_between_commit_and_acknowledgement_is_followed_by_another(
    fleet: Fleet,
) -> None:
    database = Database()
    async with open_behind(fleet, database, desks=2) as (first, second):
        for value in range(5):
            await first.write(b"SET", KEY, b"%d" % value)
        died = trio.Event()

        async def commits(_: str) -> None:
            died.set()
            await trio.sleep_forever()  # it is cancelled here, as kill -9 would

        database.commits = commits
        async with draining(first):
            await died.wait()
        database.commits = None
        await first.ask(KEY, "PEXPIRE", first.slot(KEY).drain, 50)  # the lease of who died ends
        second.draining.noted(second.slot(KEY))
        await trio.sleep(0.1)
        async with draining(second):
            await until(lambda: database.rows == {"1": "4"})


async def test_a_drainer_that_lost_its_lease_commits_nothing(fleet: Fleet) -> None:
    database = Database()
    async with open_behind(fleet, database) as (desk,):
        await desk.write(b"SET", KEY, b"1")
        original = database.writing_all

        @asynccontextmanager
        async def stolen(items: Any) -> AsyncIterator[Any]:
            async with original(items) as transaction:
                await desk.ask(KEY, "SET", desk.slot(KEY).drain, "d:another", "PX", 300)
                yield transaction

        database.writing_all = stolen  # type: ignore[method-assign,assignment]
        async with draining(desk):
            await until(lambda: desk.counts.retried)
            assert database.committed == []
            database.writing_all = original  # type: ignore[method-assign]
            await until(lambda: database.rows == {"1": "1"})


async def test_notes_whose_proxy_has_gone_are_found(fleet: Fleet) -> None:
    database = Database()
    async with open_behind(fleet, database, desks=2) as (first, second):
        await first.write(b"SET", KEY, b"1")
        async with draining(second):
            await until(lambda: database.rows == {"1": "1"})
        assert second.statistics.cluster(CLUSTER).backlog == 0


async def test_notes_outlive_their_engines_restart(start_fleet: StartFleet) -> None:
    fleet = start_fleet(shards=1, replicas=0, args=("--appendonly", "yes"))
    database = Database()
    async with open_behind(fleet, database) as (desk,):
        for value in range(3):
            await desk.write(b"SET", KEY, b"%d" % value)
        fleet.shards[0].primary.kill()
        fleet.shards[0].primary.start()
        async with draining(desk):
            await until(lambda: database.rows == {"1": "2"})


async def test_a_write_that_too_few_replicas_have_is_in_doubt(fleet: Fleet) -> None:
    database = Database()
    async with open_behind(fleet, database, wait=1) as (desk,):
        assert await desk.write(b"SET", KEY, b"1") == OK
    async with open_behind(fleet, database, wait=2) as (desk,):
        with pytest.raises(WriteDoubtError, match="fewer than 2 replicas have it"):
            await desk.write(b"SET", KEY, b"2")
        async with draining(desk):
            await until(lambda: database.rows == {"1": "2"})


async def test_notes_of_keys_that_no_rule_writes_are_kept_and_hold_up_no_others(fleet: Fleet) -> None:
    database = Database()
    async with open_behind(fleet, database) as (desk,):
        for number in range(NOTES + 10):
            await desk.write(b"SET", KEY, b"%d" % number)
        other = b"{user:1}"  # of the same slot
        await desk.ask(KEY, "XADD", desk.slot(KEY).stream, "*", "key", other, "type", "string", "value", "v")
        found: list[bytes] = []

        def plan_of(key: bytes) -> Any:
            found.append(key)
            return None

        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.draining.run, CLUSTER, plan_of)
            await until(lambda: other in found and desk.draining.is_idle)
            nursery.cancel_scope.cancel()
        assert await desk.ask(KEY, "EXISTS", desk.slot(KEY).dead) == 0
        assert await backlog(desk) == NOTES + 11
        await desk.ask(KEY, "XTRIM", desk.slot(KEY).stream, "MAXLEN", "5")
        await desk.ask(KEY, "XADD", desk.slot(KEY).stream, "*", "key", KEY, "type", "string", "value", "end")
        async with draining(desk):  # the rule is there again; others have deleted what it has not seen
            await until(lambda: database.rows.get("1") == "end")


async def test_a_row_that_is_locked_holds_up_its_slot_alone(fleet: Fleet) -> None:
    database = Database(locked={"1"})
    async with open_behind(fleet, database) as (desk,), draining(desk):
        for value in range(3):
            for number in range(20):
                await desk.write(b"SET", b"user:%d" % number, b"%d" % value)
        await until(lambda: all(database.rows.get(str(n)) == "2" for n in range(20) if n != 1))
        assert "1" not in database.rows
        assert await backlog(desk) == 3
        database.locked.clear()
        await until(lambda: database.rows.get("1") == "2")
        assert [value for name, value in database.committed if name == "1"] == ["0", "1", "2"]


async def test_a_slot_without_a_primary_is_looked_at_less_and_less(fleet: Fleet) -> None:
    database = Database()
    async with open_behind(fleet, database) as (desk,):
        await desk.write(b"SET", KEY, b"1")
        topology, looks = desk.topologies.pop(CLUSTER), 0
        primary = desk.engines.primary

        def looked(place: Any) -> Any:
            nonlocal looks
            looks += 1
            return primary(place)

        desk.engines.primary = looked  # type: ignore[method-assign]
        async with draining(desk):
            await trio.sleep(0.5)
            assert 0 < looks < 10
            desk.topologies[CLUSTER] = topology
            await until(lambda: database.rows == {"1": "1"})


async def test_an_engine_without_memory_for_more_is_drained(start_fleet: StartFleet) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    database = Database(refused={"bad"})
    async with open_behind(fleet, database) as (desk,):
        for value in (b"1", b"bad", b"2"):
            await desk.write(b"SET", KEY, value)
        await desk.ask(KEY, "CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(WriteError, match="OOM"):
            await desk.write(b"SET", KEY, b"3")
        async with draining(desk):
            await until(lambda: database.committed == [("1", "1"), ("1", "2")] and desk.draining.is_idle)
        assert await desk.ask(KEY, "EXISTS", desk.slot(KEY).stream, desk.slot(KEY).dirty(KEY)) == 0
        assert await desk.ask(KEY, "XLEN", desk.slot(KEY).dead) == 1


async def test_notes_that_somebody_has_deleted_while_they_were_taken_are_passed_over(fleet: Fleet) -> None:
    database = Database(is_down=True)
    async with open_behind(fleet, database) as (desk,):
        for value in range(3):
            await desk.write(b"SET", KEY, b"%d" % value)
        async with draining(desk):
            await until(lambda: desk.counts.retried)
            notes = await desk.ask(KEY, "XRANGE", desk.slot(KEY).stream, "-", "+")
            assert isinstance(notes, list)
            await desk.ask(KEY, "XDEL", desk.slot(KEY).stream, notes[0][0], notes[1][0])
            database.is_down = False
            await until(lambda: database.committed == [("1", "2")])


async def test_a_hash_that_is_too_large_to_note_is_not_written(fleet: Fleet) -> None:
    load = {"source": "db", "sql": "select * from t where id = :id", "as": "hash"}
    async with open_behind(fleet, Database(), load=load) as (desk,):

        def fields(start: int) -> list[bytes]:
            return [word for n in range(start, start + 2000) for word in (b"%d" % n, b"v")]

        assert await desk.write(b"HSET", KEY, *fields(0)) == 2000
        with pytest.raises(CommandError, match="so many fields"):
            await desk.write(b"HSET", KEY, *fields(2000))
        assert await desk.ask(KEY, "HLEN", KEY) == 2000
        assert await backlog(desk) == 1
        assert await desk.write(b"DEL", KEY) == 1


async def test_a_second_drainer_of_one_proxy_waits_for_the_lease_of_the_first(fleet: Fleet) -> None:
    database = Database()
    async with open_behind(fleet, database) as (desk,):
        await desk.write(b"SET", KEY, b"1")
        reached, found = trio.Event(), []

        async def commits(_: str) -> None:
            reached.set()
            await trio.sleep_forever()

        database.commits = commits

        def plan_of(key: bytes) -> Any:
            found.append(key)
            return desk.plans.written(CLUSTER, key)

        async with trio.open_nursery() as nursery:
            async with draining(desk):
                await reached.wait()
                nursery.start_soon(desk.draining.run, CLUSTER, plan_of)
                await trio.testing.wait_all_tasks_blocked()
                desk.draining.noted(desk.slot(KEY))
                await trio.sleep(0.2)
                assert not found
                database.commits = None
            desk.draining.noted(desk.slot(KEY))  # the first one ends, and gives its lease back
            await until(lambda: database.rows == {"1": "1"}, within=4)
            nursery.cancel_scope.cancel()


async def test_slots_of_other_nodes_are_found_while_one_is_down(start_fleet: StartFleet) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    database = Database()
    async with open_behind(fleet, database, desks=2) as (first, second):
        keys = [b"user:%d" % number for number in range(10)]
        for key in keys:
            await first.write(b"SET", key, b"1")
        down = fleet.shards[0].primary
        down.kill()
        there = {
            key
            for key in keys
            if (at := first.engines.primary(_place(first, key))) and at.address.port != down.port
        }
        assert there
        async with draining(second):
            await until(lambda: {b"user:%b" % one.encode() for one in database.rows} == there)


def _place(desk: Desk, key: bytes) -> Place:
    return Place(CLUSTER, desk.slot(key).slot)
