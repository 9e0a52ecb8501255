"""The monitor over real engines: how soon it knows, whom it sees, and what it is taken for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from structlog.testing import capture_logs

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.health import slow
from shardproxy.health.monitor import Boards, run_monitor
from shardproxy.health.settings import HealthSettings
from shardproxy.health.traffic import NoTraffic, Traffic
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.health import Cause, NodeHealth, NodeState
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeLink, OpenLinks
from shardproxy.store.record import ShardRecord, ShardState
from tests.fixtures.engines import StartFleet

KEY = ShardKey("sessions", 0)
PATIENCE = 20.0  # seconds until a test gives up
SLACK = 0.3  # seconds a busy machine may add


@dataclass
class Watch:
    """A running monitor of one shard."""

    group: str = "ours"
    is_observer: bool = False
    settings: HealthSettings = field(default_factory=HealthSettings)
    traffic: Traffic = field(default_factory=NoTraffic)
    boards: Boards = field(default_factory=Boards)
    links: OpenLinks = field(default_factory=OpenLinks)

    def of(self, address: Address) -> NodeHealth:
        return self.boards.health[KEY, address]

    def state(self, address: Address) -> NodeState:
        return self.of(address).verdict.state

    async def wait(self, is_so: Callable[[], bool], seconds: float = PATIENCE) -> None:
        with trio.fail_after(seconds):
            while not is_so():
                seen = self.boards.health.version
                with trio.move_on_after(0.2):
                    await self.boards.health.wait_changed(seen)

    @asynccontextmanager
    async def over(self, *nodes: Address) -> AsyncIterator[Watch]:
        """Watch these nodes, the first being the primary."""
        records: Board[ShardKey, ShardRecord] = Board()
        record = ShardRecord(KEY, 1, ShardState.OK, nodes[0], nodes, joined=nodes[:1])
        records.show(KEY, record)
        async with trio.open_nursery() as nursery:
            await nursery.start(self.links.run)
            nursery.start_soon(self._run, records)
            await self.wait(lambda: all((KEY, node) in self.boards.health for node in nodes))
            await self.wait(lambda: all(self.state(node) is NodeState.UP for node in nodes))
            yield self
            nursery.cancel_scope.cancel()

    async def _run(self, records: Board[ShardKey, ShardRecord]) -> None:
        await run_monitor(
            records,
            self.boards,
            self.links.connect,
            group=self.group,
            is_observer=lambda: self.is_observer,
            traffic=self.traffic,
            settings=self.settings,
        )


def replicated(start_fleet: StartFleet, replicas: int = 1) -> list[RedisNode]:
    fleet: Fleet = start_fleet(shards=1, replicas=replicas)
    nodes = [node for node in fleet.shards[0].nodes if isinstance(node, RedisNode)]
    for node in nodes:
        node.ask("CONFIG", "SET", "repl-ping-replica-period", "1")
    return nodes


async def test_a_dead_primary_is_known_at_once(start_fleet: StartFleet) -> None:
    primary, replica = replicated(start_fleet)
    async with Watch().over(primary.address, replica.address) as watch:
        await trio.sleep(1.0)  # the pulse asks by now
        primary.kill()
        killed_at = trio.current_time()
        await watch.wait(lambda: watch.state(primary.address) is NodeState.DOWN, 5.0)
        verdict = watch.of(primary.address).verdict
        assert verdict.cause is Cause.DEAD
        assert verdict.since - killed_at <= 0.1 + SLACK


async def test_who_may_ask_for_two_sections_alone_knows_the_process_and_no_figures(
    start_fleet: StartFleet,
) -> None:
    primary, replica = replicated(start_fleet)
    replica.ask("ACL", "SETUSER", "default", "-info", "+info|server", "+info|replication")
    nodes = (primary.address, replica.address)
    with capture_logs() as logs:
        async with Watch().over(*nodes) as watch:
            await watch.wait(lambda: all(watch.of(node).is_surveyed for node in nodes))
            servers = [watch.of(node).server for node in nodes]
            assert len({server.run_id for server in servers if server is not None}) == 2
            assert set(watch.boards.vitals) == {(KEY, primary.address)}
    told = [line["node"] for line in logs if line["event"] == "node tells no figures"]
    assert told == [str(replica.address)]


async def test_a_frozen_primary_is_known_in_time_and_its_return_at_once(start_fleet: StartFleet) -> None:
    primary, replica = replicated(start_fleet)
    async with Watch().over(primary.address, replica.address) as watch:
        await trio.sleep(1.0)
        primary.freeze()
        frozen_at = trio.current_time()
        await watch.wait(lambda: watch.state(primary.address) is NodeState.DOWN, 5.0)
        verdict = watch.of(primary.address).verdict
        assert verdict.cause is Cause.SILENT
        assert 0.7 <= verdict.since - frozen_at <= 1.4 + SLACK
        primary.thaw()
        await watch.wait(lambda: watch.state(primary.address) is NodeState.UP, 1.0 + SLACK)


async def test_members_are_known_in_the_primary_s_list_and_others_are_strangers(
    start_fleet: StartFleet,
) -> None:
    primary, replica, stranger = replicated(start_fleet, 2)
    member = Address("localhost", replica.port)
    async with Watch().over(primary.address, member) as watch:
        await watch.wait(lambda: watch.of(member).seen_as is not None)
        assert watch.of(member).seen_as == Address("127.0.0.1", replica.port)
        await watch.wait(lambda: bool(watch.of(primary.address).strangers))
        assert watch.of(primary.address).strangers == (Address("127.0.0.1", stranger.port),)


async def test_a_replica_is_known_by_what_it_announces(start_fleet: StartFleet) -> None:
    primary, replica = replicated(start_fleet)
    replica.ask("CONFIG", "SET", "replica-announce-ip", "pod-7.redis", "replica-announce-port", "7777")
    replica.ask("REPLICAOF", "NO", "ONE")
    replica.ask("REPLICAOF", primary.address.host, str(primary.port))
    async with Watch().over(primary.address, replica.address) as watch:
        await watch.wait(lambda: watch.of(replica.address).seen_as == Address("pod-7.redis", 7777))
        assert not watch.of(primary.address).strangers


async def test_an_observer_is_no_manager_and_one_that_went_away_is_none_either(
    start_fleet: StartFleet,
) -> None:
    node = replicated(start_fleet, 0)[0].address
    quick = HealthSettings(slow_interval=0.2)
    async with Watch(settings=quick).over(node) as ours:
        async with Watch("theirs", is_observer=True).over(node) as theirs:
            async with NodeLink(node) as link:
                names = str(await link.request("CLIENT", "LIST"))
                assert "name=shardproxy-observer:theirs" in names
                assert "name=shardproxy:ours" in names
            await trio.sleep(0.5)
            assert ours.of(node).manager is None
            theirs.is_observer = False  # a reload gave it the right to decide
            await ours.wait(lambda: "shardproxy:theirs" in (ours.of(node).manager or ""))
            theirs.is_observer = True
            await ours.wait(lambda: ours.of(node).manager is None)
            theirs.is_observer = False
            await ours.wait(lambda: ours.of(node).manager is not None)
        await ours.wait(lambda: ours.of(node).manager is None)


class Told(NoTraffic):
    """Notes what is told of slow commands."""

    def __init__(self) -> None:
        self.told: list[set[str]] = []

    def expect_slow(self, cluster: str, commands: Iterable[str]) -> None:
        self.told.append(set(commands))

    def is_command(self, name: str) -> bool:
        return name == "debug|sleep"


async def test_what_took_long_is_told_at_first_when_it_changes_and_when_it_is_forgotten(
    start_fleet: StartFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = start_fleet(shards=1, replicas=0, args=["--enable-debug-command", "yes"])
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    monkeypatch.setattr(slow, "REMEMBERED", 4.0)
    traffic, quick = Told(), HealthSettings(slow_interval=0.2)
    async with Watch(settings=quick, traffic=traffic).over(node.address) as watch:
        await watch.wait(lambda: traffic.told == [set()])  # whatever another monitor told before
        await trio.to_thread.run_sync(node.ask, "DEBUG", "SLEEP", "0.6")
        await watch.wait(lambda: traffic.told[1:] == [{"debug", "debug|sleep"}])
        node.ask("SLOWLOG", "RESET")
        await watch.wait(lambda: traffic.told[2:] == [set()])


class Relay:
    """Passes bytes on between a replica and its primary until it is told to swallow them."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.is_cut = False
        self.port = 0

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._serve, [listener])

    async def _serve(self, replica: trio.SocketStream) -> None:
        primary = await trio.open_tcp_stream("127.0.0.1", self.target)
        async with primary, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass, replica, primary)
            await self._pass(primary, replica)
            nursery.cancel_scope.cancel()

    async def _pass(self, source: trio.SocketStream, target: trio.SocketStream) -> None:
        async for data in source:
            if not self.is_cut:
                await target.send_all(data)


async def test_a_replica_that_silently_gets_nothing_any_more_is_not_current(
    start_fleet: StartFleet,
) -> None:
    """Its link is up, for as long as nobody closes it."""
    primary, replica = replicated(start_fleet)
    relay = Relay(primary.port)
    async with trio.open_nursery() as nursery:
        await nursery.start(relay.run)
        await trio.to_thread.run_sync(replica.ask, "REPLICAOF", "127.0.0.1", str(relay.port))
        async with Watch().over(primary.address, replica.address) as watch:
            await watch.wait(lambda: watch.of(replica.address).is_current)
            await trio.sleep(4.0)
            assert watch.of(replica.address).is_current  # nobody writes
            relay.is_cut = True
            cut_at = trio.current_time()
            await watch.wait(lambda: not watch.of(replica.address).is_current, 8.0)
            shown = watch.of(replica.address)
            assert shown.replication is not None
            assert shown.replication.is_link_up
            assert shown.synced_at is not None
            assert shown.synced_at <= cut_at + 1.0
        nursery.cancel_scope.cancel()
