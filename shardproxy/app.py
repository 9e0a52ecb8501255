"""Puts the services together: the only module that knows them all.

    signals ─> app ─> publisher ─> data plane ─> commands (what it offloads)
                │         └── supervisor: health, failover ─> state file
                └── status, board ─> admin HTTP

Owns the process's life: start, reload, drain.
"""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
import trio

from shardproxy import nodes
from shardproxy.admin.listen import admin_close, admin_listen
from shardproxy.admin.status import Sources, Status
from shardproxy.commands.call import Settings as CommandSettings
from shardproxy.commands.service import run_commands
from shardproxy.commands.table import Table
from shardproxy.config import Config, ConfigError, RedisCluster, load_config
from shardproxy.dataplane import BoundEndpoint, DataPlane
from shardproxy.dataplane.cpus import cpu_count
from shardproxy.dataplane.descriptors import clients_at_most, descriptors_raise, why_too_few
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.health.pool import run_pool_log
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.store.local import LocalStore, StateFileError
from shardproxy.store.place import state_path
from shardproxy.topology.board import TopologyBoard
from shardproxy.topology.publisher import INBOX_CAPACITY, Facts, Proposal, Withdrawal, run_publisher
from shardproxy.topology.reload import ServeError, clusters_swap, reload_plan
from shardproxy.topology.settings import SettingsError, settings_read
from shardproxy.topology.supervisor import Desk, Supervisor, Surroundings

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
PROBE_TIMEOUTS = nodes.LinkTimeouts(connect=0.5, reply=1.0)
DRAIN_POLL = 0.02  # seconds between looks at how many clients are left

ADVICE = {
    errno.EADDRINUSE: "another process listens there: stop it, or choose a free address",
    errno.EADDRNOTAVAIL: "this machine has no such address: choose one it has, or 0.0.0.0 for all",
    errno.EACCES: "choose a port from 1024 up, or a directory this user may write to",
    errno.ENOENT: "create the directory of the unix socket first",
}

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
    try:
        settings = settings_read(config, table.version)
    except SettingsError as error:
        raise StartError(str(error)) from error
    with (
        trio.open_signal_receiver(*SIGNALS) as signals,
        _listening(config.admin) as listener,
        _state(config, config_path) as store,
    ):
        dataplane = _start_dataplane(config, table)
        try:
            app = App(config, config_path, table, settings, dataplane, listener, store)
            await app.run(signals, task_status)
        finally:
            dataplane.stop()


