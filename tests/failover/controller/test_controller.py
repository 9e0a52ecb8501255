"""The control plane against real engines: what becomes of them, and of their data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from shardproxy.failover.events import EventName
from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model.health import NodeState
from shardproxy.nodes import NodeLink
from shardproxy.store.local import LocalStore
from shardproxy.store.record import ShardState
from tests.failover.controller.plane import KEY, Plane, open_plane, open_plane_on, setup_of
from tests.fixtures.engines import StartFleet
from tests.fixtures.replicated import wait_replicated


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def nodes_of(start_fleet: StartFleet, replicas: int = 1, **options: object) -> list[RedisNode]:
    """One shard's nodes, replicating already: the first is the primary."""
    fleet: Fleet = start_fleet(shards=1, replicas=replicas, **options)
    return [node for node in fleet.shards[0].nodes if isinstance(node, RedisNode)]


def state_of(plane: Plane, node: RedisNode) -> NodeState:
    health = plane.boards.health.get((KEY, node.address))
    return health.verdict.state if health is not None else NodeState.UNKNOWN


def said(plane: Plane, word: str) -> Callable[[], bool]:
    """Whether an alarm has that word."""
    return lambda: any(word in message for message in plane.events(EventName.ALARM))


def role_of(node: RedisNode) -> str:
    return node.info("replication")["role"]


async def wait_pings(plane: Plane, primary: RedisNode) -> None:
    """Wait until the primary pings its replicas often, and its monitor knows: before, they notice little."""
    address = primary.address

    def offset() -> int:
        health = plane.boards.health[KEY, address]
        return health.replication.offset if health.replication is not None else 0

    before = offset()
    await plane.wait("it pings", lambda: offset() > before)


async def wait_follows(plane: Plane, replica: RedisNode, primary: RedisNode) -> None:
    def is_so() -> bool:
        seen = replica.info("replication")
        return seen.get("master_port") == str(primary.port) and seen.get("master_link_status") == "up"

    await plane.wait(f"{replica} follows {primary}", is_so)


async def test_what_is_there_is_adopted(start_fleet: StartFleet, state: Path) -> None:
    first, second, third = nodes_of(start_fleet, replicas=2)
    async with open_plane(state, setup_of(second, first, third, is_managed=False)) as plane:
        assert await plane.wait_primary(first, second) == first
        await plane.wait_joined(first, second, third)
        assert plane.record.run_id == first.info("server")["run_id"]
        assert len(plane.events(EventName.PRIMARY_ADOPTED)) == 1
    assert [role_of(node) for node in (first, second, third)] == ["master", "slave", "slave"]


async def test_a_killed_primary_is_replaced_and_comes_back_as_a_replica(
    start_fleet: StartFleet, state: Path
) -> None:
    first, second, third = nodes_of(start_fleet, replicas=2)
    first.ask("SET", "a", "1")
    async with open_plane(state, setup_of(first, second, third)) as plane:
        await plane.wait_joined(first, second, third)
        await plane.wait("all have it", lambda: {n.ask("GET", "a") for n in (second, third)} == {b"1"})
        first.kill()
        successor = await plane.wait_primary(second, third)
        assert successor.ask("GET", "a") == b"1"
        successor.ask("SET", "a", "2")
        assert "fencing 2" in "\n".join(plane.fencer.told)
        other = third if successor is second else second
        await wait_follows(plane, other, successor)
        await trio.to_thread.run_sync(first.restart)
        await wait_follows(plane, first, successor)
        assert first.ask("GET", "a") == b"2"
        assert plane.record.epoch == 2


async def test_a_frozen_primary_is_replaced_and_is_a_replica_when_it_wakes_up(
    start_fleet: StartFleet, state: Path
) -> None:
    first, second = nodes_of(start_fleet)
    async with open_plane(state, setup_of(first, second)) as plane:
        await plane.wait_joined(first, second)
        await wait_pings(plane, first)
        first.freeze()
        assert await plane.wait_primary(second) == second
        first.thaw()
        await wait_follows(plane, first, second)


async def test_an_empty_primary_that_is_back_at_once_wipes_nobody(
    start_fleet: StartFleet, state: Path
) -> None:
    fleet: Fleet = start_fleet(shards=1, replicas=1, managed=True)
    first, second = (node for node in fleet.shards[0].nodes if isinstance(node, RedisNode))
    async with open_plane(state, setup_of(first, second)) as plane:
        await plane.wait_joined(first, second)
        async with NodeLink(first.address) as link:
            await link.request("SET", "a", "1")
            assert await link.request("WAIT", 1, 5000) == 1
        first.kill()
        await trio.to_thread.run_sync(first.restart)
        assert await plane.wait_primary(second) == second
        assert second.ask("GET", "a") == b"1"
        await wait_follows(plane, first, second)
        assert first.ask("GET", "a") == b"1"


