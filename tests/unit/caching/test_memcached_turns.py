"""Writes of one key of a memcached cluster wait for each other, and not for ever."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import trio
import trio.testing

from shardproxy.caching.memcached.requests import Done, Result
from shardproxy.caching.memcached.service import MemcachedService
from shardproxy.caching.plan import Plan, Plans
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.dataplane import Offloaded
from tests.fixtures.caching import Database, rule, writes

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


def offload(key: bytes, token: int) -> Offloaded:
    args = (b"set", key, b"0", b"0", b"1", b"v")
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
    assert place.answered == {1: b"SERVER_ERROR LOADER caching is not ready: its sources are not open\r\n"}
