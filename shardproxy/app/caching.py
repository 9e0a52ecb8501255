"""Puts caching together: rules and sources as configured now, the service they make, and who drains.

    clusters as configured ─> sources ─> plans ─> service: a guest of the commands' service
                                   └─> draining, listening: one each a cluster

While a cluster's plans are not those of its config it has none, and its events wait for them. Of the runs of
a cluster only the latest makes plans; one that was replaced keeps its sources for a while, and does no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import trio

from shardproxy.app.late import CACHING, rooms_load
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.config import MemcachedCluster
from shardproxy.config.caching import Caching, Invalidate, Rule, WriteMode
from shardproxy.config.caching_sources import SqlSource
from shardproxy.dataplane import CacheAged, DataPlane, Event, Offloaded
from shardproxy.model import Engine, Topology
from shardproxy.model.board import Board, News
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import MEMCACHED, RESP, NodeLinks, Speech
from shardproxy.store.record import ShardRecord
from shardproxy.topology.project import Configured
from shardproxy.topology.supervisor import run_always

if TYPE_CHECKING:
    from shardproxy.caching.draining import Draining
    from shardproxy.caching.forgetting import Forgetting
    from shardproxy.caching.leases import Leases
    from shardproxy.caching.letters import DeadLetter
    from shardproxy.caching.plan import Plan, Plans
    from shardproxy.caching.service import Service
    from shardproxy.caching.sources.guarded import GuardedSource

DEFAULT_TIMEOUT = 2.0  # seconds, where a rule has no source
AGAIN = 5.0  # seconds until sources that cannot be set up are tried again
GRACE = 30.0  # seconds that sources are kept which the config has replaced
SWEEP = 5.0  # seconds between looks for notes of writes behind
SELDOM = 60.0  # where no rule writes behind: some may be left of one that did
EARLY = 100_000  # events that wait for the service; as many as wait in the data plane for us
# What the data plane answers where as many wait there.
TOO_EARLY = b"-ERR too many commands wait for the control plane, command not executed\r\n"
TOO_EARLY_MEMCACHED = b"SERVER_ERROR too many commands wait for the control plane, command not executed\r\n"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CachingTools:
    """What caching needs of its process."""

    dataplane: DataPlane
    clusters: Board[str, Configured]  # as configured now
    topologies: Mapping[str, Topology]
    records: Mapping[ShardKey, ShardRecord]
    links: Callable[[Speech], NodeLinks]  # new ones to any node that speaks this, logged in
    directory: Callable[[], Path]  # of the config: files are found from there


@dataclass(frozen=True, slots=True)
class _Served:
    """What a cluster's rules are made from: of another one other plans are made."""

    caching: Caching
    wait: int  # replicas that have a write before it is acknowledged
    wait_within: float  # seconds

    def is_now(self, now: _Served | None) -> bool:
        """Whether this is what is configured now, and not only the same."""
        if now is None or self.caching is not now.caching:
            return False
        return (self.wait, self.wait_within) == (now.wait, now.wait_within)


class PlanBook:
    """The plans of all clusters. A cluster has none while they are not as it is configured now."""

    def __init__(self, clusters: Mapping[str, Configured], statistics: CachingStatistics) -> None:
        self._clusters = clusters
        self._statistics = statistics
        self._plans: dict[str, tuple[_Served, tuple[Plan, ...]]] = {}
        self._sources: dict[str, Mapping[str, GuardedSource]] = {}

    def served(self, cluster: str) -> _Served | None:
        """What is configured of a cluster's caching now."""
        configured = self._clusters.get(cluster)
        config = configured.settings.config if configured is not None else None
        if config is None or config.caching is None:
            return None
        if isinstance(config, MemcachedCluster):
            return _Served(config.caching, 0, 0.0)
        return _Served(config.caching, config.writes.wait, config.writes.timeout)

    def plans(self, cluster: str) -> tuple[Plan, ...]:
        """Those of the cluster's rules, in their order."""
        served, plans = self._plans.get(cluster, (None, ()))
        return plans if served is not None and served.is_now(self.served(cluster)) else ()

    def rules(self, cluster: str) -> Sequence[Rule]:
        """Those that are configured now, be there plans of them or not."""
        served = self.served(cluster)
        return served.caching.rules if served is not None else ()

    def set(self, cluster: str, served: _Served, sources: Mapping[str, GuardedSource]) -> tuple[Plan, ...]:
        """Go by these sources from now on; the plans."""
        plans = tuple(self._made(cluster, served, sources))
        self._sources[cluster] = sources
        self._plans[cluster] = (served, plans)
        self.keep(cluster)
        return plans

    def keep(self, cluster: str) -> None:
        """Where what is configured now is the same, the plans are those of it."""
        now = self.served(cluster)
        served, plans = self._plans.get(cluster, (None, ()))
        if now is not None and served == now:
            self._plans[cluster] = (now, plans)

    def forget(self, cluster: str) -> None:
        self._sources.pop(cluster, None)
        self._plans.pop(cluster, None)

    def is_open(self) -> dict[tuple[str, str], bool]:
        """Whether each source is left alone, as it has failed; by cluster and name."""
        from shardproxy.caching.sources.breaker import State

        return {
            (cluster, name): source.statistics().state is not State.CLOSED
            for cluster, sources in self._sources.items()
            for name, source in sources.items()
        }

    def _made(self, cluster: str, served: _Served, sources: Mapping[str, GuardedSource]) -> Iterator[Plan]:
        from shardproxy.caching.plan import Plan
        from shardproxy.caching.rules import compile_rules

        for rule in compile_rules(served.caching.rules):
            self._statistics.rule(cluster, rule.match)
            names = [name for name in (rule.source, rule.write_source) if name is not None]
            timeout = max((served.caching.sources[name].timeout for name in names), default=DEFAULT_TIMEOUT)
            source = sources[rule.source] if rule.source is not None else None
            target = sources[rule.write_source] if rule.write_source is not None else None
            at_once = served.caching.sources[rule.source].connections if rule.source is not None else 1
            yield Plan(
                cluster, rule, source, target, timeout, served.wait, served.wait_within, at_once=at_once
            )


