"""Who may act, on whom, and what an operator decided: against real engines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from shardproxy.failover.events import EventName
from shardproxy.fleet import RedisNode
from shardproxy.model.health import NodeState
from shardproxy.nodes import NodeLink
from shardproxy.store.record import Promise, ShardState
from tests.failover.controller.plane import KEY, open_plane, setup_of
from tests.failover.controller.test_controller import nodes_of, role_of, said, state_of, wait_follows
from tests.failover.controller.test_hard_cases import in_thread, managed, wait_known, write
from tests.fixtures.engines import StartFleet

ACTIONS = ("replicaof", "slaveof", "config", "failover", "client|kill", "flushall")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def commands(*nodes: RedisNode) -> Counter[str]:
    """How often each was told something that changes it."""
    told: Counter[str] = Counter()
    for node in nodes:
        for name, value in node.info("commandstats").items():
            command = name.removeprefix("cmdstat_")
            if command.startswith(ACTIONS) and command != "config|get":
                told[f"{node.port} {command}"] += int(value.split(",")[0].removeprefix("calls="))
    return told


def configured(node: RedisNode) -> bool:
    return commands(node)[f"{node.port} config|set"] > 0


@pytest.mark.parametrize("how", ["paused", "off"])
async def test_who_may_not_act_sends_no_engine_anything(
    start_fleet: StartFleet, state: Path, how: str
) -> None:
    first, second, third = nodes_of(start_fleet, replicas=2)
    setup = setup_of(first, second, third, is_automatic=how != "off")
    if how == "off":
        before = commands(first, second, third)
    async with open_plane(state, setup) as plane:
        await wait_known(plane, first, second, third)
        if how == "paused":
            nodes = (first, second, third)
            await plane.wait("all are configured", lambda: all(configured(node) for node in nodes))
            await plane.controls.pause(KEY.cluster)
            await trio.testing.wait_all_tasks_blocked()
            before = commands(first, second, third)
        third.ask("REPLICAOF", "127.0.0.1", "1")
        before[f"{third.port} replicaof"] += 1
        await plane.wait("it is seen", lambda: _is_apart(plane, third))
        first.kill()
        await plane.wait("it is said", said(plane, how))
        assert role_of(second) == "slave"
        assert plane.record.epoch == 1
        survivors = {name: calls for name, calls in before.items() if not name.startswith(f"{first.port} ")}
        assert commands(second, third) == Counter(survivors)


def _is_apart(plane: object, node: RedisNode) -> bool:
    health = plane.boards.health[KEY, node.address]  # type: ignore[attr-defined]
    return not health.is_current


async def test_an_operator_s_promotion_is_followed_where_failover_is_off(
    start_fleet: StartFleet, state: Path
) -> None:
    first, second = nodes_of(start_fleet)
    await write(first, 1, "a")
    async with open_plane(state, setup_of(first, second, is_automatic=False, is_managed=False)) as plane:
        await wait_known(plane, first, second)
        first.kill()
        await plane.wait("it is seen", lambda: state_of(plane, first) is NodeState.DOWN)
        second.ask("REPLICAOF", "NO", "ONE")
        assert await plane.wait_primary(second) == second
        await in_thread(first.start)  # empty, and a primary as it was started
        await plane.wait("it is back", lambda: state_of(plane, first) is NodeState.UP)
        second.ask("SET", "b", "1")
        assert (plane.record.primary, second.ask("DBSIZE")) == (second.address, 2)
        assert (role_of(first), role_of(second)) == ("master", "master")


async def test_an_empty_primary_is_not_served_where_failover_is_off(
    start_fleet: StartFleet, state: Path
) -> None:
    first, second = managed(start_fleet)
    async with open_plane(state, setup_of(first, second)) as plane:
        await wait_known(plane, first, second)
        await write(first, 1, "a")
    async with open_plane(state, setup_of(first, second, is_automatic=False)) as plane:
        await wait_known(plane, first, second)
        first.kill()
        first.is_managed = False
        await in_thread(first.start)
        await plane.wait("it is held", lambda: plane.record.state is ShardState.HELD)
        await plane.wait("it says why", said(plane, "off"))
        assert plane.record.primary is None


@pytest.mark.parametrize(
    "args", [("--appendonly", "yes", "--appendfsync", "always"), ("--save", "3600", "1")]
)
async def test_a_lone_managed_node_serves_its_data_again(
    start_fleet: StartFleet, state: Path, args: Sequence[str]
) -> None:
    (only,) = managed(start_fleet, 0, args)
    async with open_plane(state, setup_of(only)) as plane:
        await plane.wait_primary(only)
        await write(only, 0, "a")
        if "--save" in args:
            only.ask("SAVE")
        only.kill()
        await in_thread(only.start)
        await plane.wait("it is another epoch's", lambda: plane.record.epoch > 1)
        assert await plane.wait_primary(only) == only
        assert (only.ask("GET", "a"), role_of(only)) == (b"1", "master")


async def test_a_node_s_new_name_is_put_on_record(start_fleet: StartFleet, state: Path) -> None:
    first, second = nodes_of(start_fleet)
    host = replace(first.address, host="localhost")
    async with open_plane(state, setup_of(first, second)) as plane:
        await wait_known(plane, first, second)
        plane.inputs.setups.show(KEY, setup_of(host, second))
        await plane.wait("it is renamed", lambda: plane.record.primary == host)
        await plane.wait("once", lambda: plane.record.nodes == (host, second.address))
        assert (role_of(first), role_of(second)) == ("master", "slave")
        assert plane.events(EventName.FAILOVER_STARTED) == []


async def test_an_engine_that_is_configured_twice_never_follows_itself(
    start_fleet: StartFleet, state: Path
) -> None:
    first, second = nodes_of(start_fleet)
    host = replace(first.address, host="localhost")
    async with open_plane(state, setup_of(first, second)) as plane:
        await wait_known(plane, first, second)
        plane.inputs.setups.show(KEY, setup_of(first, second, host))
        await plane.wait("it is said", said(plane, "one and the same process"))
        assert (role_of(first), role_of(second)) == ("master", "slave")


async def test_the_furthest_replica_is_synced_from_when_it_may_not_be_primary(
    start_fleet: StartFleet, state: Path
) -> None:
    first, second, third = nodes_of(start_fleet, replicas=2)
    third.ask("CONFIG", "SET", "replica-priority", 0)
    async with open_plane(state, setup_of(first, second, third)) as plane:
        await wait_known(plane, first, second, third)
        await plane.wait("it does not vouch", lambda: plane.record.promise.voters == {second.address})
        await plane.controls.pause(KEY.cluster)
        second.ask("REPLICAOF", "127.0.0.1", "1")
        await write(first, 1, "a", "b")
        first.kill()
        await plane.wait("it is seen", lambda: state_of(plane, first) is NodeState.DOWN)
        await plane.controls.resume(KEY.cluster)
        assert await plane.wait_primary(second) == second
        assert [second.ask("GET", key) for key in "ab"] == [b"1", b"1"]
        await wait_follows(plane, third, second)


async def test_wait_raised_while_a_replica_lags_counts_both_promises(
    start_fleet: StartFleet, state: Path
) -> None:
    first, second, third = managed(start_fleet, 2)
    async with open_plane(state, setup_of(first, second, third, wait=1)) as plane:
        await wait_known(plane, first, second, third)
        await plane.wait_settled()
        third.freeze()
        await write(first, 1, "a")  # on the second alone
        plane.inputs.setups.show(KEY, setup_of(first, second, third, wait=2))
        await plane.wait("it is on record", lambda: plane.record.wait == 2)
        assert Promise(frozenset({second.address, third.address}), 1) in plane.record.pending
        second.freeze()
        first.kill()
        third.thaw()
        await plane.wait("it is stuck", said(plane, "1 of 2 nodes that vouch"))
        assert plane.record.primary is None
        second.thaw()
        primary = await plane.wait_primary(second, third)  # a kernel may have kept the write for the third
        assert primary.ask("GET", "a") == b"1"


async def test_a_removed_node_that_alone_has_a_write_is_asked(start_fleet: StartFleet, state: Path) -> None:
    first, second, third = managed(start_fleet, 2)
    async with open_plane(state, setup_of(first, second, third, wait=1)) as plane:
        await wait_known(plane, first, second, third)
        await plane.wait_settled()
        second.freeze()
        await write(first, 1, "a")  # on the third alone
        plane.inputs.setups.show(KEY, setup_of(first, second, wait=1))
        await plane.wait("it is on record", lambda: plane.record.promise.voters == {second.address})
        assert third.address in plane.record.nodes
        first.kill()
        second.thaw()
        await plane.wait_primary(second, third)
        assert plane.record.primary is not None
        async with NodeLink(plane.record.primary) as link:
            assert await link.request("GET", "a") == b"1"


async def test_an_operator_s_choice_that_does_not_answer_changes_nothing(
    start_fleet: StartFleet, state: Path
) -> None:
    first, second, third = nodes_of(start_fleet, replicas=2)
    async with open_plane(state, setup_of(first, second, third)) as plane:
        await wait_known(plane, first, second, third)
        third.kill()
        await plane.wait("it is seen", lambda: state_of(plane, third) is NodeState.DOWN)
        assert "does not answer" in (await plane.controls.promote(KEY, third.address) or "")
        assert (plane.record.epoch, plane.record.primary) == (1, first.address)