async def test_replication_is_built_from_empty_nodes(start_fleet: StartFleet, state: Path) -> None:
    fleet: Fleet = start_fleet(shards=3, replicas=0)
    first, second, third = (s.primary for s in fleet.shards if isinstance(s.primary, RedisNode))
    async with open_plane(state, setup_of(first, second, third)) as plane:
        assert await plane.wait_primary(first) == first
        await plane.wait_joined(first, second, third)
        assert first.info("replication")["connected_slaves"] == "2"


async def test_replication_is_built_around_the_node_that_has_data(
    start_fleet: StartFleet, state: Path
) -> None:
    fleet: Fleet = start_fleet(shards=2, replicas=0)
    first, second = (s.primary for s in fleet.shards if isinstance(s.primary, RedisNode))
    second.ask("SET", "a", "1")
    async with open_plane(state, setup_of(first, second)) as plane:
        assert await plane.wait_primary(second) == second
        await plane.wait_joined(first, second)
        assert first.ask("GET", "a") == b"1"


async def test_two_nodes_with_data_are_a_conflict_that_an_operator_resolves(
    start_fleet: StartFleet, state: Path
) -> None:
    fleet: Fleet = start_fleet(shards=2, replicas=0)
    first, second = (s.primary for s in fleet.shards if isinstance(s.primary, RedisNode))
    first.ask("SET", "a", "1")
    second.ask("SET", "b", "2")
    async with open_plane(state, setup_of(first, second)) as plane:
        await plane.wait("it is a conflict", said(plane, "not served"))
        assert (plane.record.state, plane.record.primary) == (ShardState.CONFLICT, None)
        assert await plane.controls.promote(KEY, second.address) is None
        assert await plane.wait_primary(second) == second
        await plane.wait("the other one is kept", said(plane, "FLUSHALL"))
        assert first.ask("GET", "a") == b"1"
        first.ask("FLUSHALL")
        await plane.wait_joined(first, second)
        assert first.ask("GET", "b") == b"2"


async def test_a_new_node_joins_and_is_read_from_once_it_is_in_sync(
    start_fleet: StartFleet, state: Path
) -> None:
    fleet: Fleet = start_fleet(shards=1, replicas=1)
    first, second = (node for node in fleet.shards[0].nodes if isinstance(node, RedisNode))
    async with open_plane(state, setup_of(first, second), max_staleness=1.0) as plane:
        await plane.wait(
            "it is read from", lambda: plane.boards.reads.get(KEY) == frozenset({second.address})
        )
        third = await trio.to_thread.run_sync(fleet.open_node)
        assert isinstance(third, RedisNode)
        plane.inputs.setups.show(KEY, setup_of(first, second, third))
        await plane.wait_joined(first, second, third)
        await plane.wait(
            "both are read from", lambda: plane.boards.reads[KEY] == {second.address, third.address}
        )
        second.freeze()
        await plane.wait("the frozen one is not", lambda: plane.boards.reads[KEY] == {third.address})
        second.thaw()
        await plane.wait("it is again", lambda: plane.boards.reads[KEY] == {second.address, third.address})


async def test_a_switchover_moves_everybody(start_fleet: StartFleet, state: Path) -> None:
    first, second, third = nodes_of(start_fleet, replicas=2)
    async with open_plane(state, setup_of(first, second, third)) as plane:
        await plane.wait_joined(first, second, third)
        first.ask("SET", "a", "1")
        await plane.wait("all have it", lambda: {n.ask("GET", "a") for n in (second, third)} == {b"1"})
        assert await plane.controls.switch_over(KEY, third.address) is None
        assert plane.record.primary == third.address
        await wait_follows(plane, first, third)
        await wait_follows(plane, second, third)
        assert [line.split()[0] for line in plane.fencer.told] == ["switching", "ok"]
        assert len(plane.events(EventName.SWITCHOVER_COMPLETE)) == 1
        assert "not a node" in (await plane.controls.switch_over(KEY, replace(third.address, port=1)) or "")


