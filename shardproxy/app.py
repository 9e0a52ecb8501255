"""Puts the services together: the only module that knows them all.

    signals ─> app ─> follower ─> data plane ─> commands (what it offloads)
                │        └── supervisor: health, failover ─> store
                └── status, boards ─> admin HTTP

Owns the process's life: start, reload, drain.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
import trio

from shardproxy.access.audit import Audit, why_not_written
from shardproxy.access.audited import run_access_audit, run_loss_audit
from shardproxy.access.build import Builder, LoginPlan, plans_read
from shardproxy.access.events import AccessFeed, run_access_feed
from shardproxy.access.http import Poster
from shardproxy.access.inbound import Inbound
from shardproxy.access.log import AclLogs, run_acl_logs
from shardproxy.access.verifiers import Verifiers
from shardproxy.admin.callers import Callers
from shardproxy.admin.listen import admin_close, admin_listen
from shardproxy.admin.status import Sources, Status, StatusBoard
from shardproxy.admin.tls import context_read
from shardproxy.commands.configured import settings_now
from shardproxy.commands.errands import AllTraffic, Errands
from shardproxy.commands.service import run_commands
from shardproxy.commands.table import Table
from shardproxy.config import Config, ConfigError, RedisCluster, SecretError, load_config
from shardproxy.config.files import FilesRead, Fingerprint
from shardproxy.config.restart import settings_waiting
from shardproxy.coordination.acks import run_acks
from shardproxy.coordination.fencer import AckFencer
from shardproxy.coordination.membership import members_alone
from shardproxy.dataplane import BoundEndpoint, DataPlane
from shardproxy.dataplane.cpus import cpu_count
from shardproxy.dataplane.descriptors import Wanted, descriptors_raise, descriptors_share, why_too_few
from shardproxy.dataplane.tls import TlsError
from shardproxy.failover.controller import Inputs
from shardproxy.failover.controls import Controls
from shardproxy.failover.events import EventLog
from shardproxy.failover.setup import FailoverSettings
from shardproxy.health.monitor import Boards
from shardproxy.health.pool import run_pool_log
from shardproxy.model import Address, Engine
from shardproxy.model.board import Board
from shardproxy.nodes import LinkTimeouts, NodeLinks, OpenLinks
from shardproxy.store.kept import KeptFile
from shardproxy.store.local import LocalStore, StateFileError
from shardproxy.store.place import state_path
from shardproxy.topology.certificates import certificates_of, warn_of_certificates
from shardproxy.topology.files import run_files_watch
from shardproxy.topology.follower import Endpoints, Follower
from shardproxy.topology.growth import run_growth_log, warn_of_growth
from shardproxy.topology.keys import why_not_served
from shardproxy.topology.logins import Logins
from shardproxy.topology.modes import why_not_fit
from shardproxy.topology.refusal import REFUSALS, Refusal, explain, problems, why_refused
from shardproxy.topology.reload import Clusters, KeysHiddenError, NodesUnfitError, ServeError, reload_plan
from shardproxy.topology.renewal import run_renewal
from shardproxy.topology.settings import SettingsError, settings_read
from shardproxy.topology.supervisor import Supervisor, run_always
from shardproxy.topology.tokens import NodeTokens
from shardproxy.topology.user_changes import Changes, changes_decode
from shardproxy.topology.users import UserBook
from shardproxy.topology.verified import kind_of

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
PROBE_TIMEOUTS = LinkTimeouts(connect=0.5, reply=1.0)
DRAIN_POLL = 0.02  # seconds between looks at how many clients are left

log = structlog.get_logger()

Signals = AsyncIterator[int]


class StartError(Exception):
    """Why the proxy cannot start, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a started proxy listens."""

    endpoints: Mapping[str, tuple[BoundEndpoint, ...]]
    admin: Address


async def run_app(
    config: Config,
    *,
    config_path: Path | None = None,
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until a signal ends it; raise StartError when it cannot start."""
    table = Table.load()
    files = FilesRead(config.source.directory)
    try:
        read = _all_read(config, table, files)
    except SettingsError as error:
        raise StartError(str(error)) from error
    audit = Audit(config.audit.log if config.audit is not None else None)
    if audit.place is not None and (why := why_not_written(audit.place)) is not None:
        raise StartError(why)
    with (
        trio.open_signal_receiver(*SIGNALS) as signals,
        _listening(config.admin) as listener,
        _state(config, config_path) as store,
    ):
        kept = KeptFile(store.path.with_name(store.path.name + ".users"))
        changes = _user_changes(kept)
        dataplane = _start_dataplane(config, table)
        try:
            app = App(config, config_path, table, dataplane, listener, store, read, audit, kept, changes)
            await app.run(read.settings, files.seen, signals, task_status)
        finally:
            dataplane.stop()


