"""What could cost data although every single step is right: held failovers, old replicas, power cuts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from shardproxy.failover.events import EventName
from shardproxy.failover.steps import Primary, Steps
from shardproxy.fleet import Fleet, RedisNode
from shardproxy.fleet.process import LocalProcess
from shardproxy.model import Address
from shardproxy.model.health import NodeState
from shardproxy.nodes import NodeLink
from shardproxy.store.record import ShardState
from tests.failover.controller.plane import KEY, Plane, open_plane, setup_of
from tests.failover.controller.test_controller import said, state_of, wait_follows
from tests.fixtures.engines import StartFleet

AOF = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def managed(start_fleet: StartFleet, replicas: int = 1, args: Sequence[str] = ()) -> list[RedisNode]:
    fleet: Fleet = start_fleet(shards=1, replicas=replicas, managed=True, args=args)
    return [node for node in fleet.shards[0].nodes if isinstance(node, RedisNode)]


async def in_thread(function: object) -> None:
    await trio.to_thread.run_sync(function)  # type: ignore[arg-type]


async def write(primary: RedisNode, replicas: int, *keys: str) -> None:
    async with NodeLink(primary.address) as link:
        for key in keys:
            await link.request("SET", key, "1")
        assert await link.request("WAIT", replicas, 5000) == replicas


async def wait_known(plane: Plane, *nodes: RedisNode) -> None:
    """Wait until all have joined, and the record says as which processes, in which history."""
    await plane.wait_joined(*nodes)

    def is_so() -> bool:
        record = plane.record
        primary, *replicas = sorted(nodes, key=lambda node: node.address != record.primary)
        if not all(record.has_process(node.address, node.info("server")["run_id"]) for node in replicas):
            return False
        replid = primary.info("replication")["master_replid"]
        return record.lineage is not None and record.lineage.replid == replid

    await plane.wait("they are known", is_so)


async def test_a_pause_does_not_let_an_empty_primary_wipe_its_replica(
    start_fleet: StartFleet, state: Path
) -> None:
    first, second = managed(start_fleet)
    async with open_plane(state, setup_of(first, second)) as plane:
        await wait_known(plane, first, second)
        await write(first, 1, "a")
        await plane.controls.pause(KEY.cluster)
        first.kill()
        first.is_managed = False  # it comes back as a primary, and empty
        await in_thread(first.start)
        await plane.wait("it is held", lambda: plane.record.state is ShardState.HELD)
        await plane.wait("an operator is told", said(plane, "paused"))
        assert plane.record.primary is None
        assert second.ask("GET", "a") == b"1"
        await plane.controls.resume(KEY.cluster)
        assert await plane.wait_primary(second) == second
        await wait_follows(plane, first, second)
        assert first.ask("GET", "a") == b"1"


async def test_a_second_failover_that_has_to_wait_keeps_the_data_meanwhile(
    start_fleet: StartFleet, state: Path
) -> None:
    first, second = managed(start_fleet)
    async with open_plane(state, setup_of(first, second)) as plane:
        await wait_known(plane, first, second)
        await write(first, 1, "a")
        first.kill()
        assert await plane.wait_primary(second) == second
        await in_thread(first.start)
        await wait_known(plane, first, second)
        second.kill()
        second.is_managed = False
        await in_thread(second.start)
        await plane.wait("it is held", lambda: plane.record.state is ShardState.HELD)
        await plane.wait("it says why", said(plane, "flapping"))
        await plane.controls.acknowledge(KEY)
        assert await plane.wait_primary(first) == first
        assert first.ask("GET", "a") == b"1"


async def test_a_restarted_primary_that_kept_its_data_stays_while_its_replica_is_away(
    start_fleet: StartFleet, state: Path
) -> None:
    """It went on after the replica had gone: nobody can have more."""
    first, second = managed(start_fleet, args=("--save", "3600", "1"))
    async with open_plane(state, setup_of(first, second)) as plane:
        await wait_known(plane, first, second)
        await write(first, 1, "a")
        second.kill()
        await plane.wait("it is known", lambda: state_of(plane, second) is NodeState.DOWN)
        await write(first, 0, "b")
        first.ask("SAVE")
        first.kill()
        first.is_managed = False
        await in_thread(first.start)
        await plane.wait("it is accepted", lambda: bool(plane.events(EventName.NODES_REBOOTED)))
        assert await plane.wait_primary(first) == first
        await write(first, 0, "c")
        await in_thread(second.start)
        await wait_follows(plane, second, first)
        assert [second.ask("GET", key) for key in "abc"] == [b"1"] * 3


async def test_an_empty_primary_waits_for_the_replica_that_may_have_its_data(
    start_fleet: StartFleet, state: Path
) -> None:
    first, second = managed(start_fleet)
    async with open_plane(state, setup_of(first, second)) as plane:
        await wait_known(plane, first, second)
        await write(first, 1, "a")
        second.freeze()
        await plane.wait("it is known", lambda: state_of(plane, second) is NodeState.DOWN)
        first.kill()
        first.is_managed = False
        await in_thread(first.start)
        await plane.wait("it is held", lambda: plane.record.state is ShardState.HELD)
        await plane.wait("an operator is told what to do", said(plane, "shardproxy failover sessions 0 --to"))
        second.thaw()
        assert await plane.wait_primary(second) == second
        assert second.ask("GET", "a") == b"1"


async def test_a_stuck_failover_is_ended_by_an_operator(start_fleet: StartFleet, state: Path) -> None:
    first, second, third = managed(start_fleet, 2)
    async with open_plane(state, setup_of(first, second, third, wait=1)) as plane:
        await wait_known(plane, first, second, third)
        await write(first, 2, "a")
        first.kill()
        second.kill()
        await plane.wait("it is stuck", said(plane, "1 of 2 nodes that vouch"))
        with trio.fail_after(5):
            assert await plane.controls.promote(KEY, third.address) is None
        assert await plane.wait_primary(third) == third
        assert third.ask("GET", "a") == b"1"


async def test_a_replica_that_restarted_does_not_vouch_for_acknowledged_writes(
    start_fleet: StartFleet, state: Path
) -> None:
    """It has what its disk kept, which may be older than what it confirmed."""
    first, second, third = managed(start_fleet, 2, ("--save", "3600", "1"))
    async with open_plane(state, setup_of(first, second, third, wait=1)) as plane:
        await wait_known(plane, first, second, third)
        await write(first, 2, "a")
        second.ask("SAVE")
        third.freeze()
        await write(first, 1, "b")
        first.kill()
        second.kill()
        await in_thread(second.start)
        third.thaw()
        await plane.wait("it is stuck", said(plane, "1 of 2 nodes that vouch"))
        assert plane.record.primary is None


async def test_after_a_power_cut_the_last_primary_s_disk_is_taken(
    start_fleet: StartFleet, state: Path
) -> None:
    first, second = managed(start_fleet, args=AOF)
    async with open_plane(state, setup_of(first, second)) as plane:
        await wait_known(plane, first, second)
        await write(first, 1, "a")
        second.kill()
        await write(first, 0, "b")
        first.kill()
        await in_thread(first.start)
        await in_thread(second.start)
        assert await plane.wait_primary(first) == first
        await wait_follows(plane, second, first)
        assert [second.ask("GET", key) for key in "ab"] == [b"1", b"1"]


def launch_with_file(argv: Sequence[str], directory: Path) -> LocalProcess:
    """As packages start engines: what is not on the command line is in the file."""
    file = directory / "redis.conf"
    file.touch()
    return LocalProcess((argv[0], str(file), *argv[1:]), directory)


async def test_roles_survive_a_power_cut_where_engines_have_files(state: Path) -> None:
    """Else the new primary would obey its file, follow the old one, and lose what was written since."""
    with Fleet(1, 1, args=AOF, launch=launch_with_file) as fleet:
        first, second = (node for node in fleet.shards[0].nodes if isinstance(node, RedisNode))
        for node in (first, second):
            node.ask("CONFIG", "REWRITE")
            node.replica_of = None  # its file says so
        async with open_plane(state, setup_of(first, second, is_managed=False)) as plane:
            await wait_known(plane, first, second)
            assert await plane.controls.switch_over(KEY, second.address) is None
            assert await plane.wait_primary(second) == second
            await wait_follows(plane, first, second)
            await write(second, 1, "a")
            await plane.wait("the files say so", lambda: not is_in_file("replicaof", second))
            await plane.wait("both do", lambda: is_in_file(f"replicaof {second.address.host}", first))
            first.kill()
            second.kill()
            await in_thread(first.start)
            await in_thread(second.start)
            assert await plane.wait_primary(second) == second
            await wait_follows(plane, first, second)
            assert second.ask("GET", "a") == b"1"


def is_in_file(text: str, node: RedisNode) -> bool:
    return text in (node.directory / "redis.conf").read_text()


async def test_a_primary_found_among_nodes_that_the_config_has_no_more_is_not_adopted(
    start_fleet: StartFleet, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload may come while a node is asked; it would stay a member for as long as it is the primary."""
    fleet: Fleet = start_fleet(shards=2, replicas=0)
    first, second = (s.primary for s in fleet.shards if isinstance(s.primary, RedisNode))
    asked, inspect = trio.Event(), Steps.inspect
    swapped = trio.Event()

    async def inspect_slowly(self: Steps, address: Address) -> Primary:
        seen = await inspect(self, address)
        if address == first.address:
            asked.set()
            await swapped.wait()
        return seen

    monkeypatch.setattr(Steps, "inspect", inspect_slowly)
    async with open_plane(state, setup_of(first)) as plane:
        await asked.wait()
        plane.inputs.setups.show(KEY, setup_of(second))
        swapped.set()
        assert await plane.wait_primary(first, second) == second
        assert plane.record.nodes == (second.address,)
