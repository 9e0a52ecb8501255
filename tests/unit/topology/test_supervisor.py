"""What is configured is watched and tended; what is known of nodes serves as long as their cluster does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trio.testing
from structlog.testing import capture_logs

from shardproxy.coordination.fencer import AckFencer
from shardproxy.failover.controller import Inputs
from shardproxy.failover.setup import FailoverSettings, ShardSetup
from shardproxy.fleet import free_port
from shardproxy.health.monitor import Boards
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import OpenLinks
from shardproxy.store.local import LocalStore
from shardproxy.topology.project import Configured, shard_setups
from shardproxy.topology.supervisor import Supervisor, decides, run_always
from tests.unit.topology.make import KEY, OTHER, clusters, memcached, record, redis, seen

ONE, TWO = (Address("127.0.0.1", free_port()) for _ in range(2))  # nobody listens there


def configured(*shards: tuple[Address, ...], name: str = "main") -> Configured:
    settings = clusters(**{name: redis(*shards)})[name]
    return Configured(settings, shard_setups(name, settings, {}))


class Running:
    def __init__(self, store: LocalStore, *, may_lead: bool = True) -> None:
        self.store = store
        self.clusters: Board[str, Configured] = Board()
        self.boards = Boards()
        self.links = OpenLinks()
        setups: Board[ShardKey, ShardSetup] = Board()
        fencer = AckFencer(store, Board(), setups)
        self.inputs = Inputs(setups, self.boards.health, store, self.links, fencer)
        self.supervisor = Supervisor(
            self.clusters,
            self.inputs,
            self.boards,
            self.links.connect,
            FailoverSettings(),
            may_lead=may_lead,
        )


@asynccontextmanager
async def supervised(path: Path, *, may_lead: bool = True) -> AsyncIterator[Running]:
    with LocalStore(path / "state.json") as store:
        running = Running(store, may_lead=may_lead)
        hint, hints = trio.open_memory_channel[Address](1)
        with hint:
            async with trio.open_nursery() as nursery:
                await nursery.start(running.supervisor.run, hints)
                yield running
                nursery.cancel_scope.cancel()


async def wait_until_so(running: Running, wanted: set[object]) -> None:
    with trio.fail_after(5):
        while set(running.boards.health) != wanted:
            await running.boards.health.wait_changed(running.boards.health.version)


async def test_nodes_are_watched_as_they_are_configured(tmp_path: Path) -> None:
    async with supervised(tmp_path) as running:
        running.clusters.show("main", configured((ONE,)))
        await wait_until_so(running, {(KEY, ONE)})
        assert list(running.inputs.setups) == [KEY]
        running.clusters.show("main", configured((ONE,), (TWO,)))
        await wait_until_so(running, {(KEY, ONE), (OTHER, TWO)})
        running.clusters.hide("main")
        await wait_until_so(running, set())
        assert not running.inputs.setups


async def test_what_is_known_of_nodes_outlives_the_watch_while_the_process_drains(tmp_path: Path) -> None:
    async with supervised(tmp_path) as running:
        running.clusters.show("main", configured((ONE,)))
        await wait_until_so(running, {(KEY, ONE)})
        running.boards.reads.show(KEY, frozenset({TWO}))
        running.boards.health.show((KEY, ONE), seen())
    assert running.boards.reads == {KEY: frozenset({TWO})}
    assert set(running.boards.health) == {(KEY, ONE)}


async def test_a_shard_that_is_withdrawn_is_left_alone_by_its_task(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with supervised(tmp_path) as running:
            for _ in range(20):  # whether its task hears of it first is left to chance
                running.clusters.show("main", configured((ONE,), (TWO,)))
                await wait_until_so(running, {(KEY, ONE), (OTHER, TWO)})
                running.clusters.hide("main")
                await wait_until_so(running, set())
    assert [line for line in logs if "crashed" in line["event"]] == []


async def wait_led(running: Running, *clusters: str) -> None:
    leaders = running.store.leaders
    with trio.fail_after(5):
        while set(leaders) != set(clusters):
            await leaders.wait_changed(leaders.version)


async def test_each_cluster_is_led_by_itself(tmp_path: Path) -> None:
    async with supervised(tmp_path) as running:
        running.clusters.show("main", configured((ONE,)))
        running.clusters.show("other", configured((TWO,), name="other"))
        await wait_led(running, "main", "other")
        with capture_logs() as logs:
            taken = await running.store.claim("main")  # as another proxy would
            await running.store.put(record(key=KEY, epoch=0, changed=0), taken)
            running.boards.health.show((KEY, ONE), seen())
            await trio.sleep(0.05)
            running.clusters.hide("other")
            await wait_led(running, "main")
            running.clusters.show("other", configured((TWO,), name="other"))
            await wait_led(running, "main", "other")
        assert not [line for line in logs if line.get("cluster") == "other" and "lost" in line["event"]]
        running.clusters.hide("main")
        await wait_led(running, "main", "other")  # it was taken: it is not ours to give back
    assert set(running.store.leaders) <= {"main"}


async def test_who_only_follows_leads_nothing(tmp_path: Path) -> None:
    async with supervised(tmp_path, may_lead=False) as running:
        running.clusters.show("main", configured((ONE,)))
        await wait_until_so(running, {(KEY, ONE)})
        await trio.testing.wait_all_tasks_blocked()
        assert not running.store.leaders
        assert running.store.statistics.writes == 0


async def test_a_pool_is_not_decided_about() -> None:
    assert decides(configured((ONE,)))
    assert not decides(Configured(clusters(pages=memcached(ONE))["pages"]))


async def test_a_crash_while_a_service_is_cancelled_ends_nobody_else() -> None:
    async def crash_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("a bug")

    async def service() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(crash_at_the_end)

    with capture_logs() as logs, trio.CancelScope() as scope:
        scope.cancel()
        await run_always("health", service)
    assert scope.cancelled_caught
    assert [line["event"] for line in logs] == ["crashed, begins anew"]
