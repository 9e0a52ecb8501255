"""What a process is told is obeyed in its order, and no flood of it displaces an heir."""

from __future__ import annotations

import socket
from signal import SIGHUP, SIGINT, SIGTERM

import trio.testing

from shardproxy.app.orders import Orders


def ends() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


async def test_an_heir_has_a_place_however_many_signals_wait() -> None:
    orders = Orders()
    for _ in range(20):
        orders.give(SIGHUP)
        orders.give(SIGTERM)
        orders.give(SIGINT)
    heir, other = ends()
    with heir, other:
        assert orders.inherit(heir)
        found = [await anext(orders) for _ in range(6)]
        assert found == [SIGHUP, SIGTERM, SIGINT, SIGTERM, SIGINT, heir]
        orders.give(SIGHUP)
        assert await anext(orders) == SIGHUP


async def test_there_is_one_heir_and_the_socket_of_another_is_closed() -> None:
    orders = Orders()
    first, first_end = ends()
    second, second_end = ends()
    with first, first_end, second_end:
        assert orders.inherit(first)
        assert not orders.inherit(second)
        assert second_end.recv(1) == b"", "who is no heir learns it at once"
        assert await anext(orders) is first
        assert first.fileno() >= 0


async def test_an_heir_that_nobody_came_to_is_closed() -> None:
    orders = Orders()
    heir, end = ends()
    with end:
        orders.inherit(heir)
        orders.close()
        assert end.recv(1) == b""


async def test_who_obeys_waits_for_the_next() -> None:
    orders = Orders()
    found: list[object] = []

    async def obey() -> None:
        found.append(await anext(orders))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(obey)
        await trio.testing.wait_all_tasks_blocked()
        assert found == []
        orders.give(SIGHUP)
    assert found == [SIGHUP]
