"""Links against real engines: what they ask, what they say when it fails, and what they leave behind."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
import trio.testing

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import Address
from shardproxy.nodes import (
    Credentials,
    NodeError,
    NodeLink,
    NodeLinks,
    NodeTimeout,
    NodeUnreachable,
)
from shardproxy.nodes.links import IDLE
from shardproxy.wire.reply import Failure
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import wait_until


def one_node(start_fleet: StartFleet, **options: object) -> RedisNode:
    fleet: Fleet = start_fleet(shards=1, replicas=0, **options)
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    return node


@pytest.mark.parametrize("unix", [False, True])
async def test_request_gets_its_reply(start_fleet: StartFleet, unix: bool) -> None:
    node = one_node(start_fleet, unix=unix)
    async with NodeLink(node.address) as link:
        assert await link.request("SET", "a", b"\xff") == b"OK"
        assert await link.request("GET", "a") == b"\xff"
        assert await link.request_many([["GET", "a"], ["NOPE"], ["PING"]]) == [
            b"\xff",
            Failure("ERR unknown command 'NOPE', with args beginning with: "),
            b"PONG",
        ]
    assert not link.is_open


async def test_link_is_in_the_state_that_is_asked_for(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet)
    async with NodeLink(node.address) as link:
        await link.request("HSET", "h", "f", "v", db=3)
        assert (await link.request_raw("HGETALL", "h", resp=3, db=3)).raw == b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n"
        assert (await link.request_raw("HGETALL", "h", db=3)).raw == b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
        assert await link.request("DBSIZE") == 0


async def test_link_that_met_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnTheSamePort(socket.socket):
        def connect(self, address: Any) -> None:
            self.bind(address)
            super().connect(address)

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(socket, "socket", OnTheSamePort)
    async with NodeLink(Address("127.0.0.1", port)) as link:
        with pytest.raises(NodeUnreachable, match="connection refused"):
            await link.request("PING")


async def test_refused_state_does_not_run_the_request(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet)
    async with NodeLink(node.address) as link:
        await link.request("SET", "a", "1")
        with pytest.raises(NodeError, match="DB index is out of range"):
            await link.request("FLUSHDB", db=99)
        assert await link.request("DBSIZE") == 1


async def test_error_reply_is_raised_with_its_code(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet, password="secret")
    async with NodeLink(node.address) as link:
        with pytest.raises(NodeError) as caught:
            await link.request("GET", "a")
        assert caught.value.code == "NOAUTH"
    async with NodeLink(node.address, credentials=lambda: Credentials("wrong")) as link:
        with pytest.raises(NodeError, match="WRONGPASS"):
            await link.request("PING")
    async with NodeLink(node.address, credentials=lambda: Credentials("secret", "default")) as link:
        assert await link.request("PING") == b"PONG"
    assert "secret" not in repr(Credentials("secret"))


async def test_node_that_is_down_is_unreachable_and_nothing_was_sent() -> None:
    async with NodeLink(Address("127.0.0.1", 1)) as link:
        with pytest.raises(NodeUnreachable, match=r"127\.0\.0\.1:1: connection refused") as caught:
            await link.request("PING")
    assert not caught.value.is_sent


async def test_link_outlives_its_node(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet)
    async with NodeLink(node.address) as link:
        assert await link.request("PING") == b"PONG"
        await trio.to_thread.run_sync(node.restart)
        assert await link.request("PING") == b"PONG"
        await trio.to_thread.run_sync(node.kill)
        with pytest.raises(NodeUnreachable):
            await link.request("PING")


async def test_frozen_node_is_given_up_in_time(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet)
    async with NodeLink(node.address) as link:
        await link.request("SET", "a", "1")
        node.freeze()
        with pytest.raises(NodeTimeout, match=r"no reply within 0\.05 s") as caught:
            await link.request("INCR", "a", timeout=0.05)
        assert caught.value.is_sent
        node.thaw()
        assert await link.request("ECHO", "not the reply to INCR") == b"not the reply to INCR"


async def test_requests_of_several_tasks_do_not_mix(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet)
    async with NodeLink(node.address) as link, trio.open_nursery() as nursery:

        async def ask(number: int) -> None:
            for _ in range(20):
                assert await link.request("ECHO", number) == b"%d" % number

        for number in range(10):
            nursery.start_soon(ask, number)


async def test_reply_of_any_size_arrives_and_too_large_ones_do_not(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet)
    async with NodeLink(node.address, max_reply=1 << 20) as link:
        await link.request("SETRANGE", "a", 900_000, "x")
        assert len((await link.request_raw("GET", "a")).raw) == 900_001 + len("$900001\r\n\r\n")
        await link.request("SETRANGE", "a", 2_000_000, "x")
        with pytest.raises(NodeUnreachable, match="a reply of more than 1048576 bytes"):
            await link.request("GET", "a")


async def test_what_does_not_speak_resp_is_unreachable() -> None:
    async def garble(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, garble, [listener])
        async with NodeLink(Address("127.0.0.1", listener.socket.getsockname()[1])) as link:
            with pytest.raises(NodeUnreachable, match="not RESP"):
                await link.request("PING")
        nursery.cancel_scope.cancel()


async def test_links_to_a_node_are_bounded_and_reused(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet)
    async with NodeLinks(per_node=2) as links, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(links.request, node.address, "ECHO", number)
        await trio.testing.wait_all_tasks_blocked()
    async with NodeLinks(per_node=2) as links:
        ids = {await links.request(node.address, "CLIENT", "ID") for _ in range(5)}
        assert len(ids) == 1
        async with links.borrow(node.address) as a, links.borrow(node.address) as b:
            assert await a.request("CLIENT", "ID") != await b.request("CLIENT", "ID")
            with pytest.raises(NodeTimeout, match="all 2 connections were busy"):
                async with links.borrow(node.address, timeout=0.01):
                    pass
    wait_until(lambda: node.info("clients")["connected_clients"] == "1", "only the one that asks is left")


async def test_links_use_the_credentials_of_the_node(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet, password="secret")
    async with NodeLinks(credentials={node.address: Credentials("secret")}.get) as links:
        assert await links.request(node.address, "PING") == b"PONG"


async def test_idle_links_are_closed(start_fleet: StartFleet, mock_clock: trio.testing.MockClock) -> None:
    first, second = (shard.primary for shard in start_fleet(shards=2, replicas=0).shards)
    assert isinstance(first, RedisNode)
    async with NodeLinks() as links:
        before = await links.request(first.address, "CLIENT", "ID")
        mock_clock.jump(IDLE - 1)
        await links.request(second.address, "PING")
        assert await links.request(first.address, "CLIENT", "ID") == before
        mock_clock.jump(IDLE + 1)
        await links.request(second.address, "PING")
        assert await links.request(first.address, "CLIENT", "ID") != before


async def test_a_link_logs_in_anew_before_its_login_is_too_old(
    start_fleet: StartFleet, mock_clock: trio.testing.MockClock
) -> None:
    node = one_node(start_fleet, password="secret")
    login = Credentials("secret", lasts=100)
    async with NodeLink(node.address, credentials=lambda: login) as link:
        first = await link.request("CLIENT", "ID")
        mock_clock.jump(99)
        ended = [link.is_ended]
        assert await link.request("CLIENT", "ID") == first
        mock_clock.jump(1)
        ended.append(link.is_ended)
        assert await link.request("CLIENT", "ID") != first
        ended.append(link.is_ended)
        assert ended == [False, True, False], "who keeps it open opens it anew"
        assert link.opened == 2