class App:
    """One running proxy: its services, and what it does when it starts and when a signal comes."""

    def __init__(
        self,
        config: Config,
        config_path: Path | None,
        table: Table,
        dataplane: DataPlane,
        listener: socket.socket,
        store: LocalStore,
        read: AllRead,
        audit: Audit,
        kept: KeptFile,
        changes: Mapping[str, Changes],
    ) -> None:
        self._started = self._config = config
        self._config_path = config_path
        self._table = table
        self._dataplane = dataplane
        self._listener = listener
        self._store = store
        self._audit = audit
        self._status = StatusBoard(
            Status(
                tuple(config.clusters),
                names=_admin_names(config),
                callers=read.callers,
                tls=read.admin_tls,
                inbound=_admin_inbound(config),
            )
        )
        self._boards = Boards()
        controls = Controls()
        tokens = NodeTokens()
        self._follower = Follower(
            dataplane, store.records, store, self._boards, controls.paused, tokens.credentials
        )
        self._logins = Logins(self._follower.clusters, self._follower.topologies, tokens.credentials)
        self._links = OpenLinks(login=self._logins.find, tls=self._logins.find_tls, timeouts=PROBE_TIMEOUTS)
        fencer = AckFencer(store, members_alone(store.member))
        events = EventLog(store.journal)
        self._inputs = Inputs(Board(), self._boards.health, store, self._links, fencer, events, controls)
        self._errands = Errands()
        self._traffic = AllTraffic(dataplane, self._errands, table)
        self._supervisor = Supervisor(
            self._follower.clusters,
            self._inputs,
            self._boards,
            self._links.connect,
            FailoverSettings(zone=config.zone),
            self._traffic,
            ledger=store,
            links=self._links_of,
        )
        self._failover = trio.CancelScope()
        self._users = UserBook(kept, changes, self._follower.serve, self._reread, audit)
        self._files: Mapping[Path, Fingerprint] = {}  # that settings were read from
        self._why_refused: list[str] = []
        self._poster = Poster()
        self._verifiers = Verifiers(partial(kind_of, self._follower.clusters), audit=audit)
        self._builder = Builder(self._poster.post, self._verifiers.statistics)
        self._verifiers.replace(self._builder.build(read.logins))
        self._feed = AccessFeed()
        self._refusals = AclLogs()

    async def run(
        self,
        settings: Clusters,
        files: Mapping[Path, Fingerprint],
        signals: Signals,
        task_status: trio.TaskStatus[Serving],
    ) -> None:
        failure: StartError | None = None
        self._files = files
        async with trio.open_nursery() as nursery:
            try:
                await self._start(settings, nursery)
            except StartError as error:
                failure = error  # raised outside, where it is not in a group
            else:
                task_status.started(Serving(self._status.now.endpoints, _bound_address(self._listener)))
                await self._obey(signals)
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _start(self, settings: Clusters, nursery: trio.Nursery) -> None:
        """Listen first; what only the admin pages need is imported after that."""
        try:
            async with self._users.turn:
                endpoints = await self._serve(self._users.laid_over(settings), "start")
                await self._users.take(self._config, settings)
        except (KeysHiddenError, NodesUnfitError) as error:
            raise StartError(str(error)) from error
        except ServeError as error:
            raise StartError(f"cluster {error.cluster}: {explain(error.cause)}") from error
        self._log_endpoints(endpoints)
        self._status.change(endpoints=endpoints, certificates=certificates_of(settings), starting=True)
        warn_of_certificates(settings)
        for cluster in sorted(self._store.paused & settings.keys()):
            self._inputs.controls.pause(cluster)
            log.warning("automatic failover is paused, as before the restart", cluster=cluster)
        nursery.start_soon(run_always, "follower", self._follower.run)
        nursery.start_soon(run_always, "renewal of logins to nodes", partial(run_renewal, self._follower))
        nursery.start_soon(run_acks, self._follower.applied, self._store)
        nursery.start_soon(run_acl_logs, self._feed.listen(), self._refusals)
        if self._audit.place is not None:
            told = self._feed.listen()
            nursery.start_soon(run_access_audit, told, self._audit)
            nursery.start_soon(run_loss_audit, lambda: self._dataplane.accesses_lost + told.lost, self._audit)
        nursery.start_soon(run_access_feed, self._dataplane.access_events, self._feed)
        watch = partial(run_files_watch, lambda: self._files, self._reload_files)
        nursery.start_soon(run_always, "files", watch)
        await nursery.start(self._run_commands)
        await nursery.start(self._run_failover)
        nursery.start_soon(run_always, "audit", self._audit.run)
        nursery.start_soon(run_pool_log, self._dataplane.down)
        nursery.start_soon(run_growth_log, self._dataplane.statistics)
        from shardproxy.admin.server import run_admin

        sources = Sources(
            self._status,
            self._dataplane.statistics,
            self._dataplane.clients,
            self._follower.topologies,
            self._inputs.setups,
            self._store.records,
            self._boards,
            self._inputs.events,
            self._inputs.controls,
            self._store.note_paused,
            self._dataplane.down,
            self._store.statistics,
            self._traffic.standing,
            self._audit,
            self._verifiers.statistics,
            self._supervisor.sources,
        )
        await nursery.start(run_admin, self._listener, sources)
        await self._follower.wait_known()
        if (refused := why_refused(self._follower.topologies)) is not None:
            raise StartError(refused)
        if self._follower.undecided:
            nursery.start_soon(self._get_ready)
        else:
            self._be_ready()

    async def _get_ready(self) -> None:
        """Once those who decide about clusters have said who is primary, however long that takes."""
        for cluster in self._follower.undecided:
            source = self._supervisor.sources.get(cluster)
            why = source.status.trouble if source is not None else None
            log.warning("not ready yet", cluster=cluster, why=why or "who is primary was not found out yet")
        await self._follower.wait_decided()
        self._be_ready()

    def _be_ready(self) -> None:
        self._status.change(starting=False)
        log.info("ready", admin=str(_bound_address(self._listener)))

    def _links_of(self, cluster: str) -> NodeLinks:
        """Connections to nodes of a cluster, be they in its topology or not."""
        login, tls = partial(self._logins.find, cluster), partial(self._logins.find_tls, cluster)
        return NodeLinks(credentials=login, tls=tls, timeouts=PROBE_TIMEOUTS)

    async def _serve(self, settings: Clusters, reason: str) -> dict[str, Endpoints]:
        """Raise KeysHiddenError, NodesUnfitError or ServeError; what was served before then still is."""
        if (why := await why_not_served(settings, self._store.records)) is not None:
            raise KeysHiddenError(why)
        if (why := await why_not_fit(settings, self._store.records)) is not None:
            raise NodesUnfitError(why)
        return await self._follower.serve(settings, reason)

    async def _run_commands(self, *, task_status: trio.TaskStatus[None]) -> None:
        login, tls = partial(self._logins.find, None), partial(self._logins.find_tls, None)
        async with NodeLinks(credentials=login, tls=tls) as links, self._poster:
            await run_commands(
                self._dataplane,
                self._follower.topologies,
                links,
                table=self._table,
                settings_of=partial(settings_now, self._follower.clusters),
                readable=self._follower.readable,
                errands=self._errands,
                users=self._users,
                refusals=self._refusals,
                verifiers=self._verifiers,
                task_status=task_status,
            )

    async def _run_failover(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Until draining; then another process may use the state file."""
        with self._failover:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._links.run)
                await self._supervisor.run(self._dataplane.hints, task_status=task_status)
        self._store.close()

    async def _obey(self, signals: Signals) -> None:
        async for number in signals:
            if number == signal.SIGHUP and self._config_path is not None:
                await self._reload(self._config_path)
            else:  # without a file SIGHUP means what it means to any program: the terminal is gone
                await self._drain(signals, signal.Signals(number).name)
                return

    async def _reload(self, path: Path) -> None:
        """Read the config file and all it names again."""
        try:
            config = await trio.to_thread.run_sync(load_config, path)
            async with self._users.turn:
                await self._take(config, "reload")
        except REFUSALS as error:
            self._refuse(str(path), error)

    async def _reload_files(self, changed: list[Path]) -> None:
        """Read what the config names again, as some of it has changed."""
        try:
            async with self._users.turn:
                await self._take(self._config, "files changed")
        except REFUSALS as error:
            if isinstance(error, SettingsError) or problems(error) != self._why_refused:
                self._refuse(", ".join(map(str, changed)), error)  # of others that are tried again, once

    async def _reread(self, forget: str) -> None:
        """The same for a client, in whose turn it is; changes of that cluster's users are forgotten."""
        await self._take(self._config, "users loaded", forget)

    def _refuse(self, file: str, error: Refusal) -> None:
        self._why_refused = problems(error)
        self._status.change(reloads_refused=self._status.now.reloads_refused + 1)
        log.error("config refused, the old one stays", file=file, why=self._why_refused)

    async def _take(self, config: Config, reason: str, forget: str | None = None) -> None:
        """Read all that a config names, and serve it; raise a refusal, and then what was served still is."""
        before = {name: configured.settings for name, configured in self._follower.clusters.items()}
        files = FilesRead(config.source.directory)
        try:
            read = await trio.to_thread.run_sync(_all_read, config, self._table, files)
            settings = read.settings
            now = self._users.laid_over(settings, forget)
            served = await self._serve(now, reason)
        except SettingsError:
            if config is self._config:  # of another one nothing is served: what has changed was not read yet
                self._files = {**self._files, **files.seen}  # once one changes, it is worth another look
            raise
        self._verifiers.replace(self._builder.build(read.logins))
        self._files = files.seen
        self._why_refused = []
        await self._users.take(config, settings, forget)
        self._config = config
        self._log_endpoints(served)
        known = self._status.now.endpoints
        self._status.change(
            clusters=tuple(settings),
            endpoints={name: served.get(name) or known[name] for name in settings},
            names=_admin_names(config),
            callers=read.callers,
            tls=read.admin_tls,
            inbound=_admin_inbound(config),
            certificates=certificates_of(settings),
            reloads=self._status.now.reloads + 1,
        )
        warn_of_certificates({name: settings[name] for name in reload_plan(before, settings).serve})
        _share_descriptors(self._dataplane, config, _workers(self._started))
        plan = reload_plan(before, now)
        withdrawn = sorted(set(before) - set(now))
        log.info("config reloaded", why=reason, changed=plan.serve, withdrawn=withdrawn)
        warn_of_growth(before, now, self._dataplane.statistics())
        for what in settings_waiting(self._started, config):
            log.warning("setting waits for a restart", setting=what)

    async def _drain(self, signals: Signals, why: str) -> None:
        """Let clients have the replies of what they sent, until the deadline or a second signal."""
        deadline = self._config.timeouts.drain
        self._status.change(draining=True)
        log.info("draining", why=why, clients=self._dataplane.statistics().clients, deadline=deadline)
        self._failover.cancel()
        self._dataplane.drain()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, signals, nursery.cancel_scope)
            with trio.move_on_after(deadline):
                while self._dataplane.statistics().clients:  # noqa: ASYNC110  # counters have no event
                    await trio.sleep(DRAIN_POLL)
            nursery.cancel_scope.cancel()
        left = self._dataplane.statistics().clients
        if left:
            log.warning("clients cut off", clients=left, why="second signal or deadline")
        log.info("stopped")

    def _log_endpoints(self, served: Mapping[str, Endpoints]) -> None:
        for name, endpoints in served.items():
            if endpoints != self._status.now.endpoints.get(name):
                log.info("listening", cluster=name, endpoints=[str(e.bound) for e in endpoints])


