"""Has every Redis cluster watched and tended, as it is configured.

    clusters ─> setups ─> controller of each ─> records ─> monitor of each ─> health ─> controller, follower
            └─> source of each that something else decides about ─> records

Owns the setups, and what the monitors show. A cluster has a monitor of its own: intervals are set by cluster;
and a controller, where it is decided about here: it claims that cluster alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog
import trio

from shardproxy.config import RedisCluster
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.failover.controller import Inputs, run_controller, run_watch
from shardproxy.failover.setup import FailoverSettings, ShardSetup
from shardproxy.failover.shard.tended import Limits
from shardproxy.health.monitor import Boards, Connect, run_monitor
from shardproxy.health.settings import HealthSettings
from shardproxy.health.traffic import Traffic
from shardproxy.model import Address
from shardproxy.model.board import Board, News
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeLinks
from shardproxy.store.member import serving_beside
from shardproxy.store.record import ShardRecord
from shardproxy.topology.project import Configured
from shardproxy.topology.sources.epochs import Epochs
from shardproxy.topology.sources.opening import source_open
from shardproxy.topology.sources.showing import Showing
from shardproxy.topology.sources.source import Source, SourceInputs

RESTART_PAUSE = 1.0  # seconds
MAX_HINTS = 256  # per cluster, not taken yet; more say nothing new

log = structlog.get_logger()


@dataclass(slots=True)
class _Delegated:
    """One cluster that something else decides about, with its source."""

    settings: ClusterSettings
    scope: trio.CancelScope
    hints: trio.MemorySendChannel[Address]


@dataclass(slots=True)
class _Watched:
    """One cluster with its monitor."""

    health: HealthSettings
    scope: trio.CancelScope
    hints: trio.MemorySendChannel[Address]
    setups: Board[ShardKey, ShardSetup] = field(default_factory=Board)


class Supervisor:
    """Follows the clusters that are served; `inputs` are its controllers', whose setups it fills.

    With `may_lead` unset it watches, and decides nothing.
    """

    def __init__(
        self,
        clusters: Board[str, Configured],
        inputs: Inputs,
        boards: Boards,
        connect: Connect,
        settings: FailoverSettings,
        traffic: Traffic | None = None,
        *,
        links: Callable[[str], NodeLinks],
        may_lead: bool = True,
    ) -> None:
        """`links` makes connections to nodes of a cluster, for its source."""
        self._clusters = clusters
        self._inputs = inputs
        self._boards = boards
        self._connect = connect
        self._settings = settings
        self._traffic = traffic
        self._may_lead = may_lead
        self._limits = Limits.of(settings)
        self._controlled: dict[str, trio.CancelScope] = {}
        self._links = links
        self._watched: dict[str, _Watched] = {}
        self._delegated: dict[str, _Delegated] = {}
        self._showings: dict[str, Showing] = {}
        self.sources: dict[str, Source] = {}  # by cluster that something else decides about

    async def run(
        self,
        hints: trio.MemoryReceiveChannel[Address],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Watch and tend until cancelled; `hints` are nodes that just failed somebody."""
        news = News()
        self._clusters.subscribe(news)
        try:
            async with trio.open_nursery() as nursery:
                self._follow(nursery)
                nursery.start_soon(self._pass_hints, hints)
                task_status.started()
                while True:
                    await news.wait()
                    self._follow(nursery)
        finally:
            self._clusters.unsubscribe(news)

    @property
    def automatic(self) -> frozenset[str]:
        """The clusters that this process fails over unasked when it leads them."""
        setups = self._inputs.setups.items()
        return frozenset(key.cluster for key, setup in setups if self._may_lead and setup.is_automatic)

    def _follow(self, nursery: trio.Nursery) -> None:
        """Watch and tend what is configured now."""
        wanted = {
            name: _health(configured.settings.config)
            for name, configured in self._clusters.items()
            if isinstance(configured.settings.config, RedisCluster)
        }
        for name in [name for name, now in self._watched.items() if wanted.get(name) != now.health]:
            self._watched.pop(name).scope.cancel()
        for name, health in wanted.items():
            if name not in self._watched:
                self._watch(name, health, nursery)
            _show(self._watched[name].setups, {setup.key: setup for setup in self._clusters[name].setups})
        self._follow_deciders(nursery)
        setups = {setup.key: setup for of in self._clusters.values() for setup in of.setups}
        for key, setup in setups.items():
            if self._inputs.setups.get(key) != setup and (zone := only_zone(setup)) is not None:
                log.warning("all nodes of a shard are in one zone", shard=str(key), zone=zone)
        _show(self._inputs.setups, setups)
        self._control({name for name in wanted if self._may_lead and self._clusters[name].is_ours}, nursery)

    def _control(self, clusters: set[str], nursery: trio.Nursery) -> None:
        """Have these clusters decided about, and no others."""
        for name in self._controlled.keys() - clusters:
            self._controlled.pop(name).cancel()
        for name in sorted(clusters - self._controlled.keys()):
            self._controlled[name] = trio.CancelScope()
            nursery.start_soon(self._run_controlled, name, self._controlled[name])

    async def _run_controlled(self, cluster: str, scope: trio.CancelScope) -> None:
        with scope:
            controller = partial(run_controller, cluster, self._inputs, self._settings, self._limits)
            await run_always("failover", controller)

    def _follow_deciders(self, nursery: trio.Nursery) -> None:
        """Have what others decide followed as it is configured now; with other settings from the start."""
        wanted = {name: one.settings for name, one in self._clusters.items() if one.is_delegated}
        for name in [name for name, now in self._delegated.items() if wanted.get(name) != now.settings]:
            self._delegated.pop(name).scope.cancel()
            if name not in wanted:
                self.sources.pop(name, None)
                self._showings.pop(name).close()
        for name, settings in wanted.items():
            if name in self._delegated:
                continue
            hint, hints = trio.open_memory_channel[Address](MAX_HINTS)
            self._delegated[name] = _Delegated(settings, trio.CancelScope(), hint)
            if name not in self._showings:
                store = self._inputs.store
                self._showings[name] = Showing(name, store.records, Epochs(store, name, store.records))
            nursery.start_soon(self._run_source, name, self._delegated[name], hints)

    async def _run_source(
        self, cluster: str, delegated: _Delegated, hints: trio.MemoryReceiveChannel[Address]
    ) -> None:
        store = self._inputs.store

        async def follow() -> None:
            async with self._links(cluster) as links:
                inputs = SourceInputs(
                    cluster,
                    delegated.settings,
                    self._showings[cluster],
                    self._boards.health,
                    links,
                    self._inputs.events,
                    hints,
                    store,
                    partial(serving_beside, store.member, cluster, store.members),
                )
                source = self.sources[cluster] = source_open(inputs)
                await source.run()

        with delegated.scope:
            await run_always("topology", follow)

    def _watch(self, cluster: str, health: HealthSettings, nursery: trio.Nursery) -> None:
        hint, hints = trio.open_memory_channel[Address](MAX_HINTS)
        watched = _Watched(health, trio.CancelScope(), hint)
        self._watched[cluster] = watched
        nursery.start_soon(self._run_watched, cluster, watched, hints)

    async def _run_watched(
        self, cluster: str, watched: _Watched, hints: trio.MemoryReceiveChannel[Address]
    ) -> None:
        boards, store = self._boards, self._inputs.store
        records: Board[ShardKey, ShardRecord] = Board()
        try:
            with watched.scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(run_watch, watched.setups, store.records, records)
                    monitor = partial(
                        run_monitor,
                        records,
                        boards,
                        self._connect,
                        group=store.group,
                        is_observer=partial(self._is_observer, cluster),
                        is_delegated=partial(self._is_delegated, cluster),
                        max_staleness=self._max_staleness,
                        hints=hints,
                        traffic=self._traffic,
                        settings=watched.health,
                    )
                    await run_always("health", monitor)
        finally:
            # else another monitor goes on, or what is known serves until the process has drained
            if cluster not in self._watched:
                for node in [node for node in boards.health if node[0].cluster == cluster]:
                    boards.health.hide(node)
                for key in [key for key in boards.reads if key.cluster == cluster]:
                    boards.reads.hide(key)

    def _is_observer(self, cluster: str) -> bool:
        """Whether this process never decides who is primary there, and must not look like one that does."""
        configured = self._clusters.get(cluster)
        config = configured.settings.config if configured is not None else None
        return not isinstance(config, RedisCluster) or config.is_delegated or not config.failover.enabled

    def _is_delegated(self, cluster: str) -> bool:
        configured = self._clusters.get(cluster)
        return configured is not None and configured.is_delegated

    def _max_staleness(self, key: ShardKey) -> float | None:
        """None where no replica is read from: nobody has to know how old its data is."""
        configured = self._clusters.get(key.cluster)
        if configured is None or not isinstance(configured.settings.config, RedisCluster):
            return None
        config = configured.settings.config
        return config.reads.max_staleness if config.reads_replicas else None

    async def _pass_hints(self, hints: trio.MemoryReceiveChannel[Address]) -> None:
        async for address in hints:
            for hinted in [one.hints for of in (self._watched, self._delegated) for one in of.values()]:
                try:
                    hinted.send_nowait(address)
                except (trio.WouldBlock, trio.BrokenResourceError):
                    continue  # they only save time


