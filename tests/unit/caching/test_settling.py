"""A COMMIT that was not answered is waited for, whatever its source does meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
import trio.testing

from shardproxy.caching.leases import Claim
from shardproxy.caching.memcached.items import Item, Mark
from shardproxy.caching.memcached.requests import KeyWrite, Verb
from shardproxy.caching.memcached.writing import MemcachedWriting
from shardproxy.caching.plan import Plan
from shardproxy.caching.requests import write_of
from shardproxy.caching.sources.interface import SourceDownError
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.caching.writing import WriteDoubtError, Writing
from tests.fixtures.caching import Database, Transaction, names, rule, writes


class Odd(Database):
    """Does not answer its first COMMIT; then it cannot be asked, for a reason nobody thought of."""

    async def _lost(self, _: str) -> None:
        self.commits = None
        raise SourceDownError("the connection is lost")

    @asynccontextmanager
    async def writing_all(self, writes: Sequence[Any]) -> AsyncIterator[Transaction]:
        self.transactions += 1
        if self.transactions == 1:
            self.commits = self._lost
        if self.transactions == 2:
            raise OSError("too many open files")
        async with super().writing_all(writes) as transaction:
            yield transaction


class Engine:
    """Stands in for leases and engines: what they are asked for, they do."""

    def __init__(self) -> None:
        self.forgotten: list[bytes] = []

    async def write(self, *_: Any) -> Claim:
        return Claim.MINE

    async def evaluate(self, *_: Any, **__: Any) -> list[Any]:
        return [1]

    def primary(self, _: Any) -> None:
        return None

    async def invalidate(self, _: Any, key: bytes, deadline: float) -> None:
        self.forgotten.append(key)


async def test_a_source_that_fails_in_an_odd_way_is_waited_for_all_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    engine, database = Engine(), cast("Any", Odd())
    plan = Plan("main", rule(write=writes("through")), database, database, 1.0)
    async with trio.open_nursery() as nursery:
        any_engine = cast("Any", engine)
        writing = Writing(any_engine, any_engine, names(), nursery, CachingStatistics())
        (part,) = write_of((b"DEL", b"user:1")).parts
        with pytest.raises(WriteDoubtError):
            await writing.write(plan, part, trio.current_time() + 5)
    assert (database.transactions, engine.forgotten) == (3, [b"user:1"])


class Cache:
    """Stands in for memcached: it has nothing, and takes every mark."""

    def __init__(self) -> None:
        self.forgotten: list[bytes] = []

    async def look(self, *_: Any) -> None:
        return None

    async def mark(self, *_: Any) -> tuple[Item, bool]:
        return Item(b"", 0, 1, -1, Mark.WRITING), True

    async def forget(self, _: str, key: bytes, deadline: float) -> None:
        self.forgotten.append(key)


async def test_a_commit_through_memcached_is_waited_for_too(autojump_clock: trio.testing.MockClock) -> None:
    cache, database = Cache(), cast("Any", Odd())
    plan = Plan("main", rule(write=writes("through")), database, database, 1.0)
    async with trio.open_nursery() as nursery:
        writing = MemcachedWriting(cast("Any", cache), nursery, CachingStatistics())
        with pytest.raises(WriteDoubtError):
            await writing.write("main", plan, KeyWrite(Verb.DELETE, b"user:1"))
    assert (database.transactions, cache.forgotten) == (3, [b"user:1"])
