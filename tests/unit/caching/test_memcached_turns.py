"""Writes of one key of a memcached cluster wait for each other, and not for ever."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import trio
import trio.testing

from shardproxy.caching.memcached.requests import Done, Result
from shardproxy.caching.memcached.service import MemcachedService
from shardproxy.caching.plan import Plan, Plans
from shardproxy.caching.service import Service
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.dataplane import Offloaded
from shardproxy.model import Engine
from tests.fixtures.caching import Database, rule, writes

NOT_READY = b"SERVER_ERROR LOADER caching is not ready: its sources are not open\r\n"
LATE = b"SERVER_ERROR LOADER not written: other writes of the key have not ended\r\n"


@dataclass
class Place:
    """Stands in for the data plane, and for writes, whose first one of a key never ends."""

    answered: dict[int, bytes] = field(default_factory=dict)

    def answer(self, token: int, reply: bytes) -> None:
        self.answered[token] = reply

    async def write(self, cluster: str, plan: Plan | None, write: Any) -> Result:
        if write.key == b"user:1":
            await trio.sleep_forever()
        return Result(Done.STORED)


def offload(key: bytes, token: int, args: tuple[bytes, ...] = ()) -> Offloaded:
    args = args or (b"set", key, b"0", b"0", b"1", b"v")
    return Offloaded(token, "main", "primary", 7, "default", 2, 0, "127.0.0.1:7000", True, args, 0)


async def test_whoever_waits_for_a_write_that_does_not_end_is_told_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    place, database = Place(), cast("Any", Database())
    plan = Plan("main", rule(write=writes("through")), database, database, 1.0)
    async with trio.open_nursery() as nursery:
        service = MemcachedService(
            dataplane=place,
            plans=Plans(lambda cluster: (plan,)),
            items=cast("Any", None),
            loading=cast("Any", None),
            writing=cast("Any", place),
            nursery=nursery,
            statistics=CachingStatistics(),
        )
        service.serve(offload(b"user:1", 0))
        for token in range(1, 9):
            service.serve(offload(b"user:1", token))
        service.serve(offload(b"user:2", 9))
        with trio.move_on_after(2 * plan.patience):
            await trio.sleep_forever()
        assert place.answered.pop(9) == b"STORED\r\n"
        assert place.answered == dict.fromkeys(range(1, 9), LATE)
        assert len(service.queues) == 1, "that of the first"
        nursery.cancel_scope.cancel()


async def test_a_write_whose_plans_go_is_not_written_to_the_cache_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    place, database = Place(), cast("Any", Database())
    plan = Plan("main", rule(write=writes("through")), database, database, 1.0)
    known = [plan]
    async with trio.open_nursery() as nursery:
        service = MemcachedService(
            dataplane=place,
            plans=Plans(lambda cluster: tuple(known), lambda cluster: [plan.rule.config]),
            items=cast("Any", None),
            loading=cast("Any", None),
            writing=cast("Any", place),
            nursery=nursery,
            statistics=CachingStatistics(),
        )
        service.serve(offload(b"user:2", 1))
        known.clear()  # another config: its sources are being opened
    assert place.answered == {1: NOT_READY}


async def test_where_caching_ends_nobody_waits_for_ever() -> None:
    place, database = Place(), cast("Any", Database())
    plan = Plan("main", rule(write=writes("through")), database, database, 1.0)

    class Waiting:
        async def load(self, plan: Plan, key: bytes) -> Any:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        service = MemcachedService(
            dataplane=place,
            plans=Plans(lambda cluster: (plan,)),
            items=cast("Any", None),
            loading=cast("Any", Waiting()),
            writing=cast("Any", place),
            nursery=nursery,
            statistics=CachingStatistics(),
        )
        service.serve(offload(b"user:1", 1))
        service.serve(offload(b"user:1", 2, (b"get", b"user:1")))
        await trio.testing.wait_all_tasks_blocked()
        assert place.answered == {}
        nursery.cancel_scope.cancel()
    assert place.answered == {
        1: b"SERVER_ERROR INDOUBT caching has ended meanwhile\r\n",
        2: b"SERVER_ERROR LOADER caching has ended meanwhile\r\n",
    }


class Empty:
    """A node without items."""

    async def look(self, cluster: str, key: bytes, deadline: float) -> None:
        return None


@pytest.mark.parametrize(
    ("args", "on_failure", "answer"),
    [
        ((b"get", b"user:1"), "error", NOT_READY),
        ((b"get", b"user:1"), "miss", b"END\r\n"),
        ((b"mg", b"user:1", b"v"), "error", NOT_READY),
        ((b"mg", b"user:1", b"v"), "miss", b"EN\r\n"),
        ((b"set", b"user:1", b"0", b"0", b"1", b"v"), "miss", NOT_READY),
    ],
)
async def test_clients_of_memcached_hear_in_its_own_words_that_sources_are_not_open(
    autojump_clock: trio.testing.MockClock, args: tuple[bytes, ...], on_failure: str, answer: bytes
) -> None:
    place, configured = Place(), [rule(write=writes("through"), on_failure=on_failure).config]
    plans, nothing = Plans(lambda _: (), lambda _: configured), cast("Any", None)
    async with trio.open_nursery() as nursery:
        memcached = MemcachedService(
            dataplane=place,
            plans=plans,
            items=cast("Any", Empty()),
            loading=nothing,
            writing=cast("Any", place),
            nursery=nursery,
            statistics=CachingStatistics(),
        )
        service = Service(
            dataplane=cast("Any", place),
            plans=plans,
            engines=nothing,
            names=nothing,
            loading=nothing,
            aging=nothing,
            writers={},
            nursery=nursery,
            statistics=CachingStatistics(),
            engine_of=lambda _: Engine.MEMCACHED,
            others={Engine.MEMCACHED: memcached.serve},
        )
        assert service.take(offload(b"user:1", 1, args))
    assert place.answered == {1: answer}
