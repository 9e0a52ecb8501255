"""Has every Redis cluster watched and tended, as its settings say.

    settings ─> setups ─> controller ─> records ─> monitor of each cluster ─> health ─> controller
                                                        └─> readable replicas ─> publisher

Owns the boards between them. A cluster has a monitor of its own, as intervals are set by cluster.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog
import trio

from shardproxy.config import RedisCluster, Replication
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.failover.controller import Inputs, run_controller, run_watch
from shardproxy.failover.controls import Controls
from shardproxy.failover.events import EventLog
from shardproxy.failover.interfaces import Nodes
from shardproxy.failover.setup import FailoverSettings, ShardSetup
from shardproxy.failover.tend import Bell, ring_at_news
from shardproxy.health.monitor import Boards, Connect, run_monitor
from shardproxy.health.settings import HealthSettings
from shardproxy.model import Address, Topology
from shardproxy.model.board import Board
from shardproxy.model.health import NodeState
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import Store
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.topology.epoch import Stale
from shardproxy.topology.fencer import LocalFencer
from shardproxy.topology.publisher import Inbox, publish

RESTART_PAUSE = 1.0  # seconds
KNOWN_WITHIN = 2.0  # seconds; silent nodes are waited for 1.5 s before the others decide
KNOWN_POLL = 0.02  # seconds: topologies change without a ring
MAX_HINTS = 256  # per cluster, not taken yet; more say nothing new

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Desk:
    """What others may see of failover, and ask of it."""

    setups: Board[ShardKey, ShardSetup] = field(default_factory=Board)
    boards: Boards = field(default_factory=Boards)
    events: EventLog = field(default_factory=EventLog)
    controls: Controls = field(default_factory=Controls)
    readable: dict[ShardKey, frozenset[Address]] = field(
        default_factory=dict
    )  # of shards whose roles are known


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a supervisor needs of the rest of the process."""

    store: Store
    nodes: Nodes
    connect: Connect
    inbox: Inbox
    topologies: Mapping[str, Topology]
    zone: str | None = None


@dataclass(slots=True)
class _Watched:
    """One cluster with its monitor."""

    health: HealthSettings
    scope: trio.CancelScope
    hints: trio.MemorySendChannel[Address]
    setups: Board[ShardKey, ShardSetup]


