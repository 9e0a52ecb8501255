"""The store of a proxy that is alone: it leads whatever it claims, and is its only member.

But for the moment in which one process takes over from another (its twin): the one with the lock leads, the
other one follows the file, and leads once the lock is let go of.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import trio

from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.cas import note_check
from shardproxy.store.interface import (
    Leadership,
    LeadershipLostError,
    MemberKey,
    StoreUnavailableError,
    together_check,
    votes_show,
)
from shardproxy.store.journal import Journal, events_read
from shardproxy.store.local.codec import state_encode, state_read, users_kept_read
from shardproxy.store.local.file import StateFile
from shardproxy.store.local.link import Link
from shardproxy.store.local.lock import lock_take
from shardproxy.store.local.state import State, StateFileError
from shardproxy.store.local.twin import Twin
from shardproxy.store.member import Member, Vote
from shardproxy.store.notes import Note, NoteKey, NoteKind, Notes, notes_board, value_encode
from shardproxy.store.record import ShardRecord
from shardproxy.store.replace import file_replace
from shardproxy.store.statistics import StoreStatistics

K = TypeVar("K")
V = TypeVar("V")

LOCK_POLL = 0.02  # seconds; the kernel tells nobody that a lock is free
VOLATILE = frozenset({NoteKind.EVENT, NoteKind.REQUEST})  # beside the state file, or in memory


@dataclass(frozen=True, slots=True)
class LocalLeadership:
    """Held until somebody else in this process claims the cluster, or the file is let go of."""

    cluster: str
    revision: int
    let_go: Callable[[Leadership], None] = field(repr=False)
    is_held: Callable[[Leadership], bool] = field(repr=False)

    def covers(self, seconds: float) -> bool:
        return self.is_held(self)

    async def resign(self) -> None:
        await trio.lowlevel.checkpoint()
        self.let_go(self)


class LocalStore:
    """Everything in a file. A context manager: opening takes the lock and reads the file."""

    lingers = 0.0  # its twin is waited for, and nobody else follows it

    def __init__(
        self, path: Path, member: str = "self", *, before: Link | None = None, twin: str = ""
    ) -> None:
        """Given a link to the process before, its twin, it has the lock once that lets go of it."""
        self.path = path
        self.member = member
        self.statistics = StoreStatistics()
        self.synced: Board[str, bool] = Board()
        self.leases: Board[str, float] = Board()
        self.records: Board[ShardKey, ShardRecord] = Board()
        self.leaders: Board[str, str] = Board()
        self.members: Board[str, Member] = Board()
        self.acks: Board[MemberKey, int] = Board(topic_of=itemgetter(1))
        self.votes: Board[MemberKey, Vote] = Board(topic_of=itemgetter(1))
        self.notes: Notes = notes_board()
        self._lock_file: int | None = None
        self._file = StateFile(path, State(uuid.uuid4().hex), self.statistics, self._show)
        self._journal = Journal()
        self._leading: dict[str, int] = {}  # by cluster, the revision that leads it
        self._followed: frozenset[str] | None = None  # None = all
        self._passing = 0  # revision of the last note that is not in the file
        self._may_lead = True  # not any more once the lock was let go of
        self._locked = trio.Event()
        self._twin: Twin | None = None
        self._arrivals = trio.Event()  # a twin has come
        if before is not None:
            self.join(before, twin)

    def __enter__(self) -> Self:
        if self._twin is None:
            self._lock_file = lock_take(self.path)
            self._file.taken()
            self._locked.set()
        try:
            self._file.state = self._with_users_kept(state_read(self.path) or self._file.state)
        except BaseException:
            self.close()
            raise
        self._journal = Journal(self.path.with_name(self.path.name + ".events"))
        self.members.show(self.member, Member(self.member))
        self._show(State(self.group), self._file.state)
        self._show_events()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lead no more, and let go of the lock: another process may use the file. Idempotent.

        A write that has begun keeps the lock until it is over: it would undo what the next one writes.
        """
        self._may_lead = False
        self._file.close()
        self._locked.set()  # whoever waits for it waits in vain
        if self._lock_file is not None:
            self._file.when_idle(partial(os.close, self._lock_file))
            self._lock_file = None
            for cluster in list(self._leading):
                del self._leading[cluster]
                self.leaders.hide(cluster)
            if self._twin is not None:
                self._renewed(self._twin.until)

    def join(self, link: Link, twin: str) -> None:
        """Another process has, or is to have, the same file; before the link is run, which `run` does.

        It is waited for from now on, before it has said anything.
        """

        if (why := self.why_no_twin) is not None:
            raise ValueError(why)

        def gone() -> None:
            self._twin = None
            self.members.hide(twin)
            for key in [key for key in self.acks if key[0] == twin]:
                self.acks.hide(key)
            self._renewed(_now())

        self._twin = Twin(
            link,
            twin,
            look=self._look,
            acked=partial(self._acked, twin),
            gone=gone,
            renewed=self._renewed,
        )
        self._show_twin()
        for (member, key), changed in self.acks.items():
            if member == self.member:
                self._twin.ack(key, changed)
        self._arrivals.set()

    @property
    def why_no_twin(self) -> str | None:
        """Why no other process can join now: one at a time is waited for."""
        if self._twin is None:
            return None
        return f"{self._twin.name} has the same state file until it ends: try again when it has"

    def _show_twin(self) -> None:
        """It may serve whatever is served here."""
        if self._twin is not None:
            clusters = self._followed or {key.cluster for key in self.records}
            name = self._twin.name
            self.members.show(name, Member(name, endpoints=dict.fromkeys(clusters, ())))

    @property
    def group(self) -> str:
        return self._file.state.group

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Nothing comes from elsewhere but for a twin."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take_lock)
            nursery.start_soon(self._file.run)
            task_status.started()
            while True:
                await self._arrivals.wait()
                self._arrivals = trio.Event()
                if self._twin is not None:
                    nursery.start_soon(self._twin.run)

    async def _take_lock(self) -> None:
        """Lead once the process before does not any more, from where it has left off."""
        while self._lock_file is None and self._may_lead:
            try:
                lock = lock_take(self.path)
            except StateFileError:
                await trio.sleep(LOCK_POLL)
                continue
            try:
                self._look()
                self._journal = Journal(self.path.with_name(self.path.name + ".events"))
                self._show_events()
            except BaseException:
                os.close(lock)
                raise
            self._lock_file = lock
            self._file.taken()
            for cluster in list(self.leases):
                self.leases.hide(cluster)
            self._locked.set()

    def _look(self) -> None:
        """Show what the process that has the lock has written."""
        if self._lock_file is not None:
            return
        before, state = self._file.state, state_read(self.path)
        if state is not None:
            state = replace(
                state, records=_kept(before.records, state.records), notes=_kept(before.notes, state.notes)
            )
            self._file.state = state
            self._show(before, self._file.state)

    def _renewed(self, until: float) -> None:
        """Whoever has the lock waits for us until then."""
        if self._lock_file is None:
            for cluster in self._followed or ():
                self.leases.show(cluster, until)

    async def follow(self, clusters: Iterable[str]) -> None:
        await trio.lowlevel.checkpoint()
        self._followed = frozenset(clusters)
        for key in [key for key in self.records if key in self._file.state.records]:
            if key.cluster not in self._followed:
                self.records.hide(key)
        for name in [name for name in self.notes if name.cluster not in self._followed]:
            self.notes.hide(name)
        for cluster in [cluster for cluster in self.synced if cluster not in self._followed]:
            self.synced.hide(cluster)
        for cluster in self._followed:
            self.synced.show(cluster, True)
        if self._twin is not None:
            self._renewed(self._twin.until)
            self._show_twin()
        self._show(State(self.group), self._file.state)
        self._show_events()

    # --- records ---

    async def claim(self, cluster: str) -> Leadership:
        """Lead as soon as the lock is ours."""
        await self._locked.wait()

        def lead(state: State) -> tuple[State, int]:
            if self._lock_file is None:
                raise StoreUnavailableError(f"{self.path} is closed")
            return replace(state, leader=state.leader + 1), state.leader + 1

        revision = await self._file.change(lead)
        self._leading[cluster] = revision
        self.leaders.show(cluster, self.member)
        return LocalLeadership(cluster, revision, self._let_go, self._is_held)

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        (stored,) = await self.put_all((record,), leadership)
        return stored

    async def put_all(
        self, records: Sequence[ShardRecord], leadership: Leadership
    ) -> tuple[ShardRecord, ...]:
        cluster = together_check(records)

        def store(state: State) -> tuple[State, tuple[ShardRecord, ...]]:
            if self._lock_file is None or leadership.cluster != cluster:
                raise LeadershipLostError(f"revision {leadership.revision} does not lead {cluster}")
            if leadership.revision != self._leading.get(cluster):
                raise LeadershipLostError(f"revision {leadership.revision} does not lead any more")
            return state.with_records(records)

        return await self._file.change(store)

    def _is_held(self, leadership: Leadership) -> bool:
        return self._leading.get(leadership.cluster) == leadership.revision

    def _let_go(self, leadership: Leadership) -> None:
        if self._is_held(leadership):
            del self._leading[leadership.cluster]
            self.leaders.hide(leadership.cluster)

    # --- what live members say: this one is alone, so nothing is written ---

    async def announce(self, member: Member) -> None:
        """One that drains changes nothing any more: the next process may have the file."""
        await trio.lowlevel.checkpoint()
        self.members.show(self.member, member)
        if member.is_draining:
            self.close()

    async def leave(self) -> None:
        await trio.lowlevel.checkpoint()
        self.close()
        self.members.hide(self.member)
        for key in list(self.acks):
            self.acks.hide(key)
        for key in list(self.votes):
            self.votes.hide(key)

    async def ack(self, key: ShardKey, changed: int | None) -> None:
        await trio.lowlevel.checkpoint()
        self._acked(self.member, key, changed)
        if self._twin is not None:
            self._twin.ack(key, changed)

    def _acked(self, member: str, key: ShardKey, changed: int | None) -> None:
        if changed is None:
            self.acks.hide((member, key))
        else:
            self.acks.show((member, key), changed)

    async def vote(self, votes: Mapping[ShardKey, Vote | None]) -> None:
        await trio.lowlevel.checkpoint()
        votes_show(self.votes, self.member, votes)

    # --- notes ---

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        if key.kind in VOLATILE:
            await trio.lowlevel.checkpoint()
            self._check_open()
            return self._note_passing(key, value, expected)

        def put(state: State) -> tuple[State, Note]:
            self._check_open()
            return state.with_note(key, value, expected)

        return await self._file.change(put)

    async def drop(self, key: NoteKey, *, expected: int | None = None) -> None:
        if key.kind in VOLATILE:
            await trio.lowlevel.checkpoint()
            self._check_open()
            if key in self.notes:
                note_check(key, self.notes.get(key), expected)
                self.notes.hide(key)
            return

        def forget(state: State) -> tuple[State, None]:
            self._check_open()
            return state.without_note(key, expected)

        await self._file.change(forget)

    def _note_passing(self, key: NoteKey, value: Any, expected: int | None) -> Note:
        value_encode(value)
        note_check(key, self.notes.get(key), expected)
        if key.kind is NoteKind.EVENT:
            self._journal.add({"id": key.name, "cluster": key.cluster, "value": value})
        self._passing += 1
        note = Note(value, self._passing)
        self.notes.show(key, note)
        return note

    def _check_open(self) -> None:
        if self._lock_file is None and self._may_lead:
            raise StoreUnavailableError(f"{self.path} is still that of the process that is taken over from")
        if self._lock_file is None:
            raise StoreUnavailableError(f"{self.path} is closed")

    # --- what is shown ---

    def _show(self, before: State, state: State) -> None:
        """Show what differs, of the clusters that are followed."""
        if self._twin is not None and self._lock_file is not None:
            self._twin.look()
        for key, record in state.records.items():
            if before.records.get(key) is not record and self._is_followed(key.cluster):
                self.records.show(key, record)
        for name in before.notes.keys() - state.notes.keys():
            self.notes.hide(name)
        for name, noted in state.notes.items():
            if before.notes.get(name) is not noted and self._is_followed(name.cluster):
                self.notes.show(name, noted.note)

    def _show_events(self) -> None:
        for key, value in events_read(self._journal):
            if self._is_followed(key.cluster) and key not in self.notes:
                self._passing += 1
                self.notes.show(key, Note(value, self._passing))

    def _is_followed(self, cluster: str) -> bool:
        return self._followed is None or cluster in self._followed

    def _with_users_kept(self, state: State) -> State:
        """With the changes of users that versions before kept in a file beside, which is then gone."""
        path = self.path.with_name(self.path.name + ".users")
        if self._lock_file is None:
            return state
        try:
            notes = users_kept_read(path, state.revision + 1)
        except FileNotFoundError:
            return state
        state = replace(state, revision=state.revision + 1, notes={**state.notes, **notes})
        with contextlib.suppress(OSError):  # then both are read again at the next start
            file_replace(self.path, state_encode(state))
            path.unlink()
        return state


def _kept(before: Mapping[K, V], now: Mapping[K, V]) -> dict[K, V]:
    """What is as before is the same object: nobody hears of it again."""
    return {key: old if (old := before.get(key)) == new else new for key, new in now.items()}


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
