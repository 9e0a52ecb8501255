"""A store of ConfigMaps in a Kubernetes namespace, shared by all proxies whose store has the same name there.

    Watcher ──> Mirror ──> Boards            what was seen          Freshness: until when it is sure
    Life      our heartbeat, others' ends    Leading   claims and records     Writer   one object's PUTs

What the objects are called is in names.py, what they hold in shards.py, notebook.py and pulse.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import CLOCK_BOOTTIME, clock_gettime
from typing import TYPE_CHECKING, Any

import structlog
import trio

from shardproxy.config import store as settings_of
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import Leadership, MemberKey, StoreUnavailableError
from shardproxy.store.kubernetes.api import Api
from shardproxy.store.kubernetes.boards import Boards
from shardproxy.store.kubernetes.credentials import access_of
from shardproxy.store.kubernetes.following import LINGERS, Freshness
from shardproxy.store.kubernetes.keep import keep_boards, kept_read
from shardproxy.store.kubernetes.leading import KubernetesLeadership, Leading
from shardproxy.store.kubernetes.life import Life
from shardproxy.store.kubernetes.mirror import Mirror
from shardproxy.store.kubernetes.names import Kind, Names
from shardproxy.store.kubernetes.notebook import with_note, without_note
from shardproxy.store.kubernetes.objects import Stored
from shardproxy.store.kubernetes.shared import Clock, Shared, Times
from shardproxy.store.kubernetes.watch import Watcher
from shardproxy.store.kubernetes.writer import Writer, collection_of
from shardproxy.store.member import Member, Vote
from shardproxy.store.notes import Note, NoteKey, Notes
from shardproxy.store.record import ShardRecord
from shardproxy.store.statistics import StoreStatistics

if TYPE_CHECKING:
    import httpx

START = 5.0  # seconds in which the API server answers at a start, else what was kept is shown
FOLLOWER = "store.membership is follower: this proxy writes nothing; ask one that is a member"

log = structlog.get_logger()


def boottime() -> float:
    return clock_gettime(CLOCK_BOOTTIME)


class KubernetesStore:
    """See the module. Nothing is asked of the API server before `run`."""

    def __init__(
        self,
        settings: settings_of.KubernetesStore,
        *,
        member: str,
        is_follower: bool,
        keep: Path | None,
        directory: Path,
        clock: Clock = boottime,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`directory` is where files that the settings name are found from; raise StoreUnavailableError."""
        access = access_of(settings, directory)
        times = Times(settings.ttl)
        names = Names(settings.name)
        self.statistics = StoreStatistics()
        self._group = f"kubernetes/{access.namespace}/{settings.name}"
        self._member = member
        self._keep = keep
        self._is_follower = is_follower
        self._api = Api(access, self.statistics, timeout=times.request, transport=transport)
        self._boards = Boards(names, member, knows_heartbeats=not is_follower)
        self._mirror = Mirror(self._seen)
        self._shared = Shared(
            self._api, names, member, self._mirror, self._boards, clock, times, self.statistics
        )
        self._life = Life(self._shared, died=lambda: self._leading.died())
        self._leading = Leading(self._shared, self._life)
        self._freshness = Freshness(self._shared, None if is_follower else self._life)
        self._watcher = Watcher(
            self._api,
            collection_of(self._api),
            names.selector(without=Kind.ALIVE if is_follower else Kind.RENEW),
            self._mirror,
            heard=self._heard,
        )

    @property
    def group(self) -> str:
        return self._group

    @property
    def member(self) -> str:
        return self._member

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watcher.run)
                nursery.start_soon(self._forget_kept)
                if not self._is_follower:
                    nursery.start_soon(self._keep_alive)
                    nursery.start_soon(self._life.judge)
                    nursery.start_soon(self._leading.renew)
                nursery.start_soon(self._keep_synced)
                with trio.move_on_after(START):
                    await self._watcher.is_listed.wait()
                    while not self._freshness.is_fresh:
                        await self._mirror.changed.wait()
                if not self._watcher.is_listed.is_set():
                    log.warning("kubernetes: API server is not reached, starting with what was kept")
                if self._keep is not None:
                    nursery.start_soon(keep_boards, self._keep, self, self._is_shown)
                task_status.started()
        finally:
            await self._api.aclose()

    async def follow(self, clusters: Iterable[str]) -> None:
        self._boards.follow(clusters, self._mirror)
        if not self._watcher.is_listed.is_set() and self._keep is not None:
            kept = kept_read(self._keep, self._group)
            self._boards.show_kept(kept.records, kept.notes)
        self._freshness.look()
        await trio.lowlevel.checkpoint()

    @property
    def synced(self) -> Board[str, bool]:
        return self._freshness.synced

    @property
    def leases(self) -> Board[str, float]:
        return self._freshness.leases

    @property
    def lingers(self) -> float:
        return LINGERS

    @property
    def records(self) -> Board[ShardKey, ShardRecord]:
        return self._boards.records

    @property
    def leaders(self) -> Board[str, str]:
        return self._boards.leaders

    async def claim(self, cluster: str) -> Leadership:
        if self._is_follower:  # it never leads, however long it waits
            await trio.sleep_forever()
        return await self._leading.claim(cluster)

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        (stored,) = await self.put_all((record,), leadership)
        return stored

    async def put_all(
        self, records: Sequence[ShardRecord], leadership: Leadership
    ) -> tuple[ShardRecord, ...]:
        self._refuse_follower()
        assert isinstance(leadership, KubernetesLeadership)
        return await self._leading.put_all(records, leadership)

    @property
    def members(self) -> Board[str, Member]:
        return self._boards.members

    async def announce(self, member: Member) -> None:
        if self._is_follower:
            self._boards.show_self(member)
            await trio.lowlevel.checkpoint()
        else:
            await self._life.announce(member)

    async def leave(self) -> None:
        if not self._is_follower:
            await self._leading.leave()
            await self._life.leave()

    @property
    def acks(self) -> Board[MemberKey, int]:
        return self._boards.acks

    async def ack(self, key: ShardKey, changed: int | None) -> None:
        if self._is_follower:  # nobody waits for it
            await trio.lowlevel.checkpoint()
        else:
            await self._life.ack(key, changed)

    @property
    def votes(self) -> Board[MemberKey, Vote]:
        return self._boards.votes

    async def vote(self, votes: Mapping[ShardKey, Vote | None]) -> None:
        if self._is_follower:
            await trio.lowlevel.checkpoint()
        else:
            await self._life.vote(votes)

    @property
    def notes(self) -> Notes:
        return self._boards.notes

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        self._refuse_follower()
        return await self._notes_of(key).change(
            lambda body: with_note(body, key, value, expected, after=self._mirror.version)
        )

    async def drop(self, key: NoteKey, *, expected: int | None = None) -> None:
        self._refuse_follower()
        await self._notes_of(key).change(lambda body: without_note(body, key, expected))

    def _notes_of(self, key: NoteKey) -> Writer:
        return self._shared.writer(self._shared.names.notes(key.cluster, key.kind), Kind.NOTES)

    def _refuse_follower(self) -> None:
        if self._is_follower:
            raise StoreUnavailableError(FOLLOWER)

    def _is_shown(self) -> frozenset[str]:
        """The clusters that are worth keeping: nothing is known of any before the API server has said so."""
        return self._boards.followed if self._watcher.is_listed.is_set() else frozenset()

    def _seen(self, name: str, stored: Stored | None, before: Stored | None) -> None:
        self._boards.show(name, stored)
        self._leading.seen(stored)
        if before is not None and before.kind is Kind.ALIVE and (stored is None or stored.uid != before.uid):
            self._life.gone(before)

    def _heard(self, seen: Stored | None, is_listed: bool) -> None:
        """The watch lives, and shows that."""
        if self._is_follower:
            if not self._freshness.heard(seen, is_listed=is_listed):
                self._watcher.list_again()
        else:
            self._life.heard(seen)
            self._freshness.look()

    async def _forget_kept(self) -> None:
        await self._watcher.is_listed.wait()
        self._boards.show_all(self._mirror.get)

    async def _keep_alive(self) -> None:
        await self._life.keep(silent=self._watcher.restart)

    async def _keep_synced(self) -> None:
        await self._freshness.run(silent=self._watcher.restart, stalled=self._watcher.list_again)