async def run_always(what: str, service: Callable[[], Awaitable[None]]) -> None:
    """Whatever ails it, clients are served on; it begins anew from what is on record."""
    while True:
        try:
            await service()
        except* Exception as error:  # a bug, maybe beside a cancellation
            log.error("crashed, begins anew", what=what, exc_info=error)
            await trio.sleep(RESTART_PAUSE)


async def run_always_from(
    what: str,
    service: Callable[..., Awaitable[None]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """The same, started once the service is, for the first time."""
    has_started = False

    class Started:
        def started(self, value: object = None) -> None:
            nonlocal has_started
            if not has_started:
                has_started = True
                task_status.started()

    await run_always(what, partial(service, task_status=Started()))


def only_zone(setup: ShardSetup) -> str | None:
    """The zone whose loss would take the whole shard, if there is such."""
    zones = {node.zone for node in setup.nodes}
    return next(iter(zones)) if len(setup.nodes) > 1 and len(zones) == 1 else None


def _health(config: RedisCluster) -> HealthSettings:
    return HealthSettings(down_after=config.failover.down_after, slow_after=config.failover.busy_limit)


def _show(board: Board[ShardKey, ShardSetup], setups: Mapping[ShardKey, ShardSetup]) -> None:
    for key in [key for key in board if key not in setups]:
        board.hide(key)
    for key, setup in setups.items():
        board.show(key, setup)
