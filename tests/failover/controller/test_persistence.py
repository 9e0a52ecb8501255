"""Real nodes are given what the config says of their disks, and their files keep it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from shardproxy.failover import persisting
from shardproxy.failover.events import AlarmName, EventName
from shardproxy.failover.persisting import PersistenceTools, run_persistence
from shardproxy.failover.requests import paused_key
from shardproxy.fleet import RedisNode
from shardproxy.jobs.desk import Onlooker
from shardproxy.nodes import NodeLinks
from tests.failover.controller.plane import KEY, Plane, open_plane, setup_of
from tests.fixtures.engines import StartFleet

ALARM = (KEY, AlarmName.PERSISTENCE)

AOF = (("appendfsync", "always"), ("appendonly", "yes"))


class FileNode(RedisNode):
    """A node with a config file of its own, which the engine may rewrite."""

    def command(self) -> Sequence[str]:
        file = self.directory / "redis.conf"
        if not file.exists():
            words = list(super().command())
            pairs: list[tuple[str, ...]] = []
            for word in words:
                if word.startswith("--"):
                    pairs.append((word[2:],))
                else:
                    pairs[-1] = (*pairs[-1], word or '""')
            file.write_text("".join(" ".join(pair) + "\n" for pair in pairs))
        return (str(file),)

    @property
    def file(self) -> str:
        return (self.directory / "redis.conf").read_text()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[FileNode]]:
    found = [FileNode(tmp_path / f"n{number}", is_managed=True) for number in range(2)]
    try:
        for node in found:
            node.start()
        yield found
    finally:
        for node in found:
            node.kill()


@asynccontextmanager
async def persisted(plane: Plane) -> AsyncIterator[None]:
    """The service runs beside the controller, as it does where this process leads."""
    inputs = plane.inputs
    desk = Onlooker(KEY.cluster, inputs.setups, inputs.store.records)
    async with NodeLinks() as links, trio.open_nursery() as nursery:
        tools = PersistenceTools(links, inputs.store.notes, inputs.events, inputs.chores)
        nursery.start_soon(run_persistence, desk, tools)
        yield
        nursery.cancel_scope.cancel()


def setting(node: RedisNode, name: str) -> str:
    return bytes(node.ask("CONFIG", "GET", name)[1]).decode()


async def switch_over(plane: Plane) -> None:
    """As soon as the replica is seen to be in sync again: its link was closed for a moment."""
    with trio.fail_after(10):
        while await plane.controls.switch_over(KEY) is not None:  # noqa: ASYNC110
            await trio.sleep(0.1)


def has_log(node: RedisNode) -> Callable[[], bool]:
    def is_so() -> bool:
        info = node.info("persistence")
        return info["aof_enabled"] == "1" and info["aof_rewrite_in_progress"] == "0"

    return is_so


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persisting, "LOOK", 0.2)
    monkeypatch.setattr(persisting, "SOON", 0.1)


async def test_settings_are_set_kept_on_file_and_watched(nodes: list[FileNode], tmp_path: Path) -> None:
    setup = setup_of(*nodes, persistence=AOF)
    async with open_plane(tmp_path / "state.json", setup) as plane:
        await plane.wait_joined(*nodes)
        served = await plane.wait_primary(*nodes)
        primary, replica = sorted(nodes, key=lambda node: node is not served)
        primary.ask("SET", "a", "1")
        async with persisted(plane):
            for node in nodes:
                await plane.wait("it has a log", has_log(node))
            await plane.wait("its file says so", lambda: "appendonly yes" in replica.file)
            assert "appendfsync always" in replica.file
            assert "replicaof 127.0.0.1 1\n" in replica.file, "nobody's replica, when it starts"
            await plane.wait_joined(*nodes)
            assert replica.info("stats")["sync_full"] == "0"
            assert primary.info("stats")["sync_full"] == "1", "the replica went on by a partial sync"
            assert replica.ask("GET", "a") == b"1"
            assert "appendonly yes" not in primary.file
            await plane.wait("an operator is told", lambda: bool(plane.events(EventName.ALARM)))
            assert (
                f"{primary.address} keeps on disk what it should until it restarts"
                in plane.events(EventName.ALARM)[-1]
            )
            assert plane.inputs.events.alarms[ALARM] == plane.events(EventName.ALARM)[-1]
            await switch_over(plane)
            await plane.wait("its file says so", lambda: "appendonly yes" in primary.file)
            await plane.wait("the alarm is over", lambda: not plane.inputs.events.alarms)
            assert "replicaof 127.0.0.1 1\n" in primary.file
            await plane.wait_joined(*nodes)
            primary.ask("CONFIG", "SET", "appendfsync", "no")
            await plane.wait("it is set again", lambda: setting(primary, "appendfsync") == "always")


async def test_nodes_restart_from_their_disks(nodes: list[FileNode], tmp_path: Path) -> None:
    setup = setup_of(*nodes, persistence=AOF)
    async with open_plane(tmp_path / "state.json", setup) as plane:
        await plane.wait_joined(*nodes)
        async with persisted(plane):
            for node in nodes:
                await plane.wait("it has a log", has_log(node))
            await plane.wait("a file says so", lambda: any("appendonly yes" in node.file for node in nodes))
            await plane.wait_joined(*nodes)
            await switch_over(plane)
            for node in nodes:
                await plane.wait("its file says so", lambda node=node: "appendonly yes" in node.file)  # type: ignore[misc]
            primary = await plane.wait_primary(*nodes)
            for number in range(100):
                primary.ask("RPUSH", "list", number)
            epoch = plane.record.epoch
            for node in nodes:
                node.kill()
            for node in nodes:
                await trio.to_thread.run_sync(node.begin)
            for node in nodes:
                await plane.wait("it is back", node.is_ready)
            await plane.wait("there is a primary again", lambda: plane.record.epoch > epoch)
            primary = await plane.wait_primary(*nodes)
            assert primary.ask("LLEN", "list") == 100, "every write that was answered"


async def test_without_a_config_file_that_is_said(start_fleet: StartFleet, tmp_path: Path) -> None:
    fleet = start_fleet(shards=1, replicas=1, managed=True)
    nodes = [node for node in fleet.shards[0].nodes if isinstance(node, RedisNode)]
    setup = setup_of(*nodes, persistence=(("save", "3600 1"),))
    async with open_plane(tmp_path / "state.json", setup) as plane:
        await plane.wait_joined(*nodes)
        async with persisted(plane):
            await plane.wait(
                "an operator is told",
                lambda: "has no config file" in plane.inputs.events.alarms.get(ALARM, ""),
            )
            await plane.wait_joined(*nodes)
            assert {setting(node, "save") for node in nodes} == {"3600 1"}


async def test_while_paused_nothing_is_set(start_fleet: StartFleet, tmp_path: Path) -> None:
    fleet = start_fleet(shards=1, replicas=1, managed=True)
    nodes = [node for node in fleet.shards[0].nodes if isinstance(node, RedisNode)]
    setup = setup_of(*nodes, persistence=(("save", "3600 1"),))
    async with open_plane(tmp_path / "state.json", setup) as plane:
        await plane.wait_joined(*nodes)
        await plane.inputs.store.note(paused_key(KEY.cluster), True)
        async with persisted(plane):
            await trio.sleep(5 * persisting.LOOK)
            assert {setting(node, "save") for node in nodes} == {""}
            await plane.controls.resume(KEY.cluster)
            await plane.wait("they are set", lambda: setting(nodes[0], "save") == "3600 1")


async def test_a_disk_that_fails_is_an_alarm(start_fleet: StartFleet, tmp_path: Path) -> None:
    options = ("--enable-protected-configs", "yes")
    fleet = start_fleet(shards=1, replicas=1, managed=True, args=options)
    nodes = [node for node in fleet.shards[0].nodes if isinstance(node, RedisNode)]
    setup = setup_of(*nodes, persistence=(("save", "3600 1"),))
    async with open_plane(tmp_path / "state.json", setup) as plane:
        await plane.wait_joined(*nodes)
        primary = await plane.wait_primary(*nodes)
        async with persisted(plane):
            await plane.wait("they are set", lambda: setting(primary, "save") == "3600 1")
            primary.ask("CONFIG", "SET", "dbfilename", "dir")  # what is there cannot be replaced
            (primary.directory / "dir").mkdir()
            primary.ask("BGSAVE")
            await plane.wait(
                "an operator is told",
                lambda: "its last save failed" in plane.inputs.events.alarms.get(ALARM, ""),
            )
