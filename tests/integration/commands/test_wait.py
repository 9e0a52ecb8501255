"""WAIT counts the replicas that have what was written before it, over all shards."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import trio
import trio.testing

from shardproxy.commands.handlers import PATIENT
from shardproxy.commands.patience import Patience
from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import CLUSTER, Desk, ask_engine, client_row, open_desk, topology_at
from tests.fixtures.proxy import Proxy, wait_until


@pytest.mark.parametrize("line", ["WAIT x 0", "WAIT 0 x", "WAIT 0 -1", "WAIT x x"])
async def test_errors_are_the_engines(fleet: Fleet, line: str) -> None:
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    async with open_desk(fleet) as desk:
        assert await desk.ask(*line.split()) == await ask_engine(node, *line.split())


async def test_writes_are_waited_for(fleet: Fleet) -> None:
    async with open_desk(fleet) as desk:
        for number in range(20):
            for shard in fleet.shards:
                shard.primary.ask("SET", "a", number)  # type: ignore[attr-defined]
            assert await desk.ask("WAIT", 1, 5000) == b":1\r\n"
            for shard in fleet.shards:
                replica = shard.replicas[0]
                assert isinstance(replica, RedisNode)
                assert replica.ask("GET", "a") == b"%d" % number
        assert await desk.ask("WAIT", 0, 0) in (b":0\r\n", b":1\r\n")  # as far as they are by now


async def test_replica_that_lags_is_not_counted(start_fleet: StartFleet) -> None:
    fleet: Fleet = start_fleet(shards=2, replicas=1)
    primary, replica = fleet.shards[1].nodes
    replica.freeze()
    primary.ask("SET", "a", "1")  # type: ignore[attr-defined]
    async with open_desk(fleet) as desk:
        assert await desk.ask("WAIT", 1, 200) == b":0\r\n"
        async with trio.open_nursery() as nursery:

            async def thaw() -> None:
                await trio.sleep(0.05)
                replica.thaw()

            nursery.start_soon(thaw)
            assert await desk.ask("WAIT", 1, 0) == b":1\r\n"


async def test_more_replicas_than_there_are_end_by_the_timeout(fleet: Fleet) -> None:
    async with open_desk(fleet) as desk:
        assert await desk.ask("WAIT", 5, 500) == b":1\r\n"


def calls(fleet: Fleet, command: str) -> int:
    """How often the primaries ran the command since the shared fleet was made ready."""
    total = 0
    for shard in fleet.shards:
        info = shard.primary.ask("INFO", "commandstats").decode()  # type: ignore[attr-defined]
        lines = [line for line in info.splitlines() if line.startswith(f"cmdstat_{command}:calls=")]
        total += int(lines[0].split("=")[1].split(",")[0]) if lines else 0
    return total


async def have_wait(desk: Desk, nursery: trio.Nursery, count: int) -> None:
    """So many clients wait for more replicas than there are."""
    desk.connected = [client_row(number) for number in range(1, count + 1)]
    for number in range(1, count + 1):
        nursery.start_soon(wait_in_vain, desk, number)
    with trio.fail_after(10):
        await told_to_wait(desk)
        assert (await desk.ask("CLIENT", "LIST", client=0)).count(b"flags=b ") == count


async def wait_in_vain(desk: Desk, client: int) -> None:
    await desk.ask("WAIT", 5, 0, client=client)


async def told_to_wait(desk: Desk) -> None:
    """Every task that asks has asked, and the primaries have answered once."""
    await trio.testing.wait_all_tasks_blocked()
    assert await desk.ask("WAIT", 1, 0, client=0) == b":1\r\n"


async def test_all_who_wait_ask_together(fleet: Fleet) -> None:
    async with open_desk(fleet) as desk, trio.open_nursery() as nursery:
        await have_wait(desk, nursery, 300)
        await trio.sleep(0.3)
        assert calls(fleet, "wait") < 100
        reply = await desk.ask("INFO")
        assert b"proxy_shards_unreachable:0" in reply, "whoever waits holds up nobody"
        nursery.cancel_scope.cancel()


async def test_nobody_asks_when_those_who_waited_have_gone(fleet: Fleet) -> None:
    async with open_desk(fleet) as desk:
        async with trio.open_nursery() as nursery:
            await have_wait(desk, nursery, 50)
            nursery.cancel_scope.cancel()
        with trio.fail_after(10):
            while not await trio.to_thread.run_sync(is_quiet, fleet):
                pass
        assert b"flags=b " not in await desk.ask("CLIENT", "LIST")


def is_quiet(fleet: Fleet) -> bool:
    """Whether nobody asks the primaries about their replicas, for longer than between two questions."""
    before = calls(fleet, "wait")
    time.sleep(0.5)
    return calls(fleet, "wait") == before


@pytest.mark.parametrize("how", ["leaves", "is killed"])
def test_a_client_that_goes_waits_no_longer(
    how: str, proxy: Proxy, fleet: Fleet, wire: Callable[..., Wire]
) -> None:
    client, other = wire(proxy), wire(proxy)
    number = client.ask("CLIENT", "ID")
    client.send_command("WAIT", 5, 0)
    wait_until(lambda: b" flags=b " in other.ask("CLIENT", "LIST"), "it waits")
    if how == "leaves":
        client.close()
    else:
        assert other.ask("CLIENT", "KILL", "ID", number) == 1
    wait_until(lambda: b"id=%d " % number not in other.ask("CLIENT", "LIST"), "it is gone")
    wait_until(lambda: is_quiet(fleet), "nobody asks for it")


async def test_more_clients_than_may_wait_are_told(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PATIENT, "wait", Patience(3, "ERR 3 clients wait already, and no more may"))
    async with open_desk(fleet) as desk, trio.open_nursery() as nursery:
        for client in (1, 2, 3):
            nursery.start_soon(wait_in_vain, desk, client)
        await trio.testing.wait_all_tasks_blocked()
        assert await desk.ask("WAIT", 0, 0) == b"-ERR 3 clients wait already, and no more may\r\n"
        assert (await desk.ask("DBSIZE")).startswith(b":")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("how", "reply"),
    [
        ([], b":1\r\n"),
        (["TIMEOUT"], b":1\r\n"),
        (["ERROR"], b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
    ],
)
async def test_another_client_can_end_it(fleet: Fleet, how: list[str], reply: bytes) -> None:
    async with open_desk(fleet) as desk, trio.open_nursery() as nursery:

        async def wait() -> None:
            assert await desk.ask("WAIT", 5, 0, client=7) == reply
            assert await desk.ask("CLIENT", "UNBLOCK", 7) == b":0\r\n"

        nursery.start_soon(wait)
        await told_to_wait(desk)
        assert await desk.ask("CLIENT", "UNBLOCK", 7, *how) == b":1\r\n"


async def test_another_primary_ends_it(fleet: Fleet) -> None:
    async with open_desk(fleet) as desk, trio.open_nursery() as nursery:

        async def wait() -> None:
            reply = await desk.ask("WAIT", 5, 0, client=7)
            assert reply.startswith(b"-UNBLOCKED force unblock from blocking operation")

        nursery.start_soon(wait)
        await told_to_wait(desk)
        first, *others = desk.topology.shards
        promoted = replace(first, primary=first.replicas[0], replicas=())
        desk.topologies[CLUSTER] = replace(desk.topology, shards=(promoted, *others))


async def test_a_primary_that_cannot_be_asked_is_named() -> None:
    async with open_desk(topology_at("127.0.0.1:1")) as desk:
        assert await desk.ask("WAIT", 1, 0) == b"-ERR shard 0: node 127.0.0.1:1: connection refused\r\n"
