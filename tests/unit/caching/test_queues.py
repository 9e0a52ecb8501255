"""Queues of keys: who came first writes first, and nobody waits for ever."""

from __future__ import annotations

import trio
import trio.testing

from shardproxy.caching.queues import KeyQueues


async def test_requests_of_a_key_have_their_turns_in_their_order() -> None:
    queues = KeyQueues(100)
    done: list[int] = []
    places = [queues.enter(["a"]) for _ in range(5)]

    async def write(number: int) -> None:
        place = places[number]
        assert place is not None
        await place.wait_turn("a")
        await trio.lowlevel.checkpoint()
        done.append(number)
        place.leave_all()

    async with trio.open_nursery() as nursery:
        for number in reversed(range(5)):
            nursery.start_soon(write, number)
    assert done == [0, 1, 2, 3, 4]
    assert len(queues) == 0


async def test_requests_with_the_same_keys_in_another_order_do_not_wait_for_each_other() -> None:
    queues = KeyQueues(100)

    async def write(*keys: str) -> None:
        place = queues.enter(keys)
        assert place is not None
        for key in keys:
            await place.wait_turn(key)
            await trio.lowlevel.checkpoint()
        place.leave_all()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(write, "a", "b", "a")
                nursery.start_soon(write, "b", "a")
    assert not queues.is_busy("a")


async def test_too_many_are_refused_and_leave_nothing_behind() -> None:
    queues = KeyQueues(2)
    first = queues.enter(["a"])
    assert first is not None
    assert queues.enter(["b", "c"]) is None
    assert len(queues) == 1
    assert not queues.is_busy("b")
    first.leave_all()
    first.leave_all()
    assert queues.enter(["b", "c"]) is not None


async def test_whoever_leaves_without_its_turn_lets_the_next_one_go() -> None:
    queues = KeyQueues(10)
    first, second, third = (queues.enter(["a"]) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    second.leave_all()
    first.leave_all()
    with trio.fail_after(1):
        await third.wait_turn("a")