def _workers(config: Config) -> int:
    return cpu_count() if config.workers == "auto" else config.workers


def _start_dataplane(config: Config, table: Table) -> DataPlane:
    workers = _workers(config)
    try:
        dataplane = DataPlane.start(workers=workers, table=table.encode(), buffers=config.limits.buffers)
    except ValueError as error:
        raise StartError(f"the data plane: {error}") from error
    _share_descriptors(dataplane, config, workers)
    return dataplane


def _share_descriptors(dataplane: DataPlane, config: Config, workers: int) -> None:
    """Refuse clients there are no descriptors for: they would wait for ever, and probes behind them."""
    available, wanted = descriptors_raise(), _wanted(config, workers)
    share = descriptors_share(available, wanted)
    dataplane.limit(clients=share.clients, dedicated=share.dedicated)
    too_few = why_too_few(available, wanted)
    if too_few and share.clients < wanted.clients:
        log.warning("limit of clients lowered", clients=share.clients, why=too_few)
    if too_few and share.dedicated < wanted.own:
        log.warning("limit of dedicated connections lowered", dedicated=share.dedicated, why=too_few)


def _wanted(config: Config, workers: int) -> Wanted:
    limits = [cluster.limits.clients for cluster in config.clusters.values()]
    topologies = config.topologies()
    redis = [topology for topology in topologies if topology.engine is Engine.REDIS]
    return Wanted(
        clients=sum(limits) if all(limits) else 0,
        dedicated=sum(len(t.nodes) * config.clusters[t.cluster].limits.dedicated for t in redis),
        nodes=sum(len(topology.nodes) for topology in topologies),
        shards=sum(len(topology.shards) for topology in redis),
        workers=workers,
    )


