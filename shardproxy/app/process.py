"""One running process: starts its services, reloads, drains."""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog
import trio

from shardproxy import __version__
from shardproxy.access.audit import Audit
from shardproxy.access.audited import run_access_audit, run_loss_audit
from shardproxy.access.build import Builder
from shardproxy.access.events import AccessFeed, run_access_feed
from shardproxy.access.http import Poster
from shardproxy.access.log import AclLogs, run_acl_logs
from shardproxy.access.verifiers import Verifiers
from shardproxy.admin.health import why_not_live
from shardproxy.admin.status import Sources, Status, StatusBoard
from shardproxy.app.coordinating import Coordination
from shardproxy.app.describing import endpoints_said, own_host, reached
from shardproxy.app.handover import NotNowError, offered, run_handover, takeover_end
from shardproxy.app.inheritance import Inheritance, Inherited
from shardproxy.app.moving import Moving, Tools
from shardproxy.app.notify import Notifier
from shardproxy.app.orders import Orders
from shardproxy.app.reading import AllRead, admin_inbound, admin_names, all_read
from shardproxy.app.starting import Serving, StartError, bound_address, descriptors_give, workers_of
from shardproxy.commands.configured import settings_now
from shardproxy.commands.errands import AllTraffic, Errands
from shardproxy.commands.service import run_commands
from shardproxy.commands.table import Table
from shardproxy.config import Config, load_config
from shardproxy.config.files import FilesRead, Fingerprint
from shardproxy.config.restart import settings_waiting
from shardproxy.coordination.fencer import AckFencer
from shardproxy.coordination.lease import Lessor
from shardproxy.coordination.votes import VotesOfMembers, run_votes
from shardproxy.dataplane import DataPlane
from shardproxy.failover.controller import Inputs
from shardproxy.failover.setup import FailoverSettings, ShardSetup
from shardproxy.health.monitor import Boards
from shardproxy.health.pool import run_pool_log
from shardproxy.jobs.statistics import JobStatistics
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import LinkTimeouts, NodeLinks, OpenLinks
from shardproxy.store.interface import Store
from shardproxy.store.local import LocalStore
from shardproxy.store.local.link import Link
from shardproxy.store.member import Member
from shardproxy.store.memory import MemoryNotes
from shardproxy.store.notes import is_paused
from shardproxy.topology.certificates import certificates_of, warn_of_certificates
from shardproxy.topology.discovery import Finder
from shardproxy.topology.files import run_files_watch
from shardproxy.topology.follower import Endpoints, Follower
from shardproxy.topology.growth import run_growth_log, warn_of_growth
from shardproxy.topology.keys import why_not_served
from shardproxy.topology.logins import Logins
from shardproxy.topology.modes import why_not_fit
from shardproxy.topology.refusal import REFUSALS, Refusal, explain, problems, why_refused
from shardproxy.topology.reload import Clusters, KeysHiddenError, NodesUnfitError, ServeError, reload_plan
from shardproxy.topology.renewal import run_renewal
from shardproxy.topology.retelling import run_retelling
from shardproxy.topology.settings import SettingsError
from shardproxy.topology.slots import warn_of_slots
from shardproxy.topology.supervisor import Supervisor, run_always
from shardproxy.topology.tokens import NodeTokens
from shardproxy.topology.users import UserBook
from shardproxy.topology.verified import kind_of

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
PROBE_TIMEOUTS = LinkTimeouts(connect=0.5, reply=1.0)
DRAIN_POLL = 0.02  # seconds between looks at how many clients are left

log = structlog.get_logger()
IDLE = (
    0.25  # seconds; longer than a busy client is idle: closed as it sends something, it would hear no answer
)
FAREWELL = 1.0  # seconds
MAX_STATUS = 200  # characters