class Supervisor:
    """Runs until cancelled; `follow` may be called at any time."""

    def __init__(self, surroundings: Surroundings, desk: Desk) -> None:
        self._around = surroundings
        self._desk = desk
        self._settings: Mapping[str, ClusterSettings] = {}
        self._watched: dict[str, _Watched] = {}
        self._nursery: trio.Nursery | None = None
        self._bell = Bell()

    async def run(
        self,
        hints: trio.MemoryReceiveChannel[Address],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        around, desk = self._around, self._desk
        inputs = Inputs(
            desk.setups,
            desk.boards.health,
            around.store,
            around.nodes,
            LocalFencer(around.inbox, around.topologies),
            desk.events,
            desk.controls,
        )
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(
                _run_always, "failover", partial(run_controller, inputs, FailoverSettings(zone=around.zone))
            )
            self._nursery.start_soon(self._pass_hints, hints)
            self._nursery.start_soon(self._serve_readable)
            for board in (desk.boards.reads, desk.boards.health):
                self._nursery.start_soon(ring_at_news, board.wait_changed, board.version, self._bell)
            self.follow(self._settings)
            task_status.started()

    async def wait_known(self) -> None:
        """Wait until each shard's primary and readable replicas are known, but not for long.

        A node that is down keeps nobody from being served by the others.
        """
        with trio.move_on_after(KNOWN_WITHIN):
            while not all(self._is_known(key) for key in self._desk.setups):
                with trio.move_on_after(KNOWN_POLL):
                    await self._bell.next.wait()

    def _is_known(self, key: ShardKey) -> bool:
        topology = self._around.topologies.get(key.cluster)
        if topology is None or topology.shards[key.index].primary is None:
            return False
        return len(topology.shards[key.index].nodes) == 1 or key in self._desk.readable

    def follow(self, settings: Mapping[str, ClusterSettings]) -> None:
        """Watch and tend what these settings say, from now on."""
        self._settings = settings
        if self._nursery is None:
            return
        wanted = {
            name: _health(of.config) for name, of in settings.items() if isinstance(of.config, RedisCluster)
        }
        for name in [name for name, now in self._watched.items() if wanted.get(name) != now.health]:
            self._watched.pop(name).scope.cancel()
        setups = {setup.key: setup for name, of in settings.items() for setup in shard_setups(name, of)}
        for name, health in wanted.items():
            if name not in self._watched:
                self._watch(name, health, self._nursery)
            _show(self._watched[name].setups, {key: s for key, s in setups.items() if key.cluster == name})
        for key, setup in setups.items():
            if self._desk.setups.get(key) != setup and (zone := only_zone(setup)) is not None:
                log.warning("all nodes of a shard are in one zone", shard=str(key), zone=zone)
        _show(self._desk.setups, setups)

    def _watch(self, cluster: str, health: HealthSettings, nursery: trio.Nursery) -> None:
        hint, hints = trio.open_memory_channel[Address](MAX_HINTS)
        watched = _Watched(health, trio.CancelScope(), hint, Board())
        self._watched[cluster] = watched
        nursery.start_soon(self._run_watched, cluster, watched, hints)

    async def _run_watched(
        self, cluster: str, watched: _Watched, hints: trio.MemoryReceiveChannel[Address]
    ) -> None:
        boards, store = self._desk.boards, self._around.store
        records: Board[ShardKey, ShardRecord] = Board()
        try:
            with watched.scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(run_watch, watched.setups, store.records, records)
                    monitor = partial(
                        run_monitor,
                        records,
                        boards,
                        self._around.connect,
                        group=store.group,
                        max_staleness=self._max_staleness,
                        hints=hints,
                        settings=watched.health,
                    )
                    await _run_always("health", monitor)
        finally:
            if self._watched.get(cluster) in (watched, None):  # else its successor shows them anew
                for node in [node for node in boards.health if node[0].cluster == cluster]:
                    boards.health.hide(node)
                for key in [key for key in boards.reads if key.cluster == cluster]:
                    boards.reads.hide(key)

    def _max_staleness(self, key: ShardKey) -> float | None:
        """None where no replica is read from: nobody has to know how old its data is."""
        settings = self._settings.get(key.cluster)
        if settings is None or not isinstance(settings.config, RedisCluster):
            return None
        return settings.config.reads.max_staleness if settings.config.reads_replicas else None

    async def _pass_hints(self, hints: trio.MemoryReceiveChannel[Address]) -> None:
        async for address in hints:
            for watched in self._watched.values():
                try:
                    watched.hints.send_nowait(address)
                except (trio.WouldBlock, trio.BrokenResourceError):
                    continue  # they only save time

    async def _publish_again(self, cluster: str, reason: str) -> None:
        """The same topology, told with what is readable now."""
        while (topology := self._around.topologies.get(cluster)) is not None:
            if not isinstance(await publish(self._around.inbox, topology, reason), Stale):
                return

    async def _serve_readable(self) -> None:
        """Have the data plane told which replicas are fit to be read from, whenever that changes."""
        boards, readable = self._desk.boards, self._desk.readable
        while True:
            news = self._bell.next
            now = {
                key: nodes if self._is_looked_at(key) else readable[key]
                for key, nodes in boards.reads.items()
                if key in readable or self._is_looked_at(key)
            }
            changed = {key.cluster for key in {*now, *readable} if now.get(key) != readable.get(key)}
            readable.clear()
            readable.update(now)
            for cluster in changed:
                await self._publish_again(cluster, "other replicas are fit to be read from")
            await news.wait()

    def _is_looked_at(self, key: ShardKey) -> bool:
        """Whether every node was asked since the shard got its roles; before, what was known holds."""
        record = self._around.store.records.get(key)
        if record is None or record.state is ShardState.NEW:
            return False
        for node in record.nodes:
            health = self._desk.boards.health.get((key, node))
            if health is None or health.epoch != record.epoch or health.verdict.state is NodeState.UNKNOWN:
                return False
            if health.verdict.is_answering and health.replication is None:
                return False
        return True


async def _run_always(what: str, service: Callable[[], Awaitable[None]]) -> None:
    """Whatever ails it, clients are served on; it begins anew from what is on record."""
    while True:
        try:
            await service()
        except Exception as error:  # a bug
            log.error("crashed, begins anew", what=what, exc_info=error)
            await trio.sleep(RESTART_PAUSE)


def shard_setups(cluster: str, settings: ClusterSettings) -> list[ShardSetup]:
    """The shards of a cluster as failover is told of them; none for an engine without replication."""
    config = settings.config
    if not isinstance(config, RedisCluster):
        return []
    return [
        ShardSetup(
            ShardKey(cluster, shard.index),
            shard.nodes,
            wait=config.writes.wait,
            is_managed=config.replication is Replication.MANAGED,
            is_automatic=config.failover.enabled,
            min_replicas=config.writes.min_replicas,
        )
        for shard in config.topology(cluster).shards
    ]


def only_zone(setup: ShardSetup) -> str | None:
    """The zone whose loss would take the whole shard, if there is such."""
    zones = {node.zone for node in setup.nodes}
    return next(iter(zones)) if len(setup.nodes) > 1 and len(zones) == 1 else None


def _health(config: RedisCluster) -> HealthSettings:
    return HealthSettings(down_after=config.failover.down_after)


def _show(board: Board[ShardKey, ShardSetup], setups: Mapping[ShardKey, ShardSetup]) -> None:
    for key in [key for key in board if key not in setups]:
        board.hide(key)
    for key, setup in setups.items():
        board.show(key, setup)