def _user_changes(kept: KeptFile) -> Mapping[str, Changes]:
    """What clients changed of users before the process was restarted."""
    try:
        values = kept.read()
        try:
            return changes_decode(values)
        except (ValueError, KeyError, TypeError) as error:
            raise kept.damaged(error) from error
    except StateFileError as error:
        raise StartError(f"changes of users: {error}") from error


@contextlib.contextmanager
def _listening(address: Address) -> Iterator[socket.socket]:
    try:
        listener = admin_listen(address)
    except OSError as error:
        raise StartError(f"admin address {address}: {explain(error)}") from error
    try:
        yield listener
    finally:
        admin_close(listener)


@contextlib.contextmanager
def _state(config: Config, config_path: Path | None) -> Iterator[LocalStore]:
    """The state file; one that goes with the process where nothing needs to be remembered."""
    with contextlib.ExitStack() as stack:
        path = Path(config.state) if config.state is not None else None
        if path is None and config_path is not None:
            path = state_path(config_path)
        try:
            if path is not None:
                store = stack.enter_context(LocalStore(path))
                log.info("state", file=str(path))
        except StateFileError as error:
            if any(isinstance(cluster, RedisCluster) for cluster in config.clusters.values()):
                raise StartError(f"the state file: {error}, or name another file with state:") from error
            path = None
        if path is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="shardproxy-state-"))
            store = stack.enter_context(LocalStore(Path(directory) / "state.json"))
        yield store


