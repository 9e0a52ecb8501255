"""Many links asked by one task: real sockets, and engines that misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from shardproxy.fleet import RedisNode
from shardproxy.model import Address
from shardproxy.nodes import Batch, NodeLink, Pulse, Stop
from shardproxy.wire.reply import Reply
from tests.fixtures.engines import StartFleet
from tests.fixtures.fake_engine import Answer, Cut, FakeEngine

ECHO = Batch(("ECHO", "a"), ("ECHO", "b"))
TIMEOUT = 0.3


@dataclass(eq=False)
class Counter:
    """Asks that many times."""

    left: int
    interval: float = 0.01
    got: list[list[Reply]] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    is_answered: trio.Event = field(default_factory=trio.Event)

    def question(self, now: float) -> Batch | None:
        if not self.left:
            return None
        self.left -= 1
        self.asked.append(now)
        return ECHO

    def answered(self, asked_at: float, at: float, replies: list[Reply]) -> float | None:
        assert asked_at == self.asked[-1]
        assert at >= asked_at
        self.got.append(replies)
        self.is_answered.set()
        return at + self.interval


@asynccontextmanager
async def running() -> AsyncIterator[Pulse]:
    async with trio.open_nursery() as nursery:
        pulse = Pulse(TIMEOUT)
        nursery.start_soon(pulse.run)
        yield pulse
        nursery.cancel_scope.cancel()


async def ride(pulse: Pulse, link: NodeLink, rider: Counter, at: float | None = None) -> Stop | None:
    await link.open()
    with trio.fail_after(10):
        ended = await pulse.ride(link, rider, trio.current_time() if at is None else at)
    return ended.stop if ended is not None else None


async def test_questions_are_asked_until_the_rider_wants_the_link_back(start_fleet: StartFleet) -> None:
    node = start_fleet(shards=1, replicas=0).shards[0].primary
    links = [NodeLink(node.address) for _ in range(20)]
    riders = [Counter(10) for _ in links]
    async with running() as pulse:
        async with trio.open_nursery() as nursery:
            for link, rider in zip(links, riders, strict=True):
                nursery.start_soon(ride, pulse, link, rider)
        assert all(rider.got == [[b"a", b"b"]] * 10 for rider in riders)
        assert await links[0].request("ECHO", "mine again") == b"mine again"
        for link in links:
            link.close()


async def test_a_link_that_is_not_open_is_not_ridden() -> None:
    async with running() as pulse, NodeLink(Address("127.0.0.1", 1)) as link:
        assert await pulse.ride(link, Counter(1), 0.0) is None


async def test_the_end_of_an_idle_connection_ends_the_ride(start_fleet: StartFleet) -> None:
    node = start_fleet(shards=1, replicas=0).shards[0].primary
    assert isinstance(node, RedisNode)
    async with running() as pulse, NodeLink(node.address) as link, trio.open_nursery() as nursery:
        rider = Counter(1, interval=100.0)

        async def kill() -> None:
            await rider.is_answered.wait()
            node.kill()

        nursery.start_soon(kill)
        assert await ride(pulse, link, rider) is Stop.CLOSED


async def test_a_hurried_question_is_asked_at_once(start_fleet: StartFleet) -> None:
    node = start_fleet(shards=1, replicas=0).shards[0].primary
    async with running() as pulse, NodeLink(node.address) as link, trio.open_nursery() as nursery:
        rider = Counter(2, interval=100.0)

        async def hurry() -> None:
            await rider.is_answered.wait()
            rider.left, rider.is_answered = 1, trio.Event()
            pulse.hurry(rider, trio.current_time())
            with trio.fail_after(5):
                await rider.is_answered.wait()
            rider.left = 0
            pulse.hurry(rider, trio.current_time())

        nursery.start_soon(hurry)
        assert await ride(pulse, link, rider) is Stop.ASKED
        assert len(rider.got) == 2


async def misbehaviour(
    fake_engine: Callable[[Answer], FakeEngine], answer: Callable[[list[bytes]], bytes | Cut]
) -> Stop | None:
    engine = fake_engine(lambda connection, request: answer(request))
    async with running() as pulse, NodeLink(engine.address) as link:
        return await ride(pulse, link, Counter(5))


async def test_no_reply_in_time(fake_engine: Callable[[Answer], FakeEngine]) -> None:
    assert await misbehaviour(fake_engine, lambda request: b"") is Stop.LATE


async def test_half_a_reply_in_time(fake_engine: Callable[[Answer], FakeEngine]) -> None:
    assert await misbehaviour(fake_engine, lambda request: b"$500\r\nab") is Stop.LATE


async def test_a_connection_that_ends_under_a_question(fake_engine: Callable[[Answer], FakeEngine]) -> None:
    assert await misbehaviour(fake_engine, lambda request: Cut()) is Stop.LOST


async def test_what_is_no_resp(fake_engine: Callable[[Answer], FakeEngine]) -> None:
    assert await misbehaviour(fake_engine, lambda request: b"HTTP/1.1 400\r\n") is Stop.LOST


async def test_more_replies_than_requests(fake_engine: Callable[[Answer], FakeEngine]) -> None:
    assert await misbehaviour(fake_engine, lambda request: b"+a\r\n+b\r\n+c\r\n") is Stop.LOST
