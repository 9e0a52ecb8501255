"""What becomes of requests that caching rules are about, without engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import trio
import trio.testing

from shardproxy.caching.loading import VANISHES, Done, Found
from shardproxy.caching.plan import Plan, Plans
from shardproxy.caching.service import KNOWN_WITHIN, LOOKS, Service
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.config.caching import WriteMode
from shardproxy.dataplane import Offloaded
from shardproxy.wire.reply import OK
from tests.fixtures.caching import Database, rule, writes

Clock = trio.testing.MockClock
NOT_READY = b"-ERR LOADER caching is not ready: its sources are not open\r\n"


@dataclass
class Place:
    """Stands in for the data plane, and for loads, which end when they are told to."""

    answered: dict[int, bytes] = field(default_factory=dict)
    passed: list[int] = field(default_factory=list)
    absent: dict[int, Sequence[bytes] | None] = field(default_factory=dict)
    loads: dict[bytes, Done] = field(default_factory=dict)

    def answer(self, token: int, reply: bytes) -> None:
        self.answered[token] = reply

    def pass_on(self, token: int, absent: Sequence[bytes] | None = None) -> None:
        self.passed.append(token)
        self.absent[token] = absent

    def join(self, plan: Plan, key: bytes, done: Done) -> str | None:
        self.loads[key] = done
        return None


def plan(**of_rule: Any) -> Plan:
    database = cast("Any", Database())
    return Plan("main", rule(**of_rule), database, database, 1.0, at_once=3)


def offload(*args: bytes, token: int = 1, looks: int = 0) -> Offloaded:
    return Offloaded(token, "main", "primary", 7, "default", 2, 0, "127.0.0.1:7000", True, args, 0, looks)


def service(nursery: trio.Nursery, place: Place, plans: Plans, write: Callable[..., Any]) -> Service:
    return Service(
        dataplane=place,
        plans=plans,
        engines=cast("Any", None),
        names=cast("Any", None),
        loading=cast("Any", place),
        aging=cast("Any", None),
        writers={WriteMode.THROUGH: write},
        nursery=nursery,
        statistics=CachingStatistics(),
    )


async def never(*_: Any) -> Any:
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("args", "on_failure", "answer"),
    [
        ((b"SET", b"user:1", b"v"), "miss", NOT_READY),
        ((b"GET", b"user:1"), "error", NOT_READY),
        ((b"GET", b"user:1"), "miss", None),
    ],
)
async def test_rules_without_plans_are_not_gone(
    autojump_clock: Clock, args: tuple[bytes, ...], on_failure: str, answer: bytes | None
) -> None:
    place = Place()
    configured = [rule(write=writes("through"), on_failure=on_failure).config]
    async with trio.open_nursery() as nursery:
        one = service(nursery, place, Plans(lambda _: (), lambda _: configured), never)
        assert one.take(offload(*args))
    assert (place.answered, place.passed) == (({1: answer}, []) if answer else ({}, [1]))


async def test_many_who_wait_for_sources_that_never_open_look_seldom(autojump_clock: Clock) -> None:
    place, looks = Place(), 0
    configured = [rule(write=writes("through")).config]

    def plans_of(_: str) -> tuple[Plan, ...]:
        nonlocal looks
        looks += 1
        return ()

    async with trio.open_nursery() as nursery:
        one = service(nursery, place, Plans(plans_of, lambda _: configured), never)
        for token in range(100):
            one.take(offload(b"SET", b"user:1", b"v", token=token))
    assert len(place.answered) == 100
    assert looks <= 100 * 20, "all of them would keep the loop from its other work"


@pytest.mark.parametrize(
    ("args", "is_known", "answer"),
    [
        ((b"SET", b"user:1", b"v"), True, b"-ERR INDOUBT caching has ended meanwhile\r\n"),
        ((b"SET", b"user:1", b"v"), False, NOT_READY),
        (
            (b"MGET", *(b"user:%d" % n for n in range(9))),
            True,
            b"-ERR LOADER caching has ended meanwhile\r\n",
        ),
        ((b"MGET", b"user:1", b"user:2"), False, NOT_READY),
    ],
)
async def test_where_caching_ends_nobody_waits_for_ever(
    args: tuple[bytes, ...], is_known: bool, answer: bytes
) -> None:
    place, own = Place(), plan(write=writes("through"), on_failure="error")
    known = (own,) if is_known else ()
    async with trio.open_nursery() as nursery:
        one = service(nursery, place, Plans(lambda _: known, lambda _: [own.rule.config]), never)
        one.take(offload(*args))
        await trio.testing.wait_all_tasks_blocked()
        assert place.answered == {}
        nursery.cancel_scope.cancel()
    assert place.answered == {1: answer}


async def test_rules_that_are_gone_are_passed_on(autojump_clock: Clock) -> None:
    place = Place()
    async with trio.open_nursery() as nursery:
        service(nursery, place, Plans(lambda _: ()), never).take(offload(b"SET", b"user:1", b"v"))
    assert (place.answered, place.passed) == ({}, [1])


async def test_a_write_whose_plans_go_while_it_waits_its_turn_is_not_written(autojump_clock: Clock) -> None:
    place, known, began = Place(), [plan(write=writes("through"))], trio.Event()
    configured = [known[0].rule.config]

    async def write(*_: Any) -> Any:
        began.set()
        await trio.sleep(KNOWN_WITHIN / 2)
        return OK

    async with trio.open_nursery() as nursery:
        one = service(nursery, place, Plans(lambda _: tuple(known), lambda _: configured), write)
        one.take(offload(b"SET", b"user:1", b"v"))
        one.take(offload(b"SET", b"user:1", b"w", token=2))
        await began.wait()
        known.clear()
    assert place.answered == {1: b"+OK\r\n", 2: NOT_READY}


async def test_a_write_waits_for_its_turn_no_longer_than_a_write_may_take(autojump_clock: Clock) -> None:
    place, own = Place(), plan(write=writes("through"))
    async with trio.open_nursery() as nursery:
        one = service(nursery, place, Plans(lambda _: (own,)), never)
        for token in range(5):
            one.take(offload(b"SET", b"user:1", b"v", token=token))
        await trio.sleep(own.patience + 0.1)
        assert set(place.answered) == {1, 2, 3, 4}
        assert all(b"other writes of the key have not ended" in said for said in place.answered.values())
        nursery.cancel_scope.cancel()


async def test_reads_of_many_keys_ask_a_source_for_as_many_as_it_answers_at_once(
    autojump_clock: Clock,
) -> None:
    place, own = Place(), plan()
    keys = [b"user:%d" % number for number in range(100)]
    async with trio.open_nursery() as nursery:
        one = service(nursery, place, Plans(lambda _: (own,)), never)
        one.take(offload(b"MGET", *keys[:60]))
        one.take(offload(b"MGET", *keys[60:], token=2))
        loaded = 0
        while not {1, 2} <= set(place.passed):
            await trio.testing.wait_all_tasks_blocked()
            assert 0 < len(place.loads) <= own.at_once
            loaded += len(place.loads)
            ended, place.loads = place.loads, {}
            for done in ended.values():
                done(Found.VALUE)
            await trio.testing.wait_all_tasks_blocked()
    assert (loaded, place.answered) == (100, {})


async def test_a_read_of_many_keys_ends_with_the_first_error_and_at_its_deadline(
    autojump_clock: Clock,
) -> None:
    place, own = Place(), plan()
    keys = [b"user:%d" % number for number in range(100)]
    async with trio.open_nursery() as nursery:
        one = service(nursery, place, Plans(lambda _: (own,)), never)
        one.take(offload(b"MGET", *keys))
        await trio.testing.wait_all_tasks_blocked()
        ended, place.loads = place.loads, {}
        for done in ended.values():
            done("it is down")
        await trio.testing.wait_all_tasks_blocked()
        assert place.answered == {1: b"-ERR LOADER it is down\r\n"}
        assert not place.loads
        one.take(offload(b"MGET", *keys, token=2))
        await trio.sleep(own.patience + 0.1)
        for done in place.loads.values():
            done(Found.VALUE)
    assert b"not all of 100 keys were loaded within" in place.answered[2]


async def test_only_keys_without_a_row_may_be_missing_still(autojump_clock: Clock) -> None:
    place, own = Place(), plan()
    async with trio.open_nursery() as nursery:
        one = service(nursery, place, Plans(lambda _: (own,)), never)
        one.take(offload(b"MGET", b"user:1", b"user:2", b"user:3"))
        await trio.testing.wait_all_tasks_blocked()
        for key, found in ((b"user:1", Found.VALUE), (b"user:2", Found.NOTHING), (b"user:3", Found.VALUE)):
            place.loads.pop(key)(found)
    assert place.absent == {1: [b"user:2"]}


@pytest.mark.parametrize("on_failure", ["error", "miss"])
async def test_what_vanishes_whenever_it_was_found_is_no_answer(
    autojump_clock: Clock, on_failure: str
) -> None:
    place, own = Place(), plan(on_failure=on_failure)
    async with trio.open_nursery() as nursery:
        one = service(nursery, place, Plans(lambda _: (own,)), never)
        one.take(offload(b"GET", b"user:1", looks=LOOKS))
    if on_failure == "miss":
        assert place.absent == {1: None}
    else:
        assert place.answered == {1: b"-ERR LOADER %b\r\n" % VANISHES.encode()}
