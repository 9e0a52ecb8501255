"""Loads over real engines: one at a time of a key, over two proxies; never over a newer write."""

from __future__ import annotations

import pytest
import trio

from shardproxy.caching.forgetting import Changes, Forgetting
from shardproxy.caching.leases import Held
from shardproxy.caching.loading import Found
from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import SLOT_COUNT
from tests.fixtures.caching import Database, open_desks, until, writes
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import CLUSTER


class Gate:
    """Holds whoever passes until it is opened; tells that somebody is there."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self.opened = trio.Event()

    async def __call__(self, _: str) -> None:
        self.reached.set()
        await self.opened.wait()


async def test_what_is_missing_is_loaded_once_and_kept(fleet: Fleet) -> None:
    database = Database({"1": "ann"})
    async with open_desks(fleet, database) as (desk,):
        assert await desk.get(b"user:1") == b"ann"
        assert await desk.get(b"user:1") == b"ann"
        assert database.asked == ["1"]
        left = await desk.ask(b"user:1", "PTTL", b"user:1")
        assert isinstance(left, int)
        assert 50_000 < left <= 60_000
        assert await desk.ask(b"user:1", "GET", desk.slot(b"user:1").lease(b"user:1")) is None


async def test_a_thousand_clients_of_two_proxies_cost_one_question(fleet: Fleet) -> None:
    gate = Gate()
    database = Database({"1": "ann"}, loads=gate)
    async with open_desks(fleet, database, desks=2) as desks:
        found: list[object] = []

        async def read(number: int) -> None:
            found.append(await desks[number % 2].get(b"user:1"))

        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(read, number)
            await gate.reached.wait()
            await trio.sleep(0.1)  # the other proxy finds the lease taken, and polls
            gate.opened.set()
        assert found == [b"ann"] * 1000
        assert database.asked == ["1"]
        assert all(desk.counts.waiting == 0 for desk in desks)


async def test_a_key_without_a_row_spares_the_database_until_it_is_written(fleet: Fleet) -> None:
    database = Database()
    async with open_desks(fleet, database) as (desk,):
        assert await desk.get(b"user:1") is None
        assert await desk.get(b"user:1") is None
        assert database.asked == ["1"]
        assert desk.counts.spared == 1
        await desk.ask(b"user:1", "DEL", desk.slot(b"user:1").lease(b"user:1"))  # as before any write
        database.rows["1"] = "ann"
        assert await desk.get(b"user:1") == b"ann"


@pytest.mark.parametrize("write", [("SET", b"user:1", "new"), ("DEL", b"user:1")])
async def test_a_write_while_a_key_is_loaded_cancels_the_fill(
    fleet: Fleet, write: tuple[object, ...]
) -> None:
    gate = Gate()
    database = Database({"1": "old"}, loads=gate)
    async with open_desks(fleet, database) as (desk,), trio.open_nursery() as nursery:
        found: list[object] = []

        async def read() -> None:
            found.append(await desk.get(b"user:1"))

        nursery.start_soon(read)
        await gate.reached.wait()
        database.rows["1"] = "new"
        await desk.ask(b"user:1", "DEL", desk.slot(b"user:1").lease(b"user:1"))  # as the data plane does
        await desk.ask(b"user:1", *write)
        gate.opened.set()
        await until(lambda: found)
        assert found == [b"new"]
        assert await desk.ask(b"user:1", "GET", b"user:1") == b"new"
        assert desk.counts.cancelled == 1


async def test_a_lease_of_a_proxy_that_died_ends_by_itself(fleet: Fleet) -> None:
    database = Database({"1": "ann"})
    async with open_desks(fleet, database) as (desk,):
        dead = Held.to_load(desk.slot(b"user:1"), b"user:1")
        await desk.ask(b"user:1", "SET", dead.lease, dead.token, "PX", 300)
        assert await desk.get(b"user:1") == b"ann"
        assert database.asked == ["1"]


async def test_a_database_that_is_down_is_an_error_and_leaves_no_lease(fleet: Fleet) -> None:
    database = Database({"1": "ann"}, is_down=True)
    async with open_desks(fleet, database) as (desk,):
        assert await desk.get(b"user:1") == "the database is down"
        database.is_down = False
        assert await desk.get(b"user:1") == b"ann"
        assert desk.counts.failures == 1


async def test_an_old_value_is_refreshed_behind_the_reader(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_desks(fleet, database, ttl="10s", stale="60s") as (desk,):
        assert await desk.get(b"user:1") == b"old"
        desk.aging.look(desk.plan, b"user:1")
        await until(lambda: len(desk.told) == 1)
        assert database.asked == ["1"], "it is fresh"
        assert 9 < desk.told[0][1] <= 10
        await desk.ask(b"user:1", "PEXPIRE", b"user:1", 59_000)  # 11 s later
        database.rows["1"] = "new"
        desk.aging.look(desk.plan, b"user:1")
        desk.aging.look(desk.plan, b"user:1")
        await until(lambda: len(desk.told) == 2)
        assert await desk.ask(b"user:1", "GET", b"user:1") == b"new"
        assert database.asked == ["1", "1"]
        assert (desk.counts.stale, desk.counts.refreshes) == (1, 1)


async def test_a_refresh_is_cancelled_by_a_delete(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_desks(fleet, database, ttl="10s", stale="60s") as (desk,):
        assert await desk.get(b"user:1") == b"old"
        await desk.ask(b"user:1", "PEXPIRE", b"user:1", 59_000)
        gate = database.loads = Gate()
        desk.aging.look(desk.plan, b"user:1")
        await gate.reached.wait()
        await desk.ask(b"user:1", "DEL", desk.slot(b"user:1").lease(b"user:1"), b"user:1")
        gate.opened.set()
        await until(lambda: desk.told)
        assert await desk.ask(b"user:1", "EXISTS", b"user:1") == 0


@pytest.mark.parametrize("row", ["row", None])
@pytest.mark.parametrize(
    ("command", "left"), [(("SET", "user:1", "newer"), b"newer"), (("DEL", "user:1"), None)]
)
async def test_a_refresh_that_began_within_a_write_changes_nothing(
    fleet: Fleet, command: tuple[str, ...], left: bytes | None, row: str | None
) -> None:
    """A large write, or one behind many others, reaches the engine later than the end of its lease."""
    database = Database({"1": "old"})
    async with open_desks(fleet, database, ttl="10s", stale="60s") as (desk,):
        assert await desk.get(b"user:1") == b"old"
        await desk.ask(b"user:1", "PEXPIRE", b"user:1", 59_000)
        database.rows = {"1": row} if row is not None else {}
        gate = database.loads = Gate()
        await desk.ask(b"user:1", "DEL", desk.slot(b"user:1").lease(b"user:1"))
        desk.aging.look(desk.plan, b"user:1")
        await gate.reached.wait()
        await desk.ask(b"user:1", *command)
        gate.opened.set()
        await until(lambda: desk.told)
        assert await desk.ask(b"user:1", "GET", b"user:1") == left


async def test_a_value_that_ends_while_it_is_refreshed_is_replaced(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_desks(fleet, database, ttl="10s", stale="60s") as (desk,):
        assert await desk.get(b"user:1") == b"old"
        await desk.ask(b"user:1", "PEXPIRE", b"user:1", 300)
        database.rows["1"] = "new"
        gate = database.loads = Gate()
        desk.aging.look(desk.plan, b"user:1")
        await gate.reached.wait()
        with trio.fail_after(10):
            while await desk.ask(b"user:1", "EXISTS", b"user:1"):  # noqa: ASYNC110  # nobody tells
                await trio.sleep(0.01)
        gate.opened.set()
        await until(lambda: desk.told)
        assert await desk.ask(b"user:1", "GET", b"user:1") == b"new"
        assert database.asked == ["1", "1"]


async def test_an_old_value_is_kept_while_the_database_is_down(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_desks(fleet, database, ttl="10s", stale="60s", on_failure="stale") as (desk,):
        assert await desk.get(b"user:1") == b"old"
        await desk.ask(b"user:1", "PEXPIRE", b"user:1", 1000)
        database.is_down = True
        desk.aging.look(desk.plan, b"user:1")
        await until(lambda: desk.told)
        left = await desk.ask(b"user:1", "PTTL", b"user:1")
        assert isinstance(left, int)
        assert left > 50_000


async def test_a_row_that_has_gone_is_gone_from_the_cache_once_refreshed(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_desks(fleet, database, ttl="10s", stale="60s") as (desk,):
        assert await desk.get(b"user:1") == b"old"
        await desk.ask(b"user:1", "PEXPIRE", b"user:1", 1000)
        del database.rows["1"]
        desk.aging.look(desk.plan, b"user:1")
        await until(lambda: desk.told)
        assert await desk.get(b"user:1") is None
        assert database.asked == ["1", "1"]


async def test_hashes_are_filled_and_refused_where_the_database_lacks_writes(fleet: Fleet) -> None:
    database = Database({"1": {"name": "ann", "age": 3}})
    load = {"source": "db", "sql": "select * from t where id = :id", "as": "hash"}
    async with open_desks(fleet, database, timeout=0.2, load=load, write=writes("behind")) as (desk,):
        slot = desk.slot(b"user:1")
        await desk.ask(b"user:1", "SET", slot.dirty(b"user:1"), 1)
        await desk.ask(b"user:1", "XADD", slot.stream, "*", "key", b"user:1", "type", "none")
        why = await desk.loading.load(desk.plan, b"user:1")
        assert isinstance(why, str)
        assert why.startswith("the database lacks writes of it")
        await desk.ask(b"user:1", "DEL", slot.stream)  # by hand: what it said is lost
        assert await desk.loading.load(desk.plan, b"user:1") is Found.VALUE
        assert await desk.ask(b"user:1", "HGETALL", b"user:1") == [b"name", b"ann", b"age", b"3"]


async def test_a_value_that_somebody_wrote_while_no_row_was_found_stays(fleet: Fleet) -> None:
    gate = Gate()
    async with open_desks(fleet, Database(loads=gate)) as (desk,):
        found: list[object] = []

        async def read() -> None:
            found.append(await desk.get(b"user:1"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await gate.reached.wait()
            await desk.ask(
                b"user:1", "SET", b"user:1", "written"
            )  # by who deleted the lease before this load
            gate.opened.set()
        assert found == [b"written"]


async def test_a_value_that_lives_forever_may_be_old_too(fleet: Fleet) -> None:
    async with open_desks(fleet, Database(), stale="10s") as (desk,):
        forgetting = Forgetting(desk.engines, desk.leases, desk.names, lambda *told: None)
        await desk.ask(b"user:1", "SET", b"user:1", "value")
        await forgetting.forget_all(CLUSTER, [desk.plan], "db")
        left = await desk.ask(b"user:1", "PTTL", b"user:1")
        assert isinstance(left, int)
        assert 0 < left <= 10_000


async def test_what_is_being_loaded_and_what_has_no_row_is_forgotten_too(fleet: Fleet) -> None:
    database = Database({"1": "old"})
    async with open_desks(fleet, database) as (desk,):
        forgetting = Forgetting(desk.engines, desk.leases, desk.names, lambda *told: None)
        assert await desk.get(b"user:2") is None
        gate, found = Gate(), []

        async def read() -> None:
            found.append(await desk.get(b"user:1"))

        database.loads = gate
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await gate.reached.wait()
            database.rows = {"1": "new", "2": "new"}
            assert await forgetting.forget_all(CLUSTER, [desk.plan], "db") == set()
            gate.opened.set()
        assert (found, await desk.get(b"user:2")) == ([b"new"], b"new")


async def test_what_an_engine_could_not_be_told_is_forgotten_once_it_can(
    start_fleet: StartFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shardproxy.caching.forgetting.WITHIN", 0.2)
    monkeypatch.setattr("shardproxy.caching.forgetting.TIMEOUT", 0.2)
    fleet = start_fleet(shards=2, replicas=0)
    async with open_desks(fleet, Database()) as (desk,):
        changes = Changes(
            Forgetting(desk.engines, desk.leases, desk.names, lambda *told: None), CLUSTER, [desk.plan], "db"
        )
        keys = [b"user:%d" % number for number in range(20)]
        here = [key for key in keys if desk.slot(key).slot < SLOT_COUNT // 2]
        there = [key for key in keys if key not in here]
        for key in keys:
            await desk.ask(key, "SET", key, "value")
        node = fleet.shards[0].primary
        assert isinstance(node, RedisNode)
        node.freeze()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(changes.run)
            await changes.changed([here[0], there[0]])
            assert await desk.ask(there[0], "EXISTS", there[0]) == 0
            assert await desk.ask(there[1], "EXISTS", there[1]) == 1, "nothing is owed there"
            node.thaw()
            with trio.fail_after(30):
                while await desk.ask(here[0], "EXISTS", here[0]):  # noqa: ASYNC110  # nobody tells
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert await desk.ask(there[1], "EXISTS", there[1]) == 1


async def test_only_what_a_source_has_is_forgotten_when_it_says_so(fleet: Fleet) -> None:
    async with open_desks(fleet, Database()) as (desk,):
        forgetting = Forgetting(desk.engines, desk.leases, desk.names, lambda *told: None)
        keys = [b"user:1", b"user:2", b"other", desk.slot(b"user:1").lease(b"user:1"), desk.slot(b"a").stream]
        for key in keys:
            await desk.ask(key, "SET", key, "value")

        async def left() -> list[bytes]:
            return [key for key in keys if await desk.ask(key, "EXISTS", key)]

        await forgetting.forget(CLUSTER, [desk.plan], "another", keys)
        await forgetting.forget_all(CLUSTER, [desk.plan], "another")
        assert await left() == keys
        await forgetting.forget(CLUSTER, [desk.plan], "db", keys[1:])
        assert await left() == [keys[0], *keys[2:]]
        await forgetting.forget_all(CLUSTER, [desk.plan], "db")
        assert await left() == [b"other", keys[4]], "the lease of a key goes with it"
