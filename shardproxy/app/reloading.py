"""What this process serves as configured: at its start, and whenever a file or what was found has changed.

config file ─┐
files it names ─┼─> all of it read ─> laid over with users' changes ─> follower ─> served, and told to others
nodes found ─┘            └─ refused: what was served before still is
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog
import trio

from shardproxy.admin.status import StatusBoard
from shardproxy.app.coordinating import Coordination
from shardproxy.app.logging_in import LoggingIn
from shardproxy.app.reading import admin_inbound, admin_names, all_read
from shardproxy.app.starting import Opened, StartError, descriptors_give
from shardproxy.config import Config, load_config
from shardproxy.config.files import FilesRead, Fingerprint
from shardproxy.config.restart import settings_waiting
from shardproxy.dataplane.cpus import workers_of
from shardproxy.store.notes import is_paused
from shardproxy.topology.certificates import certificates_of, warn_of_certificates
from shardproxy.topology.follower import Endpoints, Follower
from shardproxy.topology.growth import warn_of_growth
from shardproxy.topology.keys import why_not_served
from shardproxy.topology.modes import why_not_fit
from shardproxy.topology.refusal import REFUSALS, Refusal, explain, problems
from shardproxy.topology.reload import Clusters, KeysHiddenError, NodesUnfitError, ServeError, reload_plan
from shardproxy.topology.settings import SettingsError
from shardproxy.topology.slots import warn_of_slots
from shardproxy.topology.users import UserBook

log = structlog.get_logger()


class Reloading:
    """One process's. Nothing else changes what is configured."""

    def __init__(
        self,
        opened: Opened,
        follower: Follower,
        coordination: Coordination,
        logging_in: LoggingIn,
        status: StatusBoard,
    ) -> None:
        self._started = self.config = opened.config
        self.coming = frozenset(opened.config.clusters)  # about to be served
        self.files: Mapping[Path, Fingerprint] = opened.files  # that settings were read from
        self._opened = opened
        self._store = opened.store
        self._dataplane = opened.dataplane
        self._follower = follower
        self._coordination = coordination
        self._logging_in = logging_in
        self._status = status
        self._why_refused: list[str] = []
        self.users = UserBook(opened.store, follower.serve, self._reread, opened.audit)

    async def begin(self, settings: Clusters) -> None:
        """Serve for the first time; raise StartError."""
        try:
            async with self.users.turn:
                endpoints = await self._serve(self.users.laid_over(settings), "start")
                await self.users.take(self.config, settings)
        except (SettingsError, KeysHiddenError, NodesUnfitError) as error:
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

    async def reload(self, path: Path) -> None:
        """Read the config file and all it names again."""
        try:
            config = await self._opened.finder.laid_over(await trio.to_thread.run_sync(load_config, path))
            async with self.users.turn:
                await self._take(config, "reload")
        except REFUSALS as error:
            self._refuse(str(path), error)

    async def reload_files(self, changed: list[Path]) -> None:
        """Read what the config names again, as some of it has changed."""
        try:
            async with self.users.turn:
                await self._take(self.config, "files changed")
        except REFUSALS as error:
            if isinstance(error, SettingsError) or problems(error) != self._why_refused:
                self._refuse(", ".join(map(str, changed)), error)  # of others that are tried again, once

    async def reload_nodes(self) -> None:
        """Serve the nodes that were found, in the place of those before."""
        try:
            async with self.users.turn:
                await self._take(await self._opened.finder.laid_over(self.config), "nodes found")
        except REFUSALS as error:
            self._refuse("nodes found", error)

    async def _reread(self, forget: str) -> None:
        """The same for a client, in whose turn it is; changes of that cluster's users are forgotten."""
        await self._take(self.config, "users loaded", forget)

    def _refuse(self, file: str, error: Refusal) -> None:
        self._why_refused = problems(error)
        self._status.change(reloads_refused=self._status.now.reloads_refused + 1)
        log.error("config refused, the old one stays", file=file, why=self._why_refused)

    async def _take(self, config: Config, reason: str, forget: str | None = None) -> None:
        """Read all that a config names, and serve it; raise a refusal, and then what was served still is."""
        before = {name: configured.settings for name, configured in self._follower.clusters.items()}
        files = FilesRead(config.source.directory)
        try:
            read = await trio.to_thread.run_sync(all_read, config, self._opened.table, files)
            settings = read.settings
            await self._store.follow(before.keys() | settings.keys())
            if coming := settings.keys() - before.keys():
                self.coming = frozenset(coming)
                await self._coordination.announce("about to serve more")
            now = self.users.laid_over(settings, forget)
            served = await self._serve(now, reason)
            await self._store.follow(settings)
        except SettingsError:
            if config is self.config:  # of another one nothing is served: what has changed was not read yet
                self.files = {**self.files, **files.seen}  # once one changes, it is worth another look
            raise
        self._logging_in.replace(read.logins)
        self.files = files.seen
        self._why_refused = []
        await self.users.take(config, settings, forget)
        self.config = config
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
        plan = reload_plan(before, settings)
        warn_of_certificates({name: settings[name] for name in plan.serve})
        descriptors_give(self._dataplane, config, workers_of(self._started))
        plan = reload_plan(before, now)
        withdrawn = sorted(set(before) - set(now))
        log.info("config reloaded", why=reason, changed=plan.serve, withdrawn=withdrawn)
        warn_of_growth(before, now, self._dataplane.counts())
        self._warn_of_slots()
        for what in settings_waiting(self._started, config):
            log.warning("setting waits for a restart", setting=what)

    async def _serve(self, settings: Clusters, reason: str) -> dict[str, Endpoints]:
        """Raise KeysHiddenError, NodesUnfitError or ServeError; what was served before then still is."""
        if (why := await why_not_served(settings, self._store.records)) is not None:
            raise KeysHiddenError(why)
        if (why := await why_not_fit(settings, self._store.records)) is not None:
            raise NodesUnfitError(why)
        return await self._follower.serve(settings, reason)

    def _told(self) -> None:
        """What is served is what was to be, and others hear of it."""
        self.coming = frozenset()
        self._coordination.announcer.ring()

    def _warn_of_slots(self) -> None:
        clusters = self._follower.clusters.values()
        warn_of_slots([setup for of in clusters for setup in of.setups], self._store.records)

    def _log_endpoints(self, served: Mapping[str, Endpoints]) -> None:
        for name, endpoints in served.items():
            if endpoints != self._status.now.endpoints.get(name):
                log.info("listening", cluster=name, endpoints=[str(e.bound) for e in endpoints])
