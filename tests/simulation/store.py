"""A store in memory: several controllers, one leader by lease, and it can be down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import trio

from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.cas import note_check, record_replace
from shardproxy.store.interface import Leadership, LeadershipLostError, MemberKey, StoreUnavailableError
from shardproxy.store.member import Member
from shardproxy.store.notes import Note, NoteKey, Notes, notes_board
from shardproxy.store.record import ShardRecord

CLUSTER = "sessions"
TTL = 3.0
TRIP = 0.001
POLL = 0.1


def _acks() -> Board[MemberKey, int]:
    return Board(topic_of=itemgetter(1))


@dataclass
class SimLease:
    """Renewed by its process; another process may lead once it has run out."""

    cluster: str
    revision: int
    valid_until: float

    def covers(self, seconds: float) -> bool:
        return trio.current_time() + seconds < self.valid_until

    async def resign(self) -> None:
        """Others wait until it has run out, as after a crash."""
        await trio.lowlevel.checkpoint()


@dataclass
class SimStore:
    """What all controllers of a group share."""

    group: str
    is_down: Callable[[], bool]
    noted: Callable[[ShardRecord], None]  # told of every record that is stored
    records: Board[ShardKey, ShardRecord] = field(default_factory=Board)
    acks: Board[MemberKey, int] = field(default_factory=_acks)
    notes: Notes = field(default_factory=notes_board)
    members: Board[str, Member] = field(default_factory=Board)
    leaders: Board[str, str] = field(default_factory=Board)
    is_checking_leader: bool = True  # a mutation switch
    _lease: SimLease | None = None
    _revision: int = 0
    _leaders: int = 0

    async def claim(self, cluster: str) -> Leadership:
        while True:
            await trio.sleep(TRIP)
            if self.is_down():
                raise StoreUnavailableError("the store is down")
            if self._lease is None or trio.current_time() >= self._lease.valid_until:
                self._leaders += 1
                self._lease = SimLease(cluster, self._leaders, trio.current_time() + TTL)
                return self._lease
            await trio.sleep(POLL)

    def renew(self, lease: SimLease) -> None:
        if not self.is_down() and lease is self._lease:
            lease.valid_until = trio.current_time() + TTL

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        await trio.sleep(TRIP)
        if self.is_down():
            raise StoreUnavailableError("the store is down")
        if self.is_checking_leader and leadership is not self._lease:
            raise LeadershipLostError("another controller leads")
        stored = record_replace(self.records.get(record.key), record, self._revision + 1)
        self._revision += 1
        self.noted(stored)
        self.records.show(record.key, stored)
        return stored

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        await trio.sleep(TRIP)
        if self.is_down():
            raise StoreUnavailableError("the store is down")
        return self.note_nowait(key, value, expected)

    async def drop(self, key: NoteKey, *, expected: int | None = None) -> None:
        await trio.sleep(TRIP)
        if self.is_down():
            raise StoreUnavailableError("the store is down")
        if key in self.notes:
            note_check(key, self.notes.get(key), expected)
            self.notes.hide(key)

    def note_nowait(self, key: NoteKey, value: Any, expected: int | None = None) -> Note:
        """As an operator has it done elsewhere."""
        note_check(key, self.notes.get(key), expected)
        self._revision += 1
        note = Note(value, self._revision)
        self.notes.show(key, note)
        return note
