"""The leader's service that asks for a cluster's daily backup, and takes old ones away."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio

from shardproxy.archive import Archive, ArchiveError, Manifest, NotThereError, Origin
from shardproxy.archive.names import automatic_name
from shardproxy.backup.leftovers import files_left
from shardproxy.backup.schedule import Turn, names_expired, turn_of, why_not_own
from shardproxy.backup.settings import archive_open
from shardproxy.backup.wants import Wants
from shardproxy.config import Backups
from shardproxy.failover.interfaces import SlotDesk
from shardproxy.jobs.interface import JobError
from shardproxy.store.interface import StoreUnavailableError

LOOK_EVERY = 20.0  # seconds between looks at the clock
AGAIN = 600.0  # seconds after which a backup that failed is asked for again, in the same window
LATE = 3600.0  # seconds after a window: what was begun in it is over, or too late
TIDY_EVERY = 6 * 3600.0  # seconds
FAULTS_SAID = 3  # of those that one look finds

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DailyTools:
    """What the service needs of its process."""

    config_of: Callable[[str], Backups | None]
    ask: Callable[[str, Mapping[str, Any]], Awaitable[None]]  # for a backup of a cluster; raise JobError
    alarm: Callable[[str, str], None]  # cluster, text: of a window without its backup
    trouble: Callable[[str, str], None]  # cluster, text: what is wrong in its place; "" = nothing any more
    identity: Callable[[str], Awaitable[str]]  # of a cluster; raise StoreUnavailableError
    now: Callable[[], float] = time.time  # seconds since 1970
    look_every: float = LOOK_EVERY


async def run_daily(desk: SlotDesk, tools: DailyTools) -> None:
    """Ask for backups and take old ones away, until cancelled."""
    daily = Daily(desk.cluster, tools)
    while True:
        await daily.look()
        await trio.sleep(tools.look_every)


@dataclass
class Daily:
    """What one leader remembers of a cluster's schedule; the place knows the rest."""

    cluster: str
    tools: DailyTools
    _since: float = field(default=0.0, init=False)  # it is the leader
    _made: float = field(default=0.0, init=False)  # the window whose backup is there, as is known
    _asked_at: float = field(default=float("-inf"), init=False)
    _told: float = field(default=0.0, init=False)  # the window that has ended without one, as was said
    _why: str = field(default="", init=False)  # there is none yet, as was logged
    _tidied_at: float = field(default=float("-inf"), init=False)
    _fault: str = field(default="", init=False)  # what is wrong in the place, as was said

    def __post_init__(self) -> None:
        self._since = self.tools.now()

    async def look(self) -> None:
        """Do what is due now."""
        config, now = self.tools.config_of(self.cluster), self.tools.now()
        if config is None:
            return
        turn = turn_of(config.daily, now)
        if config.retention and self._made != turn.begins and self._told != turn.begins:
            await self._see_to(config, turn, now)
        if now - self._tidied_at >= TIDY_EVERY:
            self._tidied_at = now
            await self._tidy(config, now)

    async def _see_to(self, config: Backups, turn: Turn, now: float) -> None:
        """Ask for the window's backup while that is open; say that there is none once it is long over."""
        is_asked = self._asked_at >= turn.begins
        if turn.has(now) and is_asked and now - self._asked_at < AGAIN:
            return
        if turn.ends <= now < turn.ends + LATE or self._since > turn.ends + LATE:
            return
        name, why, was = automatic_name(self.cluster, turn.begins), "", self._why
        try:
            archive = await archive_open(config)
            if (there := await _there(archive, name)) is not None:
                self._why = ""
                identity = await self.tools.identity(self.cluster)
                if (not_own := why_not_own([there], self.cluster, identity, archive.url)) is None:
                    self._made = turn.begins
                else:
                    self._told = turn.begins
                    text = f"there is no backup of the window {config.window}: {not_own}"
                    self.tools.alarm(self.cluster, text)
                return
            if turn.has(now):
                await self.tools.ask(self.cluster, Wants(name, origin=Origin.AUTOMATIC).json())
                self._asked_at = now
        except (ArchiveError, JobError, StoreUnavailableError) as e:
            why = str(e)
            if why != self._why:
                log.warning("no scheduled backup yet", cluster=self.cluster, why=why)
        self._why = why
        if now >= turn.ends + LATE:
            self._told, self._why = turn.begins, ""
            text = f"there is no backup of the window {config.window}: {why or was or 'its jobs say why'}"
            self.tools.alarm(self.cluster, text)

    async def _tidy(self, config: Backups, now: float) -> None:
        """Take away what is too old; what cannot be read stays, and holds up nothing else."""
        faults: list[str] = []
        try:
            archive = await archive_open(config)
            manifests, unread = await archive.manifests()
            faults += unread.values()
            identity = await self.tools.identity(self.cluster)
            if (not_own := why_not_own(manifests, self.cluster, identity, archive.url)) is not None:
                faults.append(not_own)
            for name in names_expired(manifests, self.cluster, identity, config.retention, now):
                with _noting(faults):
                    freed = await archive.delete(name)
                    log.info("old backup deleted", cluster=self.cluster, name=name, bytes=freed)
            known = {one.name: one for one in manifests}
            for name in await archive.names():
                if name not in unread:
                    with _noting(faults):
                        await _take_leftovers_away(archive, name, known.get(name), now)
        except (ArchiveError, StoreUnavailableError) as e:
            faults.append(str(e))
        self._trouble(faults)

    def _trouble(self, faults: Sequence[str]) -> None:
        """Say a change once."""
        some = sorted(faults)[:FAULTS_SAID]
        more = f"; and {len(faults) - len(some)} more" if len(faults) > len(some) else ""
        text = f"old backups: {'; '.join(some)}{more}" if some else ""
        if text != self._fault:
            self._fault = text
            self.tools.trouble(self.cluster, text)


@contextmanager
def _noting(faults: list[str]) -> Iterator[None]:
    try:
        yield
    except ArchiveError as e:
        faults.append(str(e))


async def _there(archive: Archive, name: str) -> Manifest | None:
    try:
        return await archive.manifest(name, checked=False)
    except NotThereError:
        return None


async def _take_leftovers_away(archive: Archive, name: str, manifest: Manifest | None, now: float) -> None:
    stored = await archive.stored(name)
    if manifest is None:  # it may have come meanwhile; one that cannot be read has files of somebody's
        manifest = await _there(archive, name)
    if left := files_left(stored, manifest, now):
        log.info("files of no backup deleted", where=archive.url, folder=name, files=len(left))
        await archive.discard(name, left)
