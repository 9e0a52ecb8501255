"""Names of nodes: what is used while a name server is slow or away, and on whose threads it is asked."""

from __future__ import annotations

import errno
import socket
import threading

import pytest
import trio
import trio.testing

from shardproxy.fleet import RedisNode
from shardproxy.model import Address
from shardproxy.nodes import NodeLink, NodeUnreachable, Resolver, connect
from shardproxy.nodes.resolve import FRESH, HEAD_START
from tests.fixtures.engines import StartFleet


class Names:
    """A name server that a test controls."""

    def __init__(self) -> None:
        self.answer: tuple[str, ...] | None = ("127.0.0.1",)
        self.takes = 0.0
        self.asked = 0
        self.at_once = 0

    async def look_up(self, host: str) -> tuple[str, ...]:
        self.asked += 1
        self.at_once += 1
        answer = self.answer
        try:
            await trio.sleep(self.takes)
        finally:
            self.at_once -= 1
        if answer is None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return answer


async def test_a_literal_address_is_not_looked_up() -> None:
    names = Names()
    for host in ("127.0.0.1", "::1"):
        assert await Resolver(names.look_up).resolve(host) == (host,)
    assert not names.asked


async def test_the_last_good_address_is_used_while_a_lookup_takes_long(
    autojump_clock: trio.testing.MockClock,
) -> None:
    names, resolver = Names(), None
    resolver = Resolver(names.look_up)
    assert await resolver.resolve("redis-1") == ("127.0.0.1",)
    names.answer, names.takes = ("127.0.0.2",), 0.25
    await trio.sleep(FRESH)
    began = trio.current_time()
    assert await resolver.resolve("redis-1") == ("127.0.0.1",)
    assert trio.current_time() - began == pytest.approx(HEAD_START)
    await trio.sleep(0.25)
    assert await resolver.resolve("redis-1") == ("127.0.0.2",)  # it went on beside
    assert names.asked == 2


async def test_a_name_that_does_not_resolve_any_more_keeps_its_address(
    autojump_clock: trio.testing.MockClock,
) -> None:
    names = Names()
    resolver = Resolver(names.look_up)
    await resolver.resolve("redis-1")
    for names.answer in (None, ()):
        await trio.sleep(FRESH)
        assert await resolver.resolve("redis-1") == ("127.0.0.1",)


async def test_a_name_that_never_resolved_says_why_and_is_asked_again_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    names = Names()
    names.answer = None
    resolver = Resolver(names.look_up)
    for _ in range(3):
        with pytest.raises(socket.gaierror, match="Temporary failure"):
            await resolver.resolve("redis-1")
    assert names.asked == 1
    names.answer = ("127.0.0.1",)
    await trio.sleep(FRESH)
    assert await resolver.resolve("redis-1") == ("127.0.0.1",)


async def test_a_name_is_looked_up_once_at_a_time_also_when_who_asked_gave_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    names = Names()
    names.takes = 30.0
    resolver = Resolver(names.look_up)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(_resolve_for, resolver, 1.0)
    assert (names.asked, names.at_once) == (1, 1)
    await trio.sleep(29.5)
    assert await resolver.resolve("redis-1") == ("127.0.0.1",)
    assert names.asked == 1


async def _resolve_for(resolver: Resolver, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await resolver.resolve("redis-1")


async def test_lookups_take_no_thread_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many names that hang: a store write, which needs a thread of trio's, is not held up."""
    release = threading.Event()

    def hang(*_: object, **__: object) -> object:
        release.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    resolver = Resolver(lookups=2)
    try:
        with trio.move_on_after(0.1):
            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(resolver.resolve, f"redis-{number}")
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        assert resolver.threads_in_use == 2
        with trio.fail_after(5):
            await trio.to_thread.run_sync(lambda: None)
    finally:
        release.set()


async def test_a_link_reaches_its_node_while_its_name_does_not_resolve(start_fleet: StartFleet) -> None:
    node = start_fleet(shards=1, replicas=0).shards[0].primary
    assert isinstance(node, RedisNode)
    names = Names()
    async with NodeLink(Address("redis-1", node.port), resolver=Resolver(names.look_up)) as link:
        assert await link.request("PING") == b"PONG"
        assert link.peer == "127.0.0.1"
        names.answer, names.takes = None, 60.0
        link.drop()
        await trio.sleep(FRESH)
        assert await link.request("PING", timeout=0.2) == b"PONG"
        assert names.asked == 2


async def test_every_address_of_a_name_is_tried(start_fleet: StartFleet) -> None:
    node = start_fleet(shards=1, replicas=0).shards[0].primary
    assert isinstance(node, RedisNode)
    names = Names()
    names.answer = ("::1", "127.0.0.9", "127.0.0.1")
    async with NodeLink(Address("redis-1", node.port), resolver=Resolver(names.look_up)) as link:
        assert await link.request("PING") == b"PONG"


@pytest.mark.parametrize(
    ("numbers", "gravest"),
    [
        ([errno.ECONNREFUSED], errno.ECONNREFUSED),
        ([errno.ECONNREFUSED, errno.ETIMEDOUT], errno.ETIMEDOUT),
        ([errno.ETIMEDOUT, errno.ECONNREFUSED], errno.ETIMEDOUT),
        ([errno.EHOSTUNREACH, errno.ECONNREFUSED], errno.EHOSTUNREACH),
        ([errno.ENETUNREACH, errno.ECONNREFUSED], errno.ECONNREFUSED),  # no IPv6 here
        ([errno.ENETUNREACH, errno.EADDRNOTAVAIL], errno.ENETUNREACH),
    ],
)
def test_a_node_is_dead_only_if_all_its_addresses_refuse(numbers: list[int], gravest: int) -> None:
    assert connect.gravest([OSError(number, "") for number in numbers]).errno == gravest


async def test_a_name_that_does_not_resolve_is_no_dead_node() -> None:
    names = Names()
    names.answer = None
    async with NodeLink(Address("redis-1", 1), resolver=Resolver(names.look_up)) as link:
        with pytest.raises(NodeUnreachable, match="temporary failure in name resolution") as caught:
            await link.request("PING")
    assert not isinstance(caught.value.__cause__, ConnectionRefusedError)
