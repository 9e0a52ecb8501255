"""The store: puts its parts together, and is what the rest of the process sees of etcd."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
import trio

from shardproxy.config.store import EtcdStore as EtcdSettings
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.etcd import keys as kinds
from shardproxy.store.etcd.access import Access
from shardproxy.store.etcd.announced import Announced
from shardproxy.store.etcd.client import Client
from shardproxy.store.etcd.clock import boottime
from shardproxy.store.etcd.freshness import LINGERS, Contact, Freshness
from shardproxy.store.etcd.keep import Keep
from shardproxy.store.etcd.keys import Keys
from shardproxy.store.etcd.leadership import Leaders
from shardproxy.store.etcd.messages import Entry, is_created, outcome_of, to_put, transaction
from shardproxy.store.etcd.note_writer import NoteWriter
from shardproxy.store.etcd.position import Position
from shardproxy.store.etcd.reader import Reader
from shardproxy.store.etcd.record_writer import RecordWriter
from shardproxy.store.etcd.session import Session
from shardproxy.store.etcd.shown import Shown, vote_encode
from shardproxy.store.etcd.transactions import Transactions
from shardproxy.store.interface import Leadership, MemberKey, StoreUnavailableError, votes_show
from shardproxy.store.member import Member, Vote, member_encode
from shardproxy.store.notes import Note, NoteKey, Notes
from shardproxy.store.record import ShardRecord
from shardproxy.store.statistics import StoreStatistics

START_WITHIN = 3.0  # seconds for etcd to be read, where there is something kept to start with instead
ANNOUNCED_WITHIN = 3.0  # seconds
LEFT_WITHIN = 1.0  # seconds; a lease that is not ended ends by itself

log = structlog.get_logger()


class EtcdStore:
    """A store that all proxies with the same prefix share. `keep`: a file for what was read last."""

    def __init__(
        self,
        settings: EtcdSettings,
        *,
        member: str,
        directory: Path | None = None,
        keep: Path | None = None,
        is_follower: bool = False,
    ) -> None:
        self._settings = settings
        self._member = member
        self._is_follower = is_follower
        self._keys = keys = Keys(settings.prefix)
        self.statistics = StoreStatistics()
        self._client = Client(Access(settings, directory or Path()), self.statistics)
        self._shown = Shown(keys, member)
        self._keep = Keep(keep, keys)
        self._freshness = Freshness(self._contact)
        self._reader = Reader(
            self._client,
            keys,
            self._changed,
            on_heard=self._freshness.look,
            on_lost=self._lost,
            is_patient=is_follower,
        )
        self._transactions = Transactions(
            self._client, self.statistics, lambda: self._reader.group, lambda: self._reader.why_lost
        )
        self._session = Session(
            self._client,
            settings.ttl,
            before_new=self._reader.check_group,
            why_not=self._why_deaf,
            on_beat=self._freshness.look,
            on_new=self._new_lease,
        )
        self._announced = Announced(self._transactions, self._session, on_told=self._freshness.look)
        self._leaders = Leaders(
            keys, member, self._transactions, self._session, self._reader, on_lost=self._leads_no_more
        )
        self._records = RecordWriter(keys, self._transactions, self._leaders, self._reader)
        self._notes = NoteWriter(keys, member, self._transactions, self._reader)

    @property
    def group(self) -> str:
        entry = self._reader.group
        return entry.value.decode(errors="replace") if entry is not None and entry.value is not None else ""

    @property
    def member(self) -> str:
        return self._member

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the boards as etcd is, until cancelled. Waits for etcd where nothing is kept to start with."""
        kept = self._keep.read() if not len(self._reader.view) else None
        if kept is not None:
            self._client.position = Position(kept.cluster_id, 0, kept.revision)
            self._reader.load(kept.entries, kept.revision)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._reader.run)
                nursery.start_soon(self._freshness.run)
                if not self._is_follower:
                    nursery.start_soon(self._hold_lease)
                    nursery.start_soon(self._announced.run)
                    nursery.start_soon(self._leaders.run)
                with trio.move_on_after(START_WITHIN if kept is not None else float("inf")):
                    await self._reader.wait_read()
                    await self._have_group()
                    if not self._is_follower:
                        await self._session.wait_held()
                nursery.start_soon(self._keep.run, self._reader.view, lambda: self._client.position)
                self._freshness.look()
                task_status.started()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + LEFT_WITHIN):
                await self._client.aclose()

    async def follow(self, clusters: Iterable[str]) -> None:
        self._shown.follow(frozenset(clusters), self._reader.view)
        self._freshness.follow(frozenset(clusters))
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

    # --- records ---

    @property
    def records(self) -> Board[ShardKey, ShardRecord]:
        return self._shown.records

    @property
    def leaders(self) -> Board[str, str]:
        return self._shown.leaders

    async def claim(self, cluster: str) -> Leadership:
        if self._is_follower:
            await trio.sleep_forever()
        return await self._leaders.claim(cluster)

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        (stored,) = await self.put_all((record,), leadership)
        return stored

    async def put_all(
        self, records: Sequence[ShardRecord], leadership: Leadership
    ) -> tuple[ShardRecord, ...]:
        self._check_member()
        return await self._records.put_all(records, leadership)

    # --- what live members say ---

    @property
    def members(self) -> Board[str, Member]:
        return self._shown.members

    async def announce(self, member: Member) -> None:
        if member.name != self._member:
            raise ValueError(f"{member.name} is not {self._member}, which is this process")
        if not self._is_follower:
            key = self._keys.member(self._member)
            self._announced.say(key, _json(member_encode(member)))
            await self._announced.wait_told(key, within=ANNOUNCED_WITHIN)
        self.members.show(self._member, member)

    async def leave(self) -> None:
        self._leaders.leave()
        self._announced.clear()
        if not self._is_follower:
            with trio.move_on_after(LEFT_WITHIN) as scope:
                try:
                    await self._session.leave()
                except StoreUnavailableError as error:
                    log.warning("etcd does not know that this process has left", why=str(error))
            if scope.cancelled_caught:
                log.warning("etcd does not know that this process has left", why="no answer in time")
        self.members.hide(self._member)
        for board in (self.acks, self.votes):
            for key in [key for key in board if key[0] == self._member]:
                board.hide(key)

    @property
    def acks(self) -> Board[MemberKey, int]:
        return self._shown.acks

    async def ack(self, key: ShardKey, changed: int | None) -> None:
        """On the board at once; etcd is told as soon as may be, of many shards together."""
        if changed is None:
            self.acks.hide((self._member, key))
        else:
            self.acks.show((self._member, key), changed)
        mine = self._mine(self.acks, key.cluster)
        self._say(self._keys.ack(self._member, key.cluster), mine)
        await trio.lowlevel.checkpoint()

    @property
    def votes(self) -> Board[MemberKey, Vote]:
        return self._shown.votes

    async def vote(self, votes: Mapping[ShardKey, Vote | None]) -> None:
        votes_show(self.votes, self._member, votes)
        for cluster in {key.cluster for key in votes}:
            mine = {number: vote_encode(one) for number, one in self._mine(self.votes, cluster).items()}
            self._say(self._keys.vote(self._member, cluster), mine)
        await trio.lowlevel.checkpoint()

    # --- notes ---

    @property
    def notes(self) -> Notes:
        return self._shown.notes

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        self._check_member()
        return await self._notes.note(key, value, expected)

    async def drop(self, key: NoteKey, *, expected: int | None = None) -> None:
        self._check_member()
        await self._notes.drop(key, expected)

    # --- parts ---

    def _check_member(self) -> None:
        if self._is_follower:
            raise StoreUnavailableError("this process is a follower of the store: it writes nothing")

    def _mine(self, board: Any, cluster: str) -> dict[str, Any]:
        return {
            str(key.index): value
            for (name, key), value in board.items()
            if name == self._member and key.cluster == cluster
        }

    def _say(self, key: str, values: dict[str, Any]) -> None:
        if not self._is_follower:
            self._announced.say(key, _json(values) if values else None)

    def _contact(self) -> Contact:
        if self._is_follower:
            return Contact(None, 0.0, self._reader.heard)
        return Contact(
            self._session.sent if self._is_waited_for() else 0.0, self._session.ttl, self._reader.heard
        )

    def _is_waited_for(self) -> bool:
        """Whether all others know of this process, and all is seen that they did while they did not."""
        since = self._announced.since(self._keys.member(self._member))
        if self._session.id is None or since is None:
            return False
        return self._reader.view.seen >= since and (since > 0 or self._reader.heard >= self._session.granted)

    def _why_deaf(self) -> str | None:
        late = boottime() - self._reader.heard
        if late < self._session.ttl:
            return None
        return self._reader.why_not or f"etcd was last known to be as it is shown {late:.1f} s ago"

    async def _hold_lease(self) -> None:
        await self._reader.wait_read()
        await self._session.run()

    def _changed(self, entries: list[Entry]) -> None:
        self._shown.show(entries)
        self._keep.is_changed(entries)
        for entry in entries:
            kind, *names = self._keys.parts(entry.key)
            if kind == kinds.LEADER and len(names) == 1:
                self._leaders.is_seen(names[0], entry)
            elif kind in (kinds.MEMBER, kinds.ACK, kinds.VOTE) and names[:1] == [self._member]:
                self._announced.is_seen(entry)
                self._freshness.look()

    def _new_lease(self) -> None:
        self._leaders.is_new_lease()
        self._announced.is_new_lease()
        self._reader.ask()

    def _leads_no_more(self, cluster: str) -> None:
        """Said before the watch tells of it: whoever acts as the leader stops."""
        if self.leaders.get(cluster) == self._member:
            self.leaders.hide(cluster)

    def _lost(self, why: str) -> None:
        self.statistics.why_lost = why

    async def _have_group(self) -> None:
        """Read the group's name, or make it: once for all proxies."""
        key = self._keys.group
        while self._reader.group is None:
            if self._is_follower:
                await self._reader.changes.wait_changed(self._reader.changes.version)
                continue
            name = uuid.uuid4().hex.encode()
            body = transaction([is_created(key, 0)], [to_put(key, name)])
            try:
                done = outcome_of(await self._client.call("/v3/kv/txn", body))
                await self._reader.wait_seen(done.revision if done.is_done else 1, within=1.0)
            except StoreUnavailableError as error:
                log.warning("the group is not made", why=str(error))
            await trio.sleep(0.05)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
