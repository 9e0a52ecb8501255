"""A store that processes share, in memory: what it holds, and what each of them sees of it.

    member ── request (cut, slow, done late) ──> SimStore ── watch (lag, cut, deaf) ──> its boards

A member lives by a lease: what it says goes with it, and so does what it leads. A request that is not
answered in time may be carried out all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, TypeVar

import trio

from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.cas import note_check, record_replace
from shardproxy.store.interface import (
    Leadership,
    LeadershipLostError,
    MemberKey,
    StoreUnavailableError,
    together_check,
)
from shardproxy.store.member import Member, Vote
from shardproxy.store.notes import Note, NoteKey, Notes, notes_board
from shardproxy.store.record import ShardRecord

CLUSTER = "sessions"
TTL = 3.0
RENEW = 0.5
UNSYNCED_AFTER = 0.6 * TTL  # seconds without contact
NO_NEWS = 3.0  # seconds: the same of who only follows
TRIP = 0.001
TIMEOUT = 1.0  # seconds; a request that takes longer has failed for who asked
POLL = 0.1
BEHIND = 1.0  # seconds; a member that hears of changes so late says no more that it is alive
BEAT = 1.0  # seconds between signs of life for those that only follow

T = TypeVar("T")
GONE = object()


def _acks() -> Board[MemberKey, int]:
    return Board(topic_of=itemgetter(1))


def _votes() -> Board[MemberKey, Vote]:
    return Board(topic_of=itemgetter(1))


@dataclass
class Boards:
    """All that a store shows, of one cluster."""

    records: Board[ShardKey, ShardRecord] = field(default_factory=Board)
    acks: Board[MemberKey, int] = field(default_factory=_acks)
    votes: Board[MemberKey, Vote] = field(default_factory=_votes)
    members: Board[str, Member] = field(default_factory=Board)
    leaders: Board[str, str] = field(default_factory=Board)
    beats: Board[str, int] = field(default_factory=Board)
    notes: Notes = field(default_factory=notes_board)

    def set(self, what: str, key: Any, value: Any) -> None:
        board = getattr(self, what)
        if value is GONE:
            board.hide(key)
        else:
            board.show(key, value)


@dataclass(frozen=True)
class Change:
    number: int
    at: float
    what: str  # the board
    values: Mapping[Any, Any]  # by key: together, and never one without the other


@dataclass
class SimStore:
    """What all members of a group share. `boards` are as it is, not as anybody sees it."""

    group: str
    is_down: Callable[[], bool]
    noted: Callable[[ShardRecord], None]  # told of every record that is stored
    noted_all: Callable[[Sequence[ShardRecord]], None] = lambda records: None  # and of all that were together
    boards: Boards = field(default_factory=Boards)
    changes: list[Change] = field(default_factory=list)
    changed: trio.Event = field(default_factory=trio.Event)
    leases: dict[str, float] = field(default_factory=dict)  # until when members live
    leading: dict[str, tuple[str, int]] = field(default_factory=dict)  # by cluster: who, and its revision
    is_checking_leader: bool = True  # a mutation switch
    is_expiring_leaders: bool = True  # a mutation switch
    nursery: trio.Nursery | None = None
    _revision: int = 0

    @property
    def records(self) -> Board[ShardKey, ShardRecord]:
        return self.boards.records

    @property
    def notes(self) -> Notes:
        return self.boards.notes

    def note_nowait(self, key: NoteKey, value: Any, expected: int | None = None) -> Note:
        """As an operator has it done elsewhere."""
        note_check(key, self.notes.get(key), expected)
        self._revision += 1
        note = Note(value, self._revision)
        self.set("notes", key, note)
        return note

    def drop_nowait(self, key: NoteKey, expected: int | None = None) -> None:
        if key in self.notes:
            note_check(key, self.notes.get(key), expected)
            self.set("notes", key, GONE)

    def set(self, what: str, key: Any, value: Any) -> int:
        """Change something, and have it told; return its number."""
        return self.set_all(what, {key: value})

    def set_all(self, what: str, values: Mapping[Any, Any]) -> int:
        for key, value in values.items():
            self.boards.set(what, key, value)
        self.changes.append(Change(len(self.changes), trio.current_time(), what, values))
        self.changed.set()
        self.changed = trio.Event()
        return len(self.changes) - 1

    async def run(self) -> None:
        """Let members expire, and beat for those that only follow, for ever."""
        beats = 0
        while True:
            await trio.sleep(POLL)
            if self.is_down():
                continue
            now = trio.current_time()
            for member in [member for member, until in self.leases.items() if now >= until]:
                self.expire(member)
            if self.leading and now >= (beats + 1) * BEAT:
                beats = int(now / BEAT)
                self.set("beats", self.group, beats)

    def expire(self, member: str) -> None:
        """A member is gone, and all that it said."""
        self.leases.pop(member, None)
        for cluster in [cluster for cluster, (who, _) in self.leading.items() if who == member]:
            self.end(cluster)
        for what in ("acks", "votes"):
            for key in [key for key in getattr(self.boards, what) if key[0] == member]:
                self.set(what, key, GONE)
        if member in self.boards.members:
            self.set("members", member, GONE)

    def end(self, cluster: str) -> None:
        del self.leading[cluster]
        self.set("leaders", cluster, GONE)

    def is_leading(self, member: str, cluster: str) -> bool:
        is_alive = self.leases.get(member, -math.inf) > trio.current_time()
        return is_alive and self.leading.get(cluster, ("", 0))[0] == member

    def try_lead(self, member: str, cluster: str) -> int | None:
        """Lead unless another one does; return the new leader's revision."""
        now = trio.current_time()
        if member not in self.leases:
            return None
        led_by = self.leading.get(cluster, (member, 0))[0]
        if led_by != member and now < self.leases.get(led_by, -math.inf):
            return None
        self._revision += 1
        self.leading[cluster] = (member, self._revision)
        self.set("leaders", cluster, member)
        return self._revision

    def put_all(self, records: Sequence[ShardRecord], revision: int) -> tuple[ShardRecord, ...]:
        cluster = together_check(records)
        if self.is_checking_leader and self.leading.get(cluster, ("", 0))[1] != revision:
            raise LeadershipLostError("another controller leads")
        stored = tuple(record_replace(self.records.get(one.key), one, self._revision + 1) for one in records)
        self._revision += 1
        for record in stored:
            self.noted(record)
        self.set_all("records", {record.key: record for record in stored})
        self.noted_all(stored)
        return stored