@dataclass(frozen=True, slots=True)
class AllRead:
    """What a config and the files it names say."""

    settings: Clusters
    callers: Callers
    logins: tuple[LoginPlan, ...]  # how some are verified
    admin_tls: ssl.SSLContext | None  # what the admin API speaks, if not plain HTTP


def _all_read(config: Config, table: Table, files: FilesRead) -> AllRead:
    """Read all that a config names, now; raise SettingsError. In `files` is noted what was read."""
    settings = settings_read(config, table.version, files=files)
    return AllRead(
        settings, callers_read(config, files), logins_read(config, files), admin_tls_read(config, files)
    )


def logins_read(config: Config, files: FilesRead) -> tuple[LoginPlan, ...]:
    """Read the key stores now; raise SettingsError."""
    try:
        return plans_read(config, files)
    except ConfigError as error:
        raise SettingsError(tuple(error.reasons)) from error


def admin_tls_read(config: Config, files: FilesRead) -> ssl.SSLContext | None:
    """Read what the admin API speaks TLS with; raise SettingsError."""
    try:
        return context_read(config.admin_access.tls if config.admin_access is not None else None, files)
    except TlsError as error:
        raise SettingsError(tuple(f"admin_access.tls: {why}" for why in error.reasons)) from error


def callers_read(config: Config, files: FilesRead) -> Callers:
    """Read the tokens of the admin API now; raise SettingsError."""
    for token in config.admin_access.tokens if config.admin_access is not None else ():
        if token.file is not None:
            files.note(token.file)
    try:
        return Callers.read(config.admin_access)
    except SecretError as error:
        raise SettingsError((f"admin_access: {error}",)) from error


def _admin_names(config: Config) -> tuple[str, ...]:
    """The names under which the admin API may be asked."""
    return (*config.admin_names, *([config.admin.host] if config.admin.host else []))


def _admin_inbound(config: Config) -> Inbound | None:
    """From where the admin API may be asked; None: from anywhere."""
    names = config.admin_access.inbound if config.admin_access is not None else ()
    return Inbound.of_admin(config.inbound(names)) if names else None


def _bound_address(listener: socket.socket) -> Address:
    name = listener.getsockname()
    return Address(path=name) if isinstance(name, str) else Address(host=name[0], port=name[1])


async def _cancel_on_signal(signals: Signals, scope: trio.CancelScope) -> None:
    async for number in signals:
        if number != signal.SIGHUP:
            scope.cancel()
            return
