"""Keeps the data plane as the records say. Every process runs one, the leader's too.

    settings ─┐
    records  ─┼─> project ─> data plane ─> clusters, topologies, readable ─> health, commands, admin pages
    health   ─┘                   └─────> applied: what may be acknowledged

The only one that has topologies applied. What is served is worked out anew from what is known at that moment,
so nothing can be stale, and nobody has to propose, try again or take back. Decides nothing about nodes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import structlog
import trio

from shardproxy.config import Credentials
from shardproxy.dataplane import BoundEndpoint
from shardproxy.dataplane.memcached import DiscoverySpec
from shardproxy.dataplane.spec import ClusterSettings, ClusterSpec, ShardTerms, cluster_spec
from shardproxy.failover.setup import ShardSetup
from shardproxy.health.monitor import Boards
from shardproxy.model import Address, Engine, Topology
from shardproxy.model.board import Board, News
from shardproxy.model.replication import ShardKey
from shardproxy.model.seal import Seal
from shardproxy.store.interface import Notebook, StoreUnavailableError
from shardproxy.store.memory import MemoryNotes
from shardproxy.store.notes import is_paused
from shardproxy.store.record import ShardRecord
from shardproxy.topology.assign import Records
from shardproxy.topology.epoch import topology_note
from shardproxy.topology.fit import NOT_KNOWN, Fit, fit_of
from shardproxy.topology.fleet import Peers
from shardproxy.topology.layout import layout_tell
from shardproxy.topology.project import (
    Configured,
    Part,
    Projection,
    epochs_of,
    news_of,
    project,
    shard_setups,
)
from shardproxy.topology.reload import Clusters, ServeError, nature_of, reload_plan
from shardproxy.topology.settling import Settles, Settling, applied_of

LATE = 0.1  # seconds until a slow worker is waited for again; the data plane itself waits for 1 s
AT_ONCE = 0.005  # seconds for what is under way and held to drain before others' shards have their turn
REFUSED = 1.0  # seconds until the data plane is asked again for what it refused
SERVE_WITHIN = 5.0  # seconds for all workers to serve what a new config asks for
KNOWN_WITHIN = 2.0  # seconds; silent nodes are waited for 1.5 s before the others decide

Endpoints = tuple[BoundEndpoint, ...]
Known = TypeVar("Known")

log = structlog.get_logger()


def as_configured(settings: ClusterSettings) -> Credentials | None:
    return settings.credentials


def nobody(cluster: str) -> Peers:
    return ()


class Applier(Settles, Protocol):
    """The part of the data plane that a follower acts on."""

    async def apply(self, spec: ClusterSpec) -> Endpoints:
        """Raise OSError or ValueError: nothing has changed; TimeoutError: some worker serves it later."""

    async def apply_settled(self, spec: ClusterSpec, within: float) -> tuple[Endpoints, bool]:
        """The same, and then `settle`."""

    def remove(self, cluster: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Served:
    """A cluster as the data plane was told last."""

    configured: Configured
    projection: Projection
    discovery: DiscoverySpec | None = None
    is_confirmed: bool = True  # every worker serves it
    login: Credentials | None = field(default=None, repr=False)  # of connections to its nodes


@dataclass(slots=True)
class Follower:
    """One process's: `serve` says what is to be served, `run` keeps it true, and both write the boards."""

    dataplane: Applier
    records: Board[ShardKey, ShardRecord]
    notebook: Notebook
    boards: Boards
    login: Callable[[ClusterSettings], Credentials | None] = as_configured  # of connections to nodes, now
    synced: Board[str, bool] = field(default_factory=Board)  # clusters; False = what is on record may be old
    peers_of: Callable[[str], Peers] = nobody  # the proxies that serve a cluster
    pools: Notebook | None = None  # where pools' numbers are noted; None = with the rest
    is_waited_for: bool = True  # by those who move slots
    group: Callable[[], str] = str  # that shares the store
    unsealed: Board[ShardKey, str] = field(default_factory=Board)  # what primaries' seals say (sealed.py)
    clusters: Board[str, Configured] = field(default_factory=Board)
    topologies: Board[str, Topology] = field(default_factory=Board)
    readable: Board[ShardKey, frozenset[Address]] = field(default_factory=Board)  # where it is known
    asked: Board[ShardKey, bool] = field(default_factory=Board)  # shards whose nodes were all asked
    applied: Board[ShardKey, int] = field(default_factory=Board)  # `changed` of the records that are served
    careful: Board[str, bool] = field(default_factory=Board)  # clusters served as behoves who is not synced
    _served: dict[str, _Served] = field(default_factory=dict)
    _recorded_at: int = -1  # version of the records that were followed last
    _is_recorded: bool = True  # there are others now
    _judged_at: tuple[int, ...] = ()  # versions of the boards that say who is fit
    _troubles: dict[str, str] = field(
        default_factory=dict
    )  # by cluster: why it is not served as it should be
    _lost: dict[str, ClusterSettings] = field(default_factory=dict)  # that could not be served again
    _news: News = field(default_factory=News)
    _changing: trio.Lock = field(default_factory=trio.Lock)  # what is configured
    _turn: trio.Lock = field(default_factory=trio.Lock)  # at the data plane
    _settling: Settling = field(init=False)

    def __post_init__(self) -> None:
        self._settling = Settling(self.dataplane, self.applied)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Have what is served follow the records and the health of replicas, until cancelled."""
        heard: tuple[Board[Any, Any], ...]
        heard = (self.records, *self._judged)
        for board in heard:
            board.subscribe(self._news)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._settling.run)
                task_status.started()
                while True:
                    seconds = min(await self._follow_all(), await self._find_lost())
                    with trio.move_on_after(seconds):
                        await self._news.wait()
        finally:
            for board in heard:
                board.unsubscribe(self._news)

    async def serve(self, wanted: Clusters, reason: str) -> dict[str, Endpoints]:
        """Serve these clusters instead of those before; return the endpoints of those that changed.

        Raise ServeError when one cannot be served; what was served before then still is.
        """
        async with self._changing:
            served = self._settings()
            plan = reload_plan(served, wanted)
            try:
                await self._withdraw_all(plan.withdraw_first, reason)
                endpoints = await self._serve_all({name: wanted[name] for name in plan.serve}, reason)
                await self._withdraw_all(plan.withdraw_last, reason)
            except ServeError:
                await self._restore({**served, **self._lost}, "undo: " + reason)
                raise
            finally:
                self._news.ring()
            self._lost.clear()
            return endpoints

    def is_ours(self, cluster: str) -> bool:
        """Whether proxies decide who is primary of a cluster that is served."""
        served = self._served.get(cluster)
        return served is not None and served.configured.is_ours

    async def renew(self) -> None:
        """Tell the data plane what nodes are logged in to with where that has changed; raise ServeError."""
        for name in tuple(self._served):
            async with self._turn:
                served = self._served.get(name)
                if served is not None and self.login(served.configured.settings) != served.login:
                    await self._log_in(name, served)

    async def retell(self, name: str) -> None:
        """Tell a pool's clients who serves it now; raise StoreUnavailableError, OSError or ValueError."""
        async with self._changing:
            served = self._served.get(name)
            if served is None or served.discovery is None:
                return
            settings, topology = served.configured.settings, served.projection.topology
            told = await layout_tell(settings, topology, self.pools or self.notebook, self.peers_of(name))
            if told != served.discovery:
                async with self._turn:
                    await self._apply(name, replace(served, discovery=told), "proxies came or went")

    async def wait_known(self) -> None:
        """Wait until each shard's primary, readable replicas and limits are known, but not for long.

        A node that is down keeps nobody from being served by the others.
        """
        news = News()
        heard = (self.topologies, self.readable, self.asked)
        for board in heard:
            board.subscribe(news)
        try:
            with trio.move_on_after(KNOWN_WITHIN):
                while not all(self._is_known(topology) for topology in self.topologies.values()):
                    await news.wait()
        finally:
            for board in heard:
                board.unsubscribe(news)

    def terms(self) -> dict[ShardKey, ShardTerms]:
        """What goes with each shard beside its nodes, as it is served."""
        parts = (part for served in self._served.values() for part in served.projection.parts)
        return {part.key: part.terms for part in parts}

    def seals(self) -> dict[ShardKey, Seal]:
        """Of the shards whose slots may leave without waiting for this process to know."""
        parts = (part for served in self._served.values() for part in served.projection.parts)
        return {part.key: part.fit.seal for part in parts if part.fit.seal is not None}

    @property
    def undecided(self) -> tuple[str, ...]:
        """Clusters of which those who decide have not said yet who is primary in each shard."""
        return tuple(
            name
            for name, served in self._served.items()
            if served.configured.is_delegated and any(part.record is None for part in served.projection.parts)
        )

    async def wait_decided(self) -> None:
        """Wait until nothing is `undecided`, for as long as it takes."""
        news = News()
        self.topologies.subscribe(news)
        try:
            while self.undecided:
                await news.wait()
        finally:
            self.topologies.unsubscribe(news)

    def _is_known(self, topology: Topology) -> bool:
        return topology.engine is not Engine.REDIS or all(
            shard.is_refused
            or (
                shard.primary is not None
                and topology.key_of(shard) in self.asked
                and (len(shard.nodes) == 1 or topology.key_of(shard) in self.readable)
            )
            for shard in topology.shards
        )

    # --- what is on record, and what health says ---

    @property
    def _judged(self) -> tuple[Board[Any, Any], ...]:
        """What says who is fit."""
        return (self.boards.reads, self.boards.health, self.notebook.notes, self.synced, self.unsealed)

    async def _follow_all(self) -> float:
        """Have every cluster served as it is to be; seconds until to look again, even without news."""
        async with self._turn:
            records = dict(self.records)
            epochs = epochs_of(records)
            recorded_at = self.records.version
            self._is_recorded = self._recorded_at != recorded_at
            judged_at = tuple(board.version for board in self._judged)
            is_news = judged_at != self._judged_at
            unsynced = {
                name for name in self._served if not self.synced.get(name, True) and self.is_ours(name)
            }
            wanted = {
                name: self._project(name, served, records, epochs.get(name, 0), is_news=is_news)
                for name, served in self._served.items()
            }
            seconds = [await self._follow(name, now) for name, now in wanted.items()]
            if REFUSED not in seconds:  # else the data plane does not know it: it is news again the next time
                self._recorded_at, self._judged_at = recorded_at, judged_at
            self._acknowledge_others(records, wanted)
            for name, now in wanted.items():
                if self._is_as_wanted(name, now):
                    self._show_careful(name, is_careful=name in unsynced)
            return min(seconds, default=math.inf)

    def _project(self, name: str, before: _Served, records: Records, epoch: int, *, is_news: bool) -> _Served:
        """What is to be served now. `is_news`: of health; without it only other records make a difference."""
        configured = before.configured.found(name, records) if self._is_recorded else before.configured
        if configured is not before.configured:
            before = replace(before, configured=configured)
        setups = configured.setups
        if not setups:
            return before
        old = {part.key: part for part in before.projection.parts}
        fits = {
            setup.key: self._judge(setup, records.get(setup.key), old.get(setup.key), is_news=is_news)
            for setup in setups
        }
        now = project(name, setups, records, epoch, fits, before.projection)
        return before if now is before.projection else replace(before, projection=now)

    def _judge(
        self, setup: ShardSetup, record: ShardRecord | None, old: Part | None, *, is_news: bool
    ) -> Fit:
        """How fit a shard's nodes are; that may stay as it was when the shard's roles change."""
        if old is not None and old.record is record and not is_news:
            return old.fit
        before = old.fit if old is not None else NOT_KNOWN
        reads, health = self.boards.reads.get(setup.key), self.boards.health
        cluster = setup.key.cluster
        return fit_of(
            setup,
            record,
            reads,
            health,
            before,
            is_paused=is_paused(self.notebook.notes, cluster),
            is_unsynced=not self.synced.get(cluster, True),
            is_waited_for=self.is_waited_for,
            group=self.group(),
            why_unsealed=self.unsealed.get(setup.key),
        )

    async def _follow(self, name: str, now: _Served) -> float:
        served = self._served[name]
        if now is served and served.is_confirmed:
            return math.inf
        why = news_of(served.projection, now.projection)
        if served.is_confirmed and now.projection.is_told_by(served.projection):
            self._show(name, now)
            self._log(served.projection.topology, now.projection.topology, why)
            return math.inf
        try:
            await self._apply(name, now, why)
        except TimeoutError as error:
            self._complain(name, error)
            return LATE
        except (OSError, ValueError) as error:
            self._complain(name, error)
            return REFUSED
        self._troubles.pop(name, None)
        return math.inf

    def _acknowledge_others(self, records: Records, wanted: Mapping[str, _Served]) -> None:
        """Nobody is served a shard here that has no part in what is served: there is nothing to stop.

        While its cluster is not served as wanted, it may have one yet. Of one that is not followed either
        nothing is acknowledged: its changes are not known here.
        """
        ours = {part.key for served in self._served.values() for part in served.projection.parts}
        late = {name for name, now in wanted.items() if not self._is_as_wanted(name, now)}
        for key, record in records.items():
            if key not in ours and key.cluster not in late:
                self.applied.show(key, record.changed)
        for key in self.applied.keys() - ours - records.keys():
            self.applied.hide(key)

    def _is_as_wanted(self, name: str, wanted: _Served) -> bool:
        """Whether every worker serves the cluster so."""
        served = self._served[name]
        return served.is_confirmed and served.projection is wanted.projection

    def _show_careful(self, cluster: str, *, is_careful: bool) -> None:
        """Say a change once."""
        if is_careful == (cluster in self.careful):
            return
        if is_careful:
            self.careful.show(cluster, True)
            log.warning(
                "out of touch with the store",
                cluster=cluster,
                why="a primary may be replaced unseen: writes are confirmed by a replica, or refused",
            )
        else:
            self.careful.hide(cluster)
            log.info("in touch with the store again", cluster=cluster)

    def _complain(self, cluster: str, error: Exception) -> None:
        """Say what is new, once."""
        if self._troubles.get(cluster) != str(error):
            self._troubles[cluster] = str(error)
            log.error("not served as it should be", cluster=cluster, why=str(error))

    # --- what is configured ---

    async def _serve_all(self, wanted: Clusters, reason: str) -> dict[str, Endpoints]:
        """Serve all; one that fails is tried again after the others, which may free its address."""
        endpoints: dict[str, Endpoints] = {}
        while waiting := [name for name in wanted if name not in endpoints]:
            failed: list[ServeError] = []
            for name in waiting:
                try:
                    endpoints[name] = await self._serve(name, wanted[name], reason)
                except (OSError, ValueError, StoreUnavailableError) as error:
                    failed.append(ServeError(name, error))
            if len(failed) == len(waiting):
                raise failed[0]
        return endpoints

    async def _serve(self, name: str, settings: ClusterSettings, reason: str) -> Endpoints:
        deadline = trio.current_time() + SERVE_WITHIN
        pool = await self._pool(name, settings) if settings.config.kind is Engine.MEMCACHED else None
        while True:
            async with self._turn:
                try:
                    return await self._apply(name, pool or self._cluster(name, settings), reason)
                except TimeoutError:
                    if trio.current_time() >= deadline:
                        raise
            await trio.sleep(LATE)

    def _cluster(self, name: str, settings: ClusterSettings) -> _Served:
        records = dict(self.records)
        configured = Configured(settings, shard_setups(name, settings, records))
        served = self._served.get(name)
        before = served.projection if served is not None else Projection(Topology(name, Engine.REDIS, 0, ()))
        return self._project(
            name,
            _Served(configured, before),
            records,
            epochs_of(records).get(name, 0),
            is_news=True,
        )

    async def _pool(self, name: str, settings: ClusterSettings) -> _Served:
        """A cluster without records: numbered here, and told to clients that discover it."""
        try:
            return await self._numbered(name, settings, self.pools or self.notebook)
        except StoreUnavailableError as error:
            if name in self.topologies:
                raise
            log.warning("a pool is served without a note of its epoch", cluster=name, why=str(error))
            return await self._numbered(name, settings, MemoryNotes(self.notebook.notes))

    async def _numbered(self, name: str, settings: ClusterSettings, notebook: Notebook) -> _Served:
        topology = await topology_note(self.topologies.get(name), settings.config.topology(name), notebook)
        discovery = await layout_tell(settings, topology, notebook, self.peers_of(name))
        return _Served(Configured(settings), Projection(topology), discovery=discovery)

    async def _restore(self, before: Clusters, reason: str) -> None:
        """Serve again what was served before: possible then, so what is refused now is tried on and on."""
        served = self._settings()
        natures = {name: nature_of(settings) for name, settings in before.items()}
        await self._withdraw_all([n for n, of in served.items() if natures.get(n) != nature_of(of)], reason)
        try:
            await self._serve_all(self._missing(before), reason)
        except ServeError as error:
            log.error("not served as before", cluster=error.cluster, why=str(error.cause))
        self._lost = self._missing(before)

    async def _find_lost(self) -> float:
        """Try again to serve what could not be restored; seconds until the next try."""
        if self._lost and not self._changing.locked():
            async with self._changing:
                with contextlib.suppress(ServeError):  # as was said
                    await self._serve_all(self._lost, "undo, tried again")
                self._lost = self._missing(self._lost)
        return REFUSED if self._lost else math.inf

    def _missing(self, wanted: Clusters) -> dict[str, ClusterSettings]:
        served = self._settings()
        return {name: settings for name, settings in wanted.items() if served.get(name) != settings}

    def _settings(self) -> dict[str, ClusterSettings]:
        return {name: configured.settings for name, configured in self.clusters.items()}

    # --- the data plane ---

    async def _apply(self, name: str, wanted: _Served, why: str) -> Endpoints:
        """Have it served, in one's turn; what is served is shown, and acknowledged once all workers do."""
        projection = wanted.projection
        shards = [part.spec for part in projection.parts] if projection.parts else None
        settings = wanted.configured.settings
        wanted = replace(wanted, login=self.login(settings))
        spec = cluster_spec(
            settings,
            projection.topology,
            discovery=wanted.discovery,
            shards=shards,
            credentials=wanted.login,
        )
        records = [part.record for part in projection.parts if part.record is not None]
        applied, is_settled = [applied_of(record) for record in records], False
        before = self.topologies.get(name)
        try:
            if self._settling.waits(applied):  # clients wait by now, and mostly nothing is under way for long
                endpoints, is_settled = await self.dataplane.apply_settled(spec, AT_ONCE)
            else:
                endpoints = await self.dataplane.apply(spec)
        except TimeoutError:
            self._settling.forget(name)
            self._show(name, replace(wanted, is_confirmed=False))
            self._log(before, projection.topology, why)
            raise
        self._show(name, replace(wanted, is_confirmed=True))
        self._settling.served(name, applied, is_settled=is_settled)
        self._log(before, projection.topology, why)
        return endpoints

    def _show(self, name: str, served: _Served) -> None:
        topology = served.projection.topology
        self._served[name] = served
        self.clusters.show(name, served.configured)
        self.topologies.show(name, topology)
        parts = served.projection.parts
        _show_of(name, self.readable, {p.key: p.fit.readable for p in parts if p.fit.readable is not None})
        _show_of(name, self.asked, {p.key: True for p in parts if p.fit.is_asked})

    def _log(self, before: Topology | None, topology: Topology, why: str) -> None:
        """Say what is new, and which shards nobody serves."""
        if before == topology:
            return
        name = topology.cluster
        log.info("topology served", cluster=name, epoch=topology.epoch, why=why)
        known = {shard.number: shard.why_not for shard in before.shards if shard.is_refused} if before else {}
        for shard in topology.shards:
            if shard.is_refused and known.get(shard.number) != shard.why_not:
                log.error("shard not served", shard=f"{name}/{shard.label}", why=shard.why_not)

    async def _log_in(self, name: str, served: _Served) -> None:
        try:
            await self._apply(name, served, "logins renewed")
        except TimeoutError:
            self._news.ring()  # it is told again until every worker serves it
        except (OSError, ValueError) as error:
            raise ServeError(name, error) from error

    async def _withdraw_all(self, names: Iterable[str], reason: str) -> None:
        for name in names:
            async with self._turn:
                self.dataplane.remove(name)
                self._settling.forget(name)
                del self._served[name]
                self.clusters.hide(name)
                self.topologies.hide(name)
                self.careful.hide(name)
                _show_of(name, self.readable, {})
                _show_of(name, self.asked, {})
            log.info("cluster withdrawn", cluster=name, reason=reason)


def _show_of(cluster: str, board: Board[ShardKey, Known], known: Mapping[ShardKey, Known]) -> None:
    """Show what is known of a cluster's shards, and of no others of it."""
    for key in [key for key in board if key.cluster == cluster and key not in known]:
        board.hide(key)
    for key, value in known.items():
        board.show(key, value)
