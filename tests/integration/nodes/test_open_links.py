"""The connections to watched nodes: open before they are needed, and apart from each other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import (
    Credentials,
    NodeError,
    NodeLink,
    NodeTimeout,
    NodeUnreachable,
    OpenLinks,
    Resolver,
)
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import wait_until

KEY = ShardKey("sessions", 0)


def one_node(start_fleet: StartFleet, **options: object) -> RedisNode:
    fleet: Fleet = start_fleet(shards=1, replicas=0, **options)
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    return node


@asynccontextmanager
async def running(links: OpenLinks) -> AsyncIterator[OpenLinks]:
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        yield links
        nursery.cancel_scope.cancel()


async def wait_ready(links: OpenLinks, address: Address) -> None:
    with trio.fail_after(10):
        while not links.is_ready(address):  # noqa: ASYNC110  # opened in the background
            await trio.sleep(0.01)


async def test_a_command_needs_neither_a_lookup_nor_a_new_connection(start_fleet: StartFleet) -> None:
    node, asked = one_node(start_fleet), 0

    async def look_up(host: str) -> tuple[str, ...]:
        nonlocal asked
        asked += 1
        if asked > 1:
            await trio.sleep_forever()
        return ("127.0.0.1",)

    address = Address("redis-1", node.port)
    async with running(OpenLinks(resolver=Resolver(look_up))) as links:
        probe = links.connect(KEY, address)
        assert await probe.request("PING") == b"PONG"
        await wait_ready(links, address)
        received = int(node.info("stats")["total_connections_received"])
        with trio.fail_after(0.2):
            assert await links.request_many(address, [["PING"], ["NOPE"]], timeout=0.2)
        assert int(node.info("stats")["total_connections_received"]) - received <= 1  # the one that asks
        probe.close()


async def test_a_probe_that_hangs_holds_up_no_command(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet)
    async with running(OpenLinks()) as links, trio.open_nursery() as nursery:
        probe = links.connect(KEY, node.address)
        await wait_ready(links, node.address)

        async def hang() -> None:
            with pytest.raises(NodeTimeout):
                await probe.request("BLPOP", "nothing", 0, timeout=1.0)
            probe.close()

        nursery.start_soon(hang)
        await trio.testing.wait_all_tasks_blocked()
        assert await links.request_many(node.address, [["PING"]], timeout=1.0) == [b"PONG"]


async def test_a_command_that_hangs_holds_up_no_other(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet)
    async with running(OpenLinks()) as links, trio.open_nursery() as nursery:
        links.connect(KEY, node.address)
        await wait_ready(links, node.address)

        async def hang() -> None:
            with pytest.raises(NodeTimeout):
                await links.request_many(node.address, [["BLPOP", "nothing", 0]], timeout=1.0)

        nursery.start_soon(hang)
        await trio.testing.wait_all_tasks_blocked()
        assert await links.request_many(node.address, [["PING"]], timeout=1.0) == [b"PONG"]


async def test_the_reserve_comes_back_after_its_node(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet)
    async with running(OpenLinks()) as links:
        links.connect(KEY, node.address)
        await wait_ready(links, node.address)
        await trio.to_thread.run_sync(node.restart)
        with trio.fail_after(10):
            while int(node.info("clients")["connected_clients"]) < 2:  # noqa: ASYNC110  # engines do not tell
                await trio.sleep(0.02)
        await wait_ready(links, node.address)


async def test_nobody_keeps_a_connection_to_a_node_that_is_not_watched(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet)
    async with running(OpenLinks()) as links:
        one, other = links.connect(KEY, node.address), links.connect(ShardKey("pages", 0), node.address)
        await wait_ready(links, node.address)
        one.close()
        one.close()
        await wait_ready(links, node.address)
        other.close()
        assert not links.is_ready(node.address)
        await trio.to_thread.run_sync(
            wait_until,
            lambda: node.info("clients")["connected_clients"] == "1",
            "only the one that asks is left",
        )
        assert await links.request_many(node.address, [["PING"]], timeout=1.0) == [b"PONG"]


async def test_a_new_password_reaches_every_connection(start_fleet: StartFleet) -> None:
    node, current = one_node(start_fleet, password="old"), Credentials("old")
    async with running(OpenLinks(login=lambda cluster, address: current)) as links:
        probe = links.connect(KEY, node.address)
        assert await probe.request("PING") == b"PONG"
        await wait_ready(links, node.address)
        await probe.request("CONFIG", "SET", "requirepass", "new")
        await probe.request("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
        with pytest.raises((NodeError, NodeUnreachable), match=r"WRONGPASS|reset|closed"):
            await probe.request("PING")  # it may be sent before the end of the connection is seen
        with pytest.raises(NodeError, match="WRONGPASS"):
            await probe.request("PING")
        with pytest.raises(NodeError, match="WRONGPASS"):
            await links.request_many(node.address, [["PING"]], timeout=1.0)
        current = Credentials("new")
        assert await probe.request("PING") == b"PONG"
        assert await links.request_many(node.address, [["PING"]], timeout=1.0) == [b"PONG"]
        probe.close()


async def test_who_was_refused_for_want_of_a_login_logs_in_the_next_time(start_fleet: StartFleet) -> None:
    node, current = one_node(start_fleet, password="secret"), None
    async with NodeLink(node.address, credentials=lambda: current) as link:
        with pytest.raises(NodeError, match="NOAUTH"):
            await link.request("PING")
        current = Credentials("secret")
        assert await link.request("PING") == b"PONG"


async def test_a_user_without_a_right_logs_in_anew_only_as_another(start_fleet: StartFleet) -> None:
    node = one_node(start_fleet)
    current = Credentials("x", "reader")
    node.ask("ACL", "SETUSER", "reader", "on", ">x", "+ping", "+client|id")
    node.ask("ACL", "SETUSER", "writer", "on", ">x", "+@all")
    async with NodeLink(node.address, credentials=lambda: current) as link:
        number = await link.request("CLIENT", "ID")
        with pytest.raises(NodeError, match="NOPERM"):
            await link.request("INFO")
        assert await link.request("CLIENT", "ID") == number
        current = Credentials("x", "writer")
        with pytest.raises(NodeError, match="NOPERM"):
            await link.request("INFO")
        assert await link.request("INFO")