class App:
    """One running proxy: its services, and what it does when it starts and when a signal comes."""

    def __init__(
        self,
        config: Config,
        config_path: Path | None,
        table: Table,
        dataplane: DataPlane,
        listener: socket.socket,
        store: Store,
        read: AllRead,
        audit: Audit,
        finder: Finder,
        inheritance: Inheritance,
        handover: Path | None,
    ) -> None:
        self._finder = finder
        self._started = self._config = config
        self._config_path = config_path
        self._table = table
        self._dataplane = dataplane
        self._listener = listener
        self._admin_address = bound_address(listener)
        self._admin = trio.CancelScope()
        self._inheritance = inheritance
        self._handover = handover
        self._notifier = Notifier()
        self._orders = Orders()
        self._store = store
        self._audit = audit
        self._status = StatusBoard(
            Status(
                tuple(config.clusters),
                names=admin_names(config),
                callers=read.callers,
                tls=read.admin_tls,
                inbound=admin_inbound(config),
            )
        )
        self._boards = Boards()
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._host = own_host()
        self._coming = frozenset(config.clusters)  # about to be served
        self._coordination = Coordination(config, store, self._describe)
        tokens = NodeTokens()
        self._follower = Follower(
            dataplane,
            store.records,
            store,
            self._boards,
            tokens.credentials,
            store.synced,
            self._coordination.peers,
            None if self._coordination.is_member else MemoryNotes(),
            self._coordination.is_member,
        )
        self._logins = Logins(self._follower.clusters, self._follower.topologies, tokens.credentials)
        self._links = OpenLinks(login=self._logins.find, tls=self._logins.find_tls, timeouts=PROBE_TIMEOUTS)
        setups: Board[ShardKey, ShardSetup] = Board()
        fencer = AckFencer(store, self._follower.applied, setups)
        events, witnesses = self._coordination.events, VotesOfMembers(store)
        self._inputs = Inputs(setups, self._boards.health, store, self._links, fencer, events, witnesses)
        self._moving = Moving(
            Tools(
                store,
                setups,
                store.records,
                self._boards.health,
                self._follower.clusters,
                self._links,
                self._links_of,
                tokens,
                events,
                JobStatistics(),
                self._inputs.chores,
                lambda: dataplane.table,
                dataplane.slot,
                lambda: self._config.jobs,
            )
        )
        self._inputs.services = self._moving.services
        self._errands = Errands()
        self._traffic = AllTraffic(dataplane, self._errands, table)
        self._supervisor = Supervisor(
            self._follower.clusters,
            self._inputs,
            self._boards,
            self._links.connect,
            FailoverSettings(zone=config.zone),
            self._traffic,
            links=self._links_of,
            may_lead=self._coordination.is_member,
        )
        self._failover = trio.CancelScope()
        self._failover_ended = trio.Event()
        self._users = UserBook(store, self._follower.serve, self._reread, audit)
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
        signals: AsyncIterator[int],
        task_status: trio.TaskStatus[Serving],
    ) -> None:
        failure: StartError | None = None
        self._files = files
        async with trio.open_nursery() as nursery:
            try:
                await self._start(settings, nursery)
            except StartError as error:
                failure = error  # raised outside, where it is not in a group
                await self._coordination.leave()
            else:
                task_status.started(Serving(self._status.now.endpoints, self._admin_address))
                nursery.start_soon(self._hear, signals)
                await self._obey()
            self._orders.close()
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _start(self, settings: Clusters, nursery: trio.Nursery) -> None:
        """Listen first; what only the admin pages need is imported after that."""
        await self._coordination.start(settings, nursery)
        self._coordination.run(self._follower.applied, nursery)
        self._run_shared(nursery)
        nursery.start_soon(run_always, "follower", self._follower.run)
        try:
            async with self._users.turn:
                endpoints = await self._serve(self._users.laid_over(settings), "start")
                await self._users.take(self._config, settings)
        except SettingsError as error:
            raise StartError(str(error)) from error
        except (KeysHiddenError, NodesUnfitError) as error:
            raise StartError(str(error)) from error
        except ServeError as error:
            raise StartError(f"cluster {error.cluster}: {explain(error.cause)}") from error
        self._log_endpoints(endpoints)
        self._status.change(endpoints=endpoints, certificates=certificates_of(settings), starting=True)
        self._told()
        warn_of_certificates(settings)
        for cluster in settings:
            if is_paused(self._store.notes, cluster):
                log.warning("automatic failover is paused, as before the restart", cluster=cluster)
        nursery.start_soon(run_always, "users", self._users.run)
        retelling = partial(run_retelling, self._follower, self._store.members)
        nursery.start_soon(run_always, "what pools' clients are told", retelling)
        nursery.start_soon(run_always, "renewal of logins to nodes", partial(run_renewal, self._follower))
        nursery.start_soon(run_acl_logs, self._feed.listen(), self._refusals)
        if self._audit.place is not None:
            told = self._feed.listen()
            nursery.start_soon(run_access_audit, told, self._audit)
            nursery.start_soon(run_loss_audit, lambda: self._dataplane.accesses_lost + told.lost, self._audit)
        nursery.start_soon(run_access_feed, self._dataplane.access_events, self._feed)
        watch = partial(run_files_watch, lambda: self._files, self._reload_files)
        nursery.start_soon(run_always, "files", watch)
        nursery.start_soon(run_always, "discovery", partial(self._finder.run, self._reload_nodes))
        await nursery.start(self._run_commands)
        await nursery.start(self._run_failover)
        nursery.start_soon(run_always, "audit", self._audit.run)
        nursery.start_soon(run_pool_log, self._dataplane.down)
        nursery.start_soon(run_growth_log, self._dataplane.statistics)
        sources = Sources(
            self._status,
            self._dataplane.statistics,
            self._dataplane.clients,
            self._follower.topologies,
            self._inputs.setups,
            self._store.records,
            self._boards,
            self._coordination.events,
            self._coordination.controls,
            self._store.notes,
            self._dataplane.down,
            self._store.statistics,
            self._traffic.standing,
            self._audit,
            self._verifiers.statistics,
            self._coordination.sharing,
            self._supervisor.sources,
            self._moving.desk,
            self._moving.statistics,
            self._moving.scaled,
        )
        await nursery.start(self._run_admin, sources)
        await self._follower.wait_known()
        if (refused := why_refused(self._follower.topologies)) is not None:
            raise StartError(refused)
        if self._follower.undecided:
            nursery.start_soon(self._get_ready, nursery)
        else:
            await self._be_ready(nursery)

    async def _get_ready(self, nursery: trio.Nursery) -> None:
        """Once those who decide about clusters have said who is primary, however long that takes."""
        for cluster in self._follower.undecided:
            source = self._supervisor.sources.get(cluster)
            why = source.status.trouble if source is not None else None
            log.warning("not ready yet", cluster=cluster, why=why or "who is primary was not found out yet")
        await self._follower.wait_decided()
        await self._be_ready(nursery)

    async def _be_ready(self, nursery: trio.Nursery) -> None:
        self._status.change(starting=False)
        log.info("ready", admin=str(self._admin_address))
        await self._take_over(nursery)
        self._notifier.ready(self._serving())
        nursery.start_soon(self._notifier.run, lambda: why_not_live(self._dataplane.statistics()))

    async def _take_over(self, nursery: trio.Nursery) -> None:
        """Have the process before leave, if there is one; and be there for the one after."""
        if (link := self._inheritance.link) is not None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with ours, theirs:
                self._dataplane.take_over(ours)
                if not isinstance(self._store, LocalStore):
                    nursery.start_soon(link.run)
                await takeover_end(link, theirs)
        if self._handover is None:
            return

        def join(link: Link, twin: str) -> None:
            link.on("serving", lambda _: self._inherited_by(link))
            if isinstance(self._store, LocalStore):
                self._store.join(link, twin)
            else:
                nursery.start_soon(link.run)

        handover = partial(run_handover, self._handover, self._store.member, self._offer, join)
        nursery.start_soon(run_always, "handover", handover)

    def _offer(self) -> list[Inherited]:
        """What another process is given; raise NotNowError."""
        if isinstance(self._store, LocalStore) and (why := self._store.why_no_twin) is not None:
            raise NotNowError(why)
        is_kept = any(one.is_kept for one in self._inheritance.sockets)
        return offered(self._listener, self._dataplane.sockets(), is_kept)

    def _inherited_by(self, link: Link) -> None:
        if (heir := link.take_socket()) is not None and not self._orders.inherit(heir):
            log.warning("another process takes over already")

    def _serving(self) -> str:
        return f"serving {', '.join(self._config.clusters)}"[:MAX_STATUS]

    async def _run_admin(self, sources: Sources, *, task_status: trio.TaskStatus[None]) -> None:
        """Until another process answers in its place."""
        from shardproxy.admin.server import run_admin

        with self._admin:
            await run_admin(self._listener, sources, task_status=task_status)

    def _links_of(self, cluster: str) -> NodeLinks:
        """Connections to nodes of a cluster, be they in its topology or not."""
        login, tls = partial(self._logins.find, cluster), partial(self._logins.find_tls, cluster)
        return NodeLinks(credentials=login, tls=tls, timeouts=PROBE_TIMEOUTS)

    def _run_shared(self, nursery: trio.Nursery) -> None:
        """What only matters where others share the store."""
        store, follower = self._store, self._follower
        lessor = Lessor(
            store.leases,
            store.synced,
            store.records,
            follower.careful,
            follower.applied,
            self._dataplane,
            is_ours=follower.is_ours,
        )
        nursery.start_soon(run_always, "lease", lessor.run)
        if self._config.store is not None and self._coordination.is_member:
            votes = partial(run_votes, self._inputs.setups, self._boards, store)
            nursery.start_soon(run_always, "votes", votes)

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
                settings_of=partial(settings_now, self._follower.clusters, self._coordination.peers),
                readable=self._follower.readable,
                errands=self._errands,
                users=self._users,
                refusals=self._refusals,
                verifiers=self._verifiers,
                scripts=self._coordination.scripts,
                task_status=task_status,
            )

    async def _run_failover(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Until draining; then another process may lead."""
        try:
            with self._failover:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self._links.run)
                    await self._supervisor.run(self._dataplane.hints, task_status=task_status)
        finally:
            self._failover_ended.set()

    def _describe(self) -> Member:
        """What others are told of this process."""
        status, config = self._status.now, self._config
        return Member(
            name=self._store.member,
            label=config.name or socket.gethostname(),
            version=__version__,
            zone=config.zone,
            admin=str(reached(self._admin_address, self._host)),
            started=self._started_at,
            is_draining=status.draining,
            clients=self._dataplane.statistics().clients,
            endpoints=endpoints_said(config, status.endpoints, self._host, self._coming),
            epochs={name: topology.epoch for name, topology in self._follower.topologies.items()},
            automatic=self._supervisor.automatic,
        )

    def _told(self) -> None:
        """What is served is what was to be, and others hear of it."""
        self._coming = frozenset()
        self._coordination.announcer.ring()

    async def _hear(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            self._orders.give(signal.Signals(number))

    async def _obey(self) -> None:
        async for order in self._orders:
            if isinstance(order, socket.socket):
                with order:
                    await self._drain("another process takes over", order)
                return
            if order == signal.SIGHUP and self._config_path is not None:
                self._notifier.reloading()
                await self._reload(self._config_path)
                self._notifier.ready(self._serving())
            else:  # without a file SIGHUP means what it means to any program: the terminal is gone
                await self._drain(order.name)
                return

    async def _reload(self, path: Path) -> None:
        """Read the config file and all it names again."""
        try:
            config = await self._finder.laid_over(await trio.to_thread.run_sync(load_config, path))
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

    async def _reload_nodes(self) -> None:
        """Serve the nodes that were found, in the place of those before."""
        try:
            async with self._users.turn:
                await self._take(await self._finder.laid_over(self._config), "nodes found")
        except REFUSALS as error:
            self._refuse("nodes found", error)

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
            read = await trio.to_thread.run_sync(all_read, config, self._table, files)
            settings = read.settings
            await self._store.follow(before.keys() | settings.keys())
            if coming := settings.keys() - before.keys():
                self._coming = frozenset(coming)
                await self._coordination.announce("about to serve more")
            now = self._users.laid_over(settings, forget)
            served = await self._serve(now, reason)
            await self._store.follow(settings)
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
            names=admin_names(config),
            callers=read.callers,
            tls=read.admin_tls,
            inbound=admin_inbound(config),
            certificates=certificates_of(settings),
            reloads=self._status.now.reloads + 1,
        )
        self._told()
        warn_of_certificates({name: settings[name] for name in reload_plan(before, settings).serve})
        descriptors_give(self._dataplane, config, workers_of(self._started))
        plan = reload_plan(before, now)
        withdrawn = sorted(set(before) - set(now))
        log.info("config reloaded", why=reason, changed=plan.serve, withdrawn=withdrawn)
        warn_of_growth(before, now, self._dataplane.statistics())
        self._warn_of_slots()
        for what in settings_waiting(self._started, config):
            log.warning("setting waits for a restart", setting=what)

    def _warn_of_slots(self) -> None:
        clusters = self._follower.clusters.values()
        warn_of_slots([setup for of in clusters for setup in of.setups], self._store.records)

    async def _drain(self, why: str, heir: socket.socket | None = None) -> None:
        """Let clients have the replies of what they sent, until the deadline or a second signal.

        With an heir most of them go on there, and this process stops to lead at once: then that one may.
        """
        timeouts = self._config.timeouts
        self._status.change(draining=True)
        self._notifier.stopping(f"draining: {why}")
        log.info("draining", why=why, clients=self._dataplane.statistics().clients, deadline=timeouts.drain)
        self._failover.cancel()
        await self._coordination.drain(self._failover_ended)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_on_signal, nursery.cancel_scope)
            if heir is not None:
                self._listener.close()
                self._admin.cancel()
                self._dataplane.pass_to(heir)
            else:
                await trio.sleep(timeouts.drain_delay)
                self._dataplane.drain(min(IDLE, timeouts.drain))
            await self._wait_gone(timeouts.drain)
            nursery.cancel_scope.cancel()
        if heir is not None and self._dataplane.statistics().clients:
            self._dataplane.drain()  # who listens, waits or speaks TLS has been let be until now
            await self._wait_gone(FAREWELL)
        left = self._dataplane.statistics().clients
        if left:
            log.warning("clients cut off", clients=left, why="second signal or deadline")
        await self._coordination.leave()
        log.info("stopped")

    async def _wait_gone(self, deadline: float) -> None:
        with trio.move_on_after(deadline):
            while self._dataplane.statistics().clients:  # noqa: ASYNC110  # counters have no event
                await trio.sleep(DRAIN_POLL)

    async def _cancel_on_signal(self, scope: trio.CancelScope) -> None:
        async for order in self._orders:
            if isinstance(order, socket.socket):
                order.close()  # too late: clients are told to leave
            elif order != signal.SIGHUP:
                scope.cancel()
                return

    def _log_endpoints(self, served: Mapping[str, Endpoints]) -> None:
        for name, endpoints in served.items():
            if endpoints != self._status.now.endpoints.get(name):
                log.info("listening", cluster=name, endpoints=[str(e.bound) for e in endpoints])