class App:
    """One running proxy: what is configured now, and the services that serve it."""

    def __init__(
        self,
        config: Config,
        config_path: Path | None,
        table: Table,
        settings: Mapping[str, ClusterSettings],
        dataplane: DataPlane,
        listener: socket.socket,
        store: LocalStore,
    ) -> None:
        self._started = self._config = config
        self._config_path = config_path
        self._table = table
        self._settings = settings
        self._dataplane = dataplane
        self._listener = listener
        self._store = store
        self._desk = Desk()
        for cluster in sorted(store.paused & settings.keys()):
            self._desk.controls.pause(cluster)
            log.warning("automatic failover is paused, as before the restart", cluster=cluster)
        self._failover = trio.CancelScope()
        self._board = TopologyBoard()
        self._status = Status(clusters=tuple(settings), names=_admin_names(config))
        self._inbox, self._requests = trio.open_memory_channel[Proposal | Withdrawal](INBOX_CAPACITY)
        self._control_links = nodes.NodeLinks(credentials=self._credentials_of, timeouts=PROBE_TIMEOUTS)
        around = Surroundings(
            store, self._control_links, self._connect, self._inbox, self._board, self._started.zone
        )
        self._supervisor = Supervisor(around, self._desk)

    async def run(self, signals: Signals, task_status: trio.TaskStatus[Serving]) -> None:
        failure: StartError | None = None
        async with trio.open_nursery() as nursery:
            try:
                await self._start(nursery)
            except StartError as error:
                failure = error  # raised outside, where it is not in a group
            else:
                task_status.started(Serving(self._status.endpoints, _bound_address(self._listener)))
                await self._obey(signals)
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _start(self, nursery: trio.Nursery) -> None:
        """Listen first; what only the admin pages need is imported after that."""
        facts = Facts(self._desk.readable, self._store)
        await nursery.start(run_publisher, self._dataplane, self._board, self._requests, facts)
        try:
            endpoints = await clusters_swap(
                self._inbox, self._board, {}, self._settings, "start", self._store.records
            )
        except ServeError as error:
            raise StartError(f"cluster {error.cluster}: {_explain(error.cause)}") from error
        self._log_endpoints(endpoints)
        self._status = replace(self._status, endpoints=endpoints, starting=True)
        await nursery.start(self._run_commands)
        await nursery.start(self._run_failover)
        nursery.start_soon(run_pool_log, self._dataplane.down)
        from shardproxy.admin.server import run_admin

        sources = Sources(
            lambda: self._status,
            self._dataplane.statistics,
            self._dataplane.clients,
            self._board,
            self._desk,
            self._store.records,
            self._store.note_paused,
            self._dataplane.down,
        )
        await nursery.start(run_admin, self._listener, sources)
        await self._supervisor.wait_known()
        self._status = replace(self._status, starting=False)
        log.info("ready", admin=str(_bound_address(self._listener)))

    async def _run_commands(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with nodes.NodeLinks(credentials=self._credentials_of) as links:
            await run_commands(
                self._dataplane,
                self._board,
                links,
                table=self._table,
                settings_of=self._settings_of,
                readable=self._desk.readable,
                task_status=task_status,
            )

    async def _run_failover(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Until draining; then another process may use the state file."""
        self._supervisor.follow(self._settings)
        async with self._control_links:
            with self._failover:
                await self._supervisor.run(self._dataplane.hints, task_status=task_status)
        self._store.close()

    def _connect(self, key: ShardKey, address: Address) -> nodes.NodeLink:
        def credentials() -> nodes.Credentials | None:
            settings = self._settings.get(key.cluster)
            given = settings.credentials if settings else None
            return nodes.Credentials(given.password, given.username) if given else None

        return nodes.NodeLink(address, credentials=credentials, timeouts=PROBE_TIMEOUTS)

    def _credentials_of(self, address: Address) -> nodes.Credentials | None:
        """Find what the cluster of that node logs in with."""
        for name, topology in self._board.items():
            settings = self._settings.get(name)
            if settings and settings.credentials and any(node.address == address for node in topology.nodes):
                return nodes.Credentials(settings.credentials.password, settings.credentials.username)
        return None

    def _settings_of(self, cluster: str) -> CommandSettings:
        settings = self._settings.get(cluster)
        if settings is None or not isinstance(settings.config, RedisCluster):
            return CommandSettings()
        endpoints = settings.config.endpoints
        writable = endpoints.primary or endpoints.configuration
        primary = writable.addresses[0] if writable else None
        park = settings.config.timeouts.park
        return CommandSettings(endpoints.configuration, primary, settings.config.commands, park)

    async def _obey(self, signals: Signals) -> None:
        async for number in signals:
            if number == signal.SIGHUP and self._config_path is not None:
                await self._reload(self._config_path)
            else:  # without a file SIGHUP means what it means to any program: the terminal is gone
                await self._drain(signals, signal.Signals(number).name)
                return

    async def _reload(self, path: Path) -> None:
        try:
            config = await trio.to_thread.run_sync(load_config, path)
            settings = settings_read(config, self._table.version)
            plan = reload_plan(self._settings, settings)
            served = await clusters_swap(
                self._inbox, self._board, self._settings, settings, "reload", self._store.records
            )
        except (ConfigError, SettingsError, ServeError) as error:
            self._status = replace(self._status, reloads_refused=self._status.reloads_refused + 1)
            log.error("config refused, the old one stays", file=str(path), why=_problems(error))
            return
        self._config, self._settings = config, settings
        self._supervisor.follow(settings)
        endpoints = {name: served.get(name) or self._status.endpoints[name] for name in settings}
        self._log_endpoints(served)
        self._status = replace(
            self._status,
            clusters=tuple(settings),
            endpoints=endpoints,
            names=_admin_names(config),
            reloads=self._status.reloads + 1,
        )
        _limit_clients(self._dataplane, config, _workers(self._started))
        withdrawn = sorted(set(plan.withdraw_first + plan.withdraw_last) - set(settings))
        log.info("config reloaded", changed=plan.serve, withdrawn=withdrawn)
        for what in _needs_restart(self._started, config):
            log.warning("setting waits for a restart", setting=what)

    async def _drain(self, signals: Signals, why: str) -> None:
        """Let clients have the replies of what they sent, until the deadline or a second signal."""
        deadline = self._config.timeouts.drain
        self._status = replace(self._status, draining=True)
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

    def _log_endpoints(self, served: Mapping[str, tuple[BoundEndpoint, ...]]) -> None:
        for name, endpoints in served.items():
            if endpoints != self._status.endpoints.get(name):
                log.info("listening", cluster=name, endpoints=[str(e.bound) for e in endpoints])


def _workers(config: Config) -> int:
    return cpu_count() if config.workers == "auto" else config.workers


def _start_dataplane(config: Config, table: Table) -> DataPlane:
    workers = _workers(config)
    try:
        dataplane = DataPlane.start(workers=workers, table=table.encode(), buffers=config.limits.buffers)
    except ValueError as error:
        raise StartError(f"the data plane: {error}") from error
    _limit_clients(dataplane, config, workers)
    return dataplane


def _limit_clients(dataplane: DataPlane, config: Config, workers: int) -> None:
    """Refuse clients there are no descriptors for: they would wait for ever, and probes behind them."""
    clients = sum(cluster.limits.clients for cluster in config.clusters.values())
    nodes = sum(len(topology.nodes) for topology in config.topologies())
    available = descriptors_raise()
    most = clients_at_most(available, nodes, workers)
    dataplane.limit_clients(most)
    too_few = why_too_few(available, clients, nodes, workers)
    if too_few and most < clients:
        log.warning("limit of clients lowered", clients=most, why=too_few)


@contextlib.contextmanager
def _listening(address: Address) -> Iterator[socket.socket]:
    try:
        listener = admin_listen(address)
    except OSError as error:
        raise StartError(f"admin address {address}: {_explain(error)}") from error
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


def _admin_names(config: Config) -> tuple[str, ...]:
    """The names under which the admin API may be asked."""
    return (*config.admin_names, *([config.admin.host] if config.admin.host else []))


def _bound_address(listener: socket.socket) -> Address:
    name = listener.getsockname()
    return Address(path=name) if isinstance(name, str) else Address(host=name[0], port=name[1])


def _explain(error: Exception) -> str:
    """Say what is wrong, and what to do about it where that is known."""
    number = error.errno if isinstance(error, OSError) else None
    what = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return f"{what} ({ADVICE[number]})" if number in ADVICE else what


def _problems(error: ConfigError | SettingsError | ServeError) -> list[str]:
    if isinstance(error, ConfigError):
        return [problem.text(error.source) for problem in error.problems]
    if isinstance(error, SettingsError):
        return list(error.reasons)
    return [f"cluster {error.cluster}: {_explain(error.cause)}"]


def _needs_restart(started: Config, config: Config) -> Iterator[str]:
    """Name the settings that differ from those the process was started with and cannot be changed in it."""
    if config.workers != started.workers:
        yield "workers"
    if config.admin != started.admin:
        yield "admin"
    if config.limits != started.limits:
        yield "limits"
    if config.log != started.log:
        yield "log"
    if config.state != started.state:
        yield "state"
    if config.zone != started.zone:
        yield "zone"


async def _cancel_on_signal(signals: Signals, scope: trio.CancelScope) -> None:
    async for number in signals:
        if number != signal.SIGHUP:
            scope.cancel()
            return