@dataclass
class SimLease:
    """The right to write a cluster's records: it ends with the lease of the member that has it."""

    cluster: str
    revision: int
    session: SimSession
    grant: int  # of the member's leases
    is_void: bool = False

    def covers(self, seconds: float) -> bool:
        if not seconds and trio.current_time() < self.session.stopped_until:
            return True  # who stands still does not look
        is_same = not self.is_void and self.grant == self.session.grant
        return is_same and trio.current_time() + seconds < self.session.valid_until

    async def resign(self) -> None:
        if not self.is_void:
            await self.session.resign(self)


@dataclass
class SimSession:
    """One process's part in the store: it may be cut off, slow, deaf, or stand still."""

    store: SimStore
    member: str
    clusters: tuple[str, ...]
    lag: float = 0.0  # seconds until it hears of a change
    is_follower: bool = False  # has no lease, and writes nothing
    is_eternal: bool = False  # a data plane that is all there is of a process: it has no lease
    boards: Boards = field(default_factory=Boards)
    synced: Board[str, bool] = field(default_factory=Board)
    leases: Board[str, float] = field(default_factory=Board)
    is_cut: bool = False
    slow: float = 0.0  # seconds that a request takes
    deaf_until: float = 0.0
    stopped_until: float = 0.0
    valid_until: float = -math.inf
    grant: int = 0
    announced: Member | None = None
    is_gone: bool = False  # the process has ended
    heard_at: float = 0.0  # of the store
    _seen: dict[tuple[str, Any], int] = field(default_factory=dict)  # numbers of what the boards show
    _at: int = 0

    async def turn(self) -> None:
        """Go on only while the process is not stopped."""
        await trio.sleep_until(until := self.stopped_until)
        if until != self.stopped_until:
            await self.turn()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.heard_at = trio.current_time()
        for cluster in self.clusters:
            self.synced.show(cluster, True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            if self.is_eternal:
                task_status.started()
                return
            if not self.is_follower:
                await self._renew()
                nursery.start_soon(self._renew_on)
            nursery.start_soon(self._look_on)
            task_status.started()

    async def _watch(self) -> None:
        while True:
            while self._at == len(self.store.changes):
                await self.store.changed.wait()
            change = self.store.changes[self._at]
            await trio.sleep_until(max(change.at + self.lag, self.deaf_until))
            while self.is_cut or trio.current_time() < self.deaf_until:  # noqa: ASYNC110 - faults set it
                await trio.sleep(POLL)
            if trio.current_time() < self.stopped_until:  # what came meanwhile is read after what was begun
                await self.turn()
                await trio.sleep(2 * TRIP)
            self._show(change.number, change.what, change.values)
            self._at += 1
            if self.is_follower:
                self.heard_at = max(self.heard_at, change.at)

    def _show(self, number: int, what: str, values: Mapping[Any, Any]) -> None:
        """What is newer is not undone by what is heard late."""
        for key, value in values.items():
            if self._seen.get((what, key), -1) < number:
                self._seen[what, key] = number
                self.boards.set(what, key, value)

    @property
    def is_behind(self) -> bool:
        """Whether it hears of no changes: to say that it is alive would hold up those that wait for it."""
        changes = self.store.changes
        return self._at < len(changes) and trio.current_time() - changes[self._at].at > BEHIND

    async def _ask(self, do: Callable[[], T]) -> T:
        """Have something done at the store."""
        if self.is_gone:
            raise StoreUnavailableError("the process has ended")
        if self.is_follower:
            raise StoreUnavailableError("a follower writes nothing")
        await self.turn()
        delay = TRIP + self.slow
        if self.is_cut:
            await trio.sleep(TIMEOUT)
            raise StoreUnavailableError("no answer from the store")
        if delay > TIMEOUT:
            assert self.store.nursery is not None
            self.store.nursery.start_soon(self._do_late, delay, do)
            await trio.sleep(TIMEOUT)
            raise StoreUnavailableError("no answer from the store in time")
        await trio.sleep(delay)
        if self.store.is_down():
            raise StoreUnavailableError("the store is down")
        try:
            done = do()
        finally:
            await self.turn()
        if self.is_cut:
            raise StoreUnavailableError("no answer from the store any more")
        return done

    async def _do_late(self, delay: float, do: Callable[[], Any]) -> None:
        await trio.sleep(delay)
        if not self.store.is_down():
            try:
                do()
            except Exception:  # noqa: BLE001 - nobody hears of it
                return

    # --- being alive ---

    async def _renew_on(self) -> None:
        while True:
            await trio.sleep(RENEW)
            await self.turn()
            if not self.is_behind:
                await self._renew()

    async def _renew(self) -> None:
        sent = trio.current_time()
        store = self.store

        def renew() -> bool:
            is_new = self.member not in store.leases
            store.leases[self.member] = trio.current_time() + TTL
            return is_new

        try:
            is_new = await self._ask(renew)
            if is_new:
                self.grant += 1
            self.valid_until, self.heard_at = sent + TTL, sent
            if is_new and self.announced is not None:
                await self.announce(self.announced)
        except StoreUnavailableError:
            return

    async def _look_on(self) -> None:
        while True:
            await trio.sleep(POLL)
            await self.turn()
            limit = NO_NEWS if self.is_follower else UNSYNCED_AFTER
            for cluster in self.clusters:
                self.synced.show(cluster, trio.current_time() - self.heard_at < limit)
                if not self.is_follower:
                    self.leases.show(cluster, self.valid_until)

    # --- as the interface has it ---

    async def claim(self, cluster: str) -> Leadership:
        while True:
            revision = await self._ask(lambda: self.store.try_lead(self.member, cluster))
            if revision is not None:
                self._catch_up()
                return SimLease(cluster, revision, self, self.grant)
            await trio.sleep(POLL)

    def _catch_up(self) -> None:
        """Who leads has read the records first, and knows that it leads."""
        for change in self.store.changes[self._at :]:
            if change.what in ("records", "leaders"):
                self._show(change.number, change.what, change.values)

    async def resign(self, lease: SimLease) -> None:
        lease.is_void = True

        def resign() -> None:
            if self.store.leading.get(lease.cluster) == (self.member, lease.revision):
                self.store.end(lease.cluster)

        try:
            await self._ask(resign)
        except StoreUnavailableError:
            return

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        (stored,) = await self.put_all((record,), leadership)
        return stored

    async def put_all(
        self, records: Sequence[ShardRecord], leadership: Leadership
    ) -> tuple[ShardRecord, ...]:
        stored = await self._ask(lambda: self.store.put_all(records, leadership.revision))
        self._show_own("records", stored[0].key)
        return stored

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        note = await self._ask(lambda: self.store.note_nowait(key, value, expected))
        self._show_own("notes", key)
        return note

    async def drop(self, key: NoteKey, *, expected: int | None = None) -> None:
        await self._ask(lambda: self.store.drop_nowait(key, expected))
        self._show_own("notes", key)

    async def announce(self, member: Member) -> None:
        self.announced = member
        await self._say("members", member.name, member)

    async def ack(self, key: ShardKey, changed: int | None) -> None:
        await self._say("acks", (self.member, key), GONE if changed is None else changed)

    async def vote(self, votes: Mapping[ShardKey, Vote | None]) -> None:
        for key, vote in votes.items():
            await self._say("votes", (self.member, key), GONE if vote is None else vote)

    async def leave(self) -> None:
        self.announced = None
        await self._ask(lambda: self.store.expire(self.member))

    async def follow(self, clusters: Iterable[str]) -> None:
        await trio.lowlevel.checkpoint()

    async def _say(self, what: str, key: Any, value: Any) -> None:
        def say() -> int:
            if not self.is_eternal and self.member not in self.store.leases:
                raise StoreUnavailableError("its lease has ended")
            return self.store.set(what, key, value)

        self._show(await self._ask(say), what, {key: value})

    def _show_own(self, what: str, key: Any) -> None:
        """Show what was written, and what was written with it, as soon as it is known to be."""
        for change in reversed(self.store.changes):
            if change.what == what and key in change.values:
                self._show(change.number, what, change.values)
                return