async def test_a_change_made_by_hand_is_adopted(start_fleet: StartFleet, state: Path) -> None:
    first, second = nodes_of(start_fleet)
    async with open_plane(state, setup_of(first, second)) as plane:
        await plane.wait_joined(first, second)
        first.ask("SET", "online", "?")
        wait_replicated(first, second)  # FAILOVER refuses others
        first.ask("FAILOVER", "TO", second.address.host, second.port)
        assert await plane.wait_primary(second) == second
        await wait_follows(plane, first, second)
        assert plane.events(EventName.FAILOVER_COMPLETE) == []


async def test_whoever_starts_next_finishes_a_failover(start_fleet: StartFleet, state: Path) -> None:
    first, second = nodes_of(start_fleet)
    with LocalStore(state) as store:
        async with open_plane_on(store, setup_of(first, second)) as plane:
            await plane.wait_joined(first, second)
            plane.fencer.hold = True
            first.kill()
            with trio.fail_after(20):
                await plane.fencer.held.wait()
    with LocalStore(state) as store:
        assert (store.records[KEY].state, store.records[KEY].epoch) == (ShardState.FENCING, 2)
        async with open_plane_on(store, setup_of(first, second)) as plane:
            assert await plane.wait_primary(second) == second
            assert plane.record.epoch == 3


async def test_a_primary_that_restarted_while_nobody_looked_is_not_trusted(
    start_fleet: StartFleet, state: Path
) -> None:
    fleet: Fleet = start_fleet(shards=1, replicas=1, managed=True)
    first, second = (node for node in fleet.shards[0].nodes if isinstance(node, RedisNode))
    async with open_plane(state, setup_of(first, second)) as plane:
        await plane.wait_joined(first, second)
        async with NodeLink(first.address) as link:
            await link.request("SET", "a", "1")
            assert await link.request("WAIT", 1, 5000) == 1
    await trio.to_thread.run_sync(first.restart)
    async with open_plane(state, setup_of(first, second)) as plane:
        assert await plane.wait_primary(second) == second
        await wait_follows(plane, first, second)
        assert first.ask("GET", "a") == b"1"


async def test_a_lone_primary_that_restarts_stays(start_fleet: StartFleet, state: Path) -> None:
    (only,) = nodes_of(start_fleet, replicas=0)
    async with open_plane(state, setup_of(only)) as plane:
        await plane.wait_primary(only)
        await trio.to_thread.run_sync(only.restart)
        await plane.wait("it is accepted", lambda: plane.record.epoch == 2)
        assert plane.record.run_id == only.info("server")["run_id"]
        assert len(plane.events(EventName.NODES_REBOOTED)) == 1


async def test_beside_a_sentinel_nothing_is_done(start_fleet: StartFleet, state: Path) -> None:
    first, second = nodes_of(start_fleet)
    async with NodeLink(first.address) as sentinel, NodeLink(second.address) as other:
        for link in (sentinel, other):
            await link.request("SUBSCRIBE", "__sentinel__:hello")
        async with open_plane(state, setup_of(first, second)) as plane:
            await plane.wait_primary(first)
            await plane.wait("it is said", said(plane, "Sentinel"))
            first.kill()
            await plane.wait("it is noticed", lambda: state_of(plane, first) is NodeState.DOWN)
            await plane.wait("why", said(plane, "no automatic failover"))
        assert role_of(second) == "slave"
        assert second.info("replication")["master_port"] == str(first.port)


async def test_another_proxy_that_does_not_share_our_store_is_noticed(
    start_fleet: StartFleet, tmp_path: Path
) -> None:
    first, second = nodes_of(start_fleet)
    async with open_plane(tmp_path / "one.json", setup_of(first, second)) as one:
        await one.wait_joined(first, second)
        async with open_plane(tmp_path / "two.json", setup_of(first, second)) as two:
            await two.wait("it is said", said(two, "another shardproxy"))


async def test_a_broken_disk_moves_the_primary(start_fleet: StartFleet, state: Path) -> None:
    options = ("--save", "3600", "1", "--enable-protected-configs", "yes")
    first, second = nodes_of(start_fleet, args=options)
    async with open_plane(state, setup_of(first, second)) as plane:
        await plane.wait_joined(first, second)
        gone = first.directory / "gone"
        gone.mkdir()
        first.ask("CONFIG", "SET", "dir", str(gone))
        gone.rmdir()
        await plane.wait(
            "the sync is over", lambda: first.info("persistence")["rdb_bgsave_in_progress"] == "0"
        )
        first.ask("BGSAVE")
        assert await plane.wait_primary(second) == second
        await wait_follows(plane, first, second)