class CachingDesk:
    """The caching of one process: a guest of the commands' service."""

    def __init__(self, tools: CachingTools) -> None:
        self._tools = tools
        self.statistics = CachingStatistics()
        self._book = PlanBook(tools.clusters, self.statistics)
        self._service: Service | None = None
        self._early: list[CacheAged | Offloaded] = []  # while there is no service yet; at most EARLY
        self._running: dict[str, _Running] = {}
        self.statistics.breakers = self._book.is_open

    def take(self, event: Event) -> bool:
        """Have an event, if it is about caching."""
        if self._service is not None:
            return self._service.take(event)
        if isinstance(event, CacheAged) or (isinstance(event, Offloaded) and event.rule is not None):
            self._take_early(event)
            return True
        return False

    def _take_early(self, event: CacheAged | Offloaded) -> None:
        """Keep an event for the service. Clients that left may have left theirs, so there may be many."""
        if len(self._early) < EARLY:
            self._early.append(event)
        elif isinstance(event, Offloaded):
            is_memcached = self._engine_of(event.cluster) is Engine.MEMCACHED
            self._tools.dataplane.answer(event.token, TOO_EARLY_MEMCACHED if is_memcached else TOO_EARLY)

    async def dead_letters(self, cluster: str, most: int) -> Sequence[DeadLetter]:
        """Writes behind that the cluster's databases refused; raise NodeFailure, NodeError."""
        from shardproxy.caching.letters import dead_letters

        if self._service is None:
            return ()
        return await dead_letters(self._service.engines, self._service.names, cluster, most)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Nothing is loaded before a cluster has rules."""
        news = News()
        self._tools.clusters.subscribe(news)
        try:
            if not self._wanted():
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
            while not self._wanted():
                await news.wait()
            await rooms_load(CACHING)
            await self._serve(news, task_status)
        finally:
            self._tools.clusters.unsubscribe(news)

    async def _serve(self, news: News, task_status: trio.TaskStatus[None]) -> None:
        from shardproxy.caching.aging import Aging
        from shardproxy.caching.behind import Behind
        from shardproxy.caching.draining import Draining
        from shardproxy.caching.engines import Engines
        from shardproxy.caching.forgetting import Forgetting
        from shardproxy.caching.leases import Leases
        from shardproxy.caching.loading import Loading
        from shardproxy.caching.memcached.items import Items
        from shardproxy.caching.memcached.leases import MarkLeases
        from shardproxy.caching.memcached.service import MemcachedService
        from shardproxy.caching.memcached.writing import MemcachedWriting
        from shardproxy.caching.names import Names
        from shardproxy.caching.plan import Plans
        from shardproxy.caching.service import Service
        from shardproxy.caching.writing import Writing

        tools, statistics, dataplane = self._tools, self.statistics, self._tools.dataplane
        try:
            async with (
                tools.links(RESP) as links,
                tools.links(MEMCACHED) as pool_links,
                trio.open_nursery() as nursery,
            ):
                plans = Plans(self._book.plans, self._book.rules)
                names = Names(dataplane.slot, dataplane.tag)
                engines = Engines(tools.topologies, links, self._run_id)
                leases = Leases(engines)
                loading = Loading(leases, names, nursery, statistics)
                draining = Draining(engines, names, statistics)
                items = Items(dataplane.node, pool_links)
                memcached = MemcachedService(
                    dataplane=dataplane,
                    plans=plans,
                    items=items,
                    loading=Loading(MarkLeases(items), names, nursery, statistics),
                    writing=MemcachedWriting(items, nursery, statistics),
                    nursery=nursery,
                    statistics=statistics,
                )
                self._service = Service(
                    dataplane=dataplane,
                    plans=plans,
                    engines=engines,
                    names=names,
                    loading=loading,
                    aging=Aging(engines, leases, names, nursery, dataplane.fresh, statistics),
                    writers={
                        WriteMode.THROUGH: Writing(engines, leases, names, nursery, statistics).write,
                        WriteMode.BEHIND: Behind(engines, names, loading, statistics, draining.noted).write,
                    },
                    nursery=nursery,
                    statistics=statistics,
                    engine_of=self._engine_of,
                    others={Engine.MEMCACHED: memcached.serve},
                )
                for event in self._early:
                    self._service.take(event)
                self._early.clear()
                task_status.started()
                parts = _Parts(leases, draining, Forgetting(engines, leases, names, dataplane.fresh))
                while True:
                    self._follow(nursery, parts)
                    await news.wait()
        finally:
            self._service = None
            self._running.clear()

    def _wanted(self) -> Mapping[str, _Served]:
        return {name: served for name in self._tools.clusters if (served := self._book.served(name))}

    def _follow(self, nursery: trio.Nursery, parts: _Parts) -> None:
        """Have each cluster with rules running, as it is configured now."""
        wanted = self._wanted()
        clusters = self._running
        for name in [name for name, running in clusters.items() if wanted.get(name) != running.served]:
            nursery.start_soon(clusters.pop(name).end)
            if name not in wanted:
                self._book.forget(name)
        for name, served in wanted.items():
            if name in clusters:
                self._book.keep(name)
            else:
                clusters[name] = _Running(served)
                nursery.start_soon(self._run_cluster, name, clusters[name], parts)

    async def _run_cluster(self, cluster: str, running: _Running, parts: _Parts) -> None:
        from shardproxy.caching.plan import Plans
        from shardproxy.caching.sources.opening import SourceSetupError, open_sources

        caching = running.served.caching
        with running.scope:
            while self._running.get(cluster) is running:
                try:
                    async with open_sources(caching.sources, self._tools.directory()) as sources:
                        if self._running.get(cluster) is not running:
                            return
                        made = self._book.set(cluster, running.served, sources)
                        running.has_plans = True
                        own = Plans({cluster: made}.__getitem__)
                        with running.services:
                            await self._run_services(cluster, caching, own, parts)
                        await trio.sleep_forever()  # requests that are under way have the sources meanwhile
                except SourceSetupError as error:
                    log.error("caching cannot begin", cluster=cluster, why=str(error))
                    await trio.sleep(AGAIN)

    async def _run_services(self, cluster: str, caching: Caching, plans: Plans, parts: _Parts) -> None:
        """What is done unasked, by the plans of one run, until cancelled."""
        async with trio.open_nursery() as nursery:
            timeout = max((plan.timeout for plan in plans.all(cluster)), default=DEFAULT_TIMEOUT)
            has_behind = any(plan.mode is WriteMode.BEHIND for plan in plans.all(cluster))
            drain = partial(
                parts.draining.run,
                cluster,
                lambda key: plans.written(cluster, key),
                2 * timeout,
                sweep=SWEEP if has_behind else SELDOM,
            )
            nursery.start_soon(run_always, "draining", drain)
            for one in caching.invalidate:
                listen = partial(self._listen, cluster, caching, one, plans, parts.forgetting)
                nursery.start_soon(run_always, "changes", listen)

    async def _listen(
        self, cluster: str, caching: Caching, one: Invalidate, plans: Plans, forgetting: Forgetting
    ) -> None:
        """Forget what a database says was changed by others."""
        from shardproxy.caching.forgetting import Changes
        from shardproxy.caching.listening import listen
        from shardproxy.caching.sources.opening import dialect_of
        from shardproxy.caching.sources.postgres import Postgres

        source = caching.sources[one.source]
        assert isinstance(source, SqlSource), "the config says so"
        database = dialect_of(source)
        assert isinstance(database, Postgres), "the config says so"
        of_all = plans.all(cluster)
        rules = [plan.rule for plan in of_all if plan.rule.source == one.source]
        changes = Changes(forgetting, cluster, of_all, one.source)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(changes.run)
            await listen(database, one.channel, rules, changes.changed, changes.missed)

    def _engine_of(self, cluster: str) -> Engine:
        configured = self._tools.clusters.get(cluster)
        return configured.settings.config.kind if configured is not None else Engine.REDIS

    def _run_id(self, key: ShardKey) -> str | None:
        record = self._tools.records.get(key)
        return record.run_id if record is not None else None


@dataclass(frozen=True, slots=True)
class _Parts:
    """What every cluster's services use."""

    leases: Leases
    draining: Draining
    forgetting: Forgetting


@dataclass(slots=True)
class _Running:
    """One run of a cluster that is served, and how."""

    served: _Served
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)  # of all, its sources too
    services: trio.CancelScope = field(default_factory=trio.CancelScope)
    has_plans: bool = False  # that requests may go by

    async def end(self) -> None:
        """Do nothing more unasked; what is under way at the sources ends first."""
        self.services.cancel()
        if self.has_plans:
            await trio.sleep(GRACE)
        self.scope.cancel()
