"""The life of one process: starts its services in order, obeys signals, and lets clients go."""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncIterator, Mapping
from functools import partial

import structlog
import trio

from shardproxy.admin.health import why_not_live
from shardproxy.app.draining import Draining
from shardproxy.app.late import ADMIN, COMMANDS, rooms_load
from shardproxy.app.notify import Notifier
from shardproxy.app.orders import Orders
from shardproxy.app.parts import Parts
from shardproxy.app.starting import Opened, Serving, StartError
from shardproxy.app.succeeding import Succeeding
from shardproxy.config import Cluster
from shardproxy.config.telemetry import Otlp
from shardproxy.coordination.lease import Lessor
from shardproxy.coordination.votes import run_votes
from shardproxy.health.pool import run_pool_log
from shardproxy.telemetry.run import run_telemetry
from shardproxy.topology.files import run_files_watch
from shardproxy.topology.growth import run_growth_log
from shardproxy.topology.refusal import why_refused
from shardproxy.topology.renewal import run_renewal
from shardproxy.topology.retelling import run_retelling
from shardproxy.topology.sealed import SealWatch
from shardproxy.topology.supervisor import run_always, run_always_from

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
MAX_STATUS = 200  # characters

log = structlog.get_logger()


class App:
    """One running proxy: what it does when it starts, when a signal comes, and in the end."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._parts = Parts(opened)
        self._admin = trio.CancelScope()
        self._failover = trio.CancelScope()
        self._failover_ended = trio.Event()
        self._notifier = Notifier()
        self._orders = Orders()
        self._succeeding = Succeeding(opened, self._orders)
        self._draining = Draining(opened.dataplane, opened.listener, self._admin, self._orders)

    async def run(self, signals: AsyncIterator[int], task_status: trio.TaskStatus[Serving]) -> None:
        failure: StartError | None = None
        async with trio.open_nursery() as nursery:
            try:
                await self._start(nursery)
            except StartError as error:
                failure = error  # raised outside, where it is not in a group
                await self._parts.coordination.leave()
            else:
                task_status.started(Serving(self._parts.status.now.endpoints, self._parts.admin_address))
                nursery.start_soon(self._hear, signals)
                await self._obey()
            self._orders.close()
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    # --- start ---

    async def _start(self, nursery: trio.Nursery) -> None:
        """Listen first, then see to the nodes; what is asked for later is loaded meanwhile."""
        await self._join(nursery)
        await self._listen(nursery)
        self._keep_up(nursery)
        await self._serve(nursery)
        self._tell(nursery)
        await nursery.start(self._run_admin)
        await self._parts.follower.wait_known()
        if (refused := why_refused(self._parts.follower.topologies)) is not None:
            raise StartError(refused)
        if self._parts.follower.undecided:
            nursery.start_soon(self._get_ready, nursery)
        else:
            await self._be_ready(nursery)

    async def _join(self, nursery: trio.Nursery) -> None:
        """Be one of those that share the store."""
        parts = self._parts
        await parts.coordination.start(self._opened.read.settings, nursery)
        parts.coordination.run(parts.follower.applied, nursery)
        store, follower = parts.store, parts.follower
        lessor = Lessor(
            store.leases,
            store.synced,
            store.records,
            follower.careful,
            follower.applied,
            parts.dataplane,
            is_ours=follower.is_ours,
        )
        nursery.start_soon(run_always, "lease", lessor.run)
        if self._opened.config.store is None:
            return
        watch = SealWatch(follower.seals, store.records, parts.links.of, follower.unsealed)
        nursery.start_soon(run_always, "seals", watch.run)
        if parts.coordination.is_member:
            votes = partial(run_votes, parts.inputs.setups, parts.boards, store)
            nursery.start_soon(run_always, "votes", votes)

    async def _listen(self, nursery: trio.Nursery) -> None:
        """Serve as configured, as far as that is known by now."""
        nursery.start_soon(run_always, "follower", self._parts.follower.run)
        await self._parts.reloading.begin(self._opened.read.settings)

    def _keep_up(self, nursery: trio.Nursery) -> None:
        """Serve as configured whatever changes: files, users, logins, nodes."""
        parts, follower, reloading = self._parts, self._parts.follower, self._parts.reloading
        nursery.start_soon(run_always, "users", reloading.users.run)
        retelling = partial(run_retelling, follower, parts.store.members)
        nursery.start_soon(run_always, "what pools' clients are told", retelling)
        nursery.start_soon(run_always, "renewal of logins to nodes", partial(run_renewal, follower))
        parts.logging_in.run(nursery)
        watch = partial(run_files_watch, lambda: reloading.files, reloading.reload_files)
        nursery.start_soon(run_always, "files", watch)
        discovery = partial(self._opened.finder.run, reloading.reload_nodes)
        nursery.start_soon(run_always, "discovery", discovery)

    async def _serve(self, nursery: trio.Nursery) -> None:
        """What clients need beside the data plane."""
        await nursery.start(self._run_failover)
        await nursery.start(run_always_from, "caching", self._parts.caching.run)
        await nursery.start(self._run_commands)

    def _tell(self, nursery: trio.Nursery) -> None:
        """Logs and traces of what happens."""
        dataplane = self._parts.dataplane
        nursery.start_soon(run_always, "audit", self._parts.audit.run)
        nursery.start_soon(run_pool_log, dataplane.down)
        nursery.start_soon(run_growth_log, dataplane.counts)
        nursery.start_soon(run_always, "telemetry", self._run_telemetry)

    async def _get_ready(self, nursery: trio.Nursery) -> None:
        """Once those who decide about clusters have said who is primary, however long that takes."""
        parts = self._parts
        for cluster in parts.follower.undecided:
            source = parts.supervisor.sources.get(cluster)
            why = source.status.trouble if source is not None else None
            log.warning("not ready yet", cluster=cluster, why=why or "who is primary was not found out yet")
        await parts.follower.wait_decided()
        await self._be_ready(nursery)

    async def _be_ready(self, nursery: trio.Nursery) -> None:
        self._parts.status.change(starting=False)
        log.info("ready", admin=str(self._parts.admin_address))
        await self._succeeding.run(nursery)
        self._notifier.ready(self._serving())
        nursery.start_soon(self._notifier.run, lambda: why_not_live(self._parts.dataplane.workers()))

    def _serving(self) -> str:
        return f"serving {', '.join(self._parts.reloading.config.clusters)}"[:MAX_STATUS]

    # --- services ---

    async def _run_admin(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Until another process answers in its place."""
        await rooms_load(ADMIN)
        from shardproxy.admin.server import run_admin
        from shardproxy.app.showing import sources_of

        with self._admin:
            await run_admin(self._opened.listener, sources_of(self._parts), task_status=task_status)

    async def _run_commands(self, *, task_status: trio.TaskStatus[None]) -> None:
        await rooms_load(COMMANDS)
        from shardproxy.commands.configured import settings_now
        from shardproxy.commands.service import run_commands

        parts, logging_in = self._parts, self._parts.logging_in
        async with parts.links.of_commands() as links, logging_in.poster:
            await run_commands(
                parts.dataplane,
                parts.follower.topologies,
                links,
                table=self._opened.table,
                settings_of=partial(settings_now, parts.follower.clusters, parts.coordination.peers),
                readable=parts.follower.readable,
                errands=parts.errands,
                users=parts.reloading.users,
                refusals=logging_in.refusals,
                verifiers=logging_in.verifiers,
                scripts=parts.coordination.scripts,
                guests=(parts.caching,),
                task_status=task_status,
            )

    async def _run_failover(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Until draining; then another process may lead."""
        try:
            with self._failover:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self._parts.links.watched.run)
                    await self._parts.supervisor.run(self._parts.dataplane.hints, task_status=task_status)
        finally:
            self._failover_ended.set()

    async def _run_telemetry(self) -> None:
        reloading = self._parts.reloading

        def otlp() -> Otlp | None:
            telemetry = reloading.config.telemetry
            return telemetry.otlp if telemetry is not None else None

        def clusters() -> Mapping[str, Cluster]:
            return reloading.config.clusters

        process = reloading.config.name or self._parts.host
        await run_telemetry(self._parts.dataplane, otlp, clusters, process, self._parts.spans)

    # --- signals, and the end ---

    async def _hear(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            self._orders.give(signal.Signals(number))

    async def _obey(self) -> None:
        async for order in self._orders:
            if isinstance(order, socket.socket):
                with order:
                    await self._drain("another process takes over", order)
                return
            if order == signal.SIGHUP and self._opened.config_path is not None:
                self._notifier.reloading()
                await self._parts.reloading.reload(self._opened.config_path)
                self._notifier.ready(self._serving())
            else:  # without a file SIGHUP means what it means to any program: the terminal is gone
                await self._drain(order.name)
                return

    async def _drain(self, why: str, heir: socket.socket | None = None) -> None:
        """Let clients go, and end.

        With an heir this process stops to lead at once: then that one may.
        """
        parts, timeouts = self._parts, self._parts.reloading.config.timeouts
        parts.status.change(draining=True)
        self._notifier.stopping(f"draining: {why}")
        log.info("draining", why=why, clients=parts.dataplane.client_count(), deadline=timeouts.drain)
        self._failover.cancel()
        await parts.coordination.drain(self._failover_ended)
        await self._draining.run(timeouts, heir)
        await parts.coordination.leave()
        log.info("stopped")
