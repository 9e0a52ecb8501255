"""A state file, for a proxy that is alone.

    state.json         the records: written beside, synced, renamed over
    state.json.lock    held (flock) by the process that may write; the kernel lets go when it ends
    state.json.events  what happened, for people

The leader's revision is in the file as well, so that it grows with every start. Changes that come while the
file is being written are written together, by a thread that nothing else waits for.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import trio

from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.cas import record_replace
from shardproxy.store.codec import record_decode, record_encode
from shardproxy.store.interface import (
    Leadership,
    LeadershipLostError,
    MemberKey,
    StoreError,
    StoreUnavailableError,
)
from shardproxy.store.journal import Journal
from shardproxy.store.record import ShardRecord
from shardproxy.store.replace import file_replace
from shardproxy.store.statistics import StoreStatistics

FORMAT = 2
FORMATS = (1, FORMAT)  # that can be read
MAX_WRITE = 5.0  # seconds; a disk that takes longer is a broken one
MAX_FILE = 4 << 20  # bytes; 250 shards of 6 nodes in each of 10 clusters are a quarter of it


T = TypeVar("T")


class StateFileError(Exception):
    """The state file cannot be used; says what to do about it."""


@dataclass(frozen=True, slots=True)
class LocalLeadership:
    """Held as long as the lock is: until the process ends."""

    revision: int

    def covers(self, seconds: float) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class _State:
    group: str
    leader: int
    revision: int  # of the last write
    records: dict[ShardKey, ShardRecord]
    epochs: dict[str, int]  # the highest that each cluster's topology ever had
    paused: frozenset[str] = frozenset()  # clusters whose automatic failover an operator has paused
    layouts: dict[str, tuple[int, str]] = field(default_factory=dict)  # version and digest of pools as told


@dataclass(slots=True, eq=False)
class _Change:
    """One that waits to be written."""

    apply: Callable[[_State], tuple[_State, Any]]
    is_done: bool = False
    outcome: Any = None
    error: StoreError | None = None


class LocalStore:
    """One process's records in a file. A context manager: opening takes the lock and reads the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.statistics = StoreStatistics()
        self._lock_file: int | None = None
        self._turn = trio.Lock()
        self._waiting: list[_Change] = []
        self._thread = trio.CapacityLimiter(1)
        self._stuck: threading.Event | None = None  # set when the write that was given up has ended
        self._journal = Journal()
        self._state = _State(uuid.uuid4().hex, 0, 0, {}, {})
        self._records: Board[ShardKey, ShardRecord] = Board()
        self._acks: Board[MemberKey, int] = Board(topic_of=itemgetter(1))

    @property
    def path(self) -> Path:
        """The state file; what else is kept stands beside it."""
        return self._path

    @property
    def group(self) -> str:
        return self._state.group

    @property
    def records(self) -> Board[ShardKey, ShardRecord]:
        return self._records

    @property
    def member(self) -> str:
        return "self"

    @property
    def acks(self) -> Board[MemberKey, int]:
        return self._acks

    async def ack(self, key: ShardKey, changed: int) -> None:
        """Nobody else has to know, so nothing is written."""
        self._acks.show((self.member, key), changed)
        await trio.lowlevel.checkpoint()

    def __enter__(self) -> Self:
        self._lock_file = _lock(self._path)
        try:
            self._state = _read(self._path) or self._state
        except BaseException:
            self.close()
            raise
        for key, record in self._state.records.items():
            self._records.show(key, record)
        self._journal = Journal(self._path.with_name(self._path.name + ".events"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lock. Idempotent."""
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    @property
    def journal(self) -> Journal:
        """What happened, also before this process."""
        return self._journal

    async def claim(self) -> Leadership:
        """Lead at once: the lock is ours. Whoever claimed before in this process leads no more."""

        def lead(state: _State) -> tuple[_State, Leadership]:
            return replace(state, leader=state.leader + 1), LocalLeadership(state.leader + 1)

        return await self._change(lead)

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        def store(state: _State) -> tuple[_State, ShardRecord]:
            if self._lock_file is None or leadership.revision != state.leader:
                raise LeadershipLostError(f"revision {leadership.revision} does not lead any more")
            revision = state.revision + 1
            stored = record_replace(state.records.get(record.key), record, revision)
            return replace(state, revision=revision, records={**state.records, record.key: stored}), stored

        return await self._change(store)

    def last_epoch(self, cluster: str) -> int:
        """The highest epoch noted for a cluster's topology; 0 = none."""
        return self._state.epochs.get(cluster, 0)

    async def note_epoch(self, cluster: str, epoch: int) -> None:
        """Remember the epoch of a topology that is about to be served; raise StoreUnavailableError."""
        if epoch > self.last_epoch(cluster):
            await self._note(lambda state: replace(state, epochs={**state.epochs, cluster: epoch}))

    @property
    def paused(self) -> frozenset[str]:
        """Clusters whose automatic failover is paused."""
        return self._state.paused

    async def note_paused(self, cluster: str, is_paused: bool) -> None:
        """Remember whether a cluster's automatic failover is paused; raise StoreUnavailableError."""
        if is_paused != (cluster in self.paused):
            await self._note(lambda state: replace(state, paused=state.paused ^ {cluster}))

    def last_layout(self, cluster: str) -> tuple[int, str] | None:
        """Version and digest of what clients were told last of a memcached cluster."""
        return self._state.layouts.get(cluster)

    async def note_layout(self, cluster: str, version: int, digest: str) -> None:
        """Remember what clients are about to be told; raise StoreUnavailableError."""
        await self._note(lambda state: replace(state, layouts={**state.layouts, cluster: (version, digest)}))

    async def _note(self, change: Callable[[_State], _State]) -> None:
        def note(state: _State) -> tuple[_State, None]:
            if self._lock_file is None:
                raise StoreUnavailableError(f"{self._path} is closed")
            return change(state), None

        await self._change(note)

    async def _change(self, change: Callable[[_State], tuple[_State, T]]) -> T:
        """Have a change written, together with all others that wait; return what came of it.

        Once begun it is finished, and then known: a cancelled caller leaves no doubt about the file.
        """
        wanted = _Change(change)
        self._waiting.append(wanted)
        try:
            async with self._turn:
                if not wanted.is_done:
                    changes, self._waiting = self._waiting, []
                    await self._write(changes)
        finally:
            if wanted in self._waiting:  # cancelled before anybody began
                self._waiting.remove(wanted)
        if wanted.error is not None:
            raise wanted.error
        return cast(T, wanted.outcome)

    async def _write(self, changes: list[_Change]) -> None:
        """Write the state as all of them leave it; each that may not be made says why."""
        state, made = self._state, []
        for change in changes:
            try:
                state, change.outcome = change.apply(state)
                made.append(change)
            except StoreError as why:
                change.error = why
        error = await self._save(state) if made else None
        for change in changes:
            change.is_done = True
        for change in made:
            change.error = error

    async def _save(self, state: _State) -> StoreUnavailableError | None:
        """Write the file, and show what is new; or say why it could not be written."""
        if self._stuck is not None and not self._stuck.is_set():
            return StoreUnavailableError(f"{self._path}: an earlier write hangs")
        began, written = trio.current_time(), threading.Event()
        error: StoreUnavailableError | None = None

        def write() -> None:
            try:
                file_replace(self._path, _encode(state))
            finally:
                written.set()

        try:
            with trio.move_on_after(MAX_WRITE, shield=True) as scope:
                await trio.to_thread.run_sync(write, limiter=self._thread, abandon_on_cancel=True)
            if scope.cancelled_caught:  # it may still succeed: what is read at the next start decides
                self._stuck = written
                error = StoreUnavailableError(f"{self._path}: not written within {MAX_WRITE:g} s")
        except OSError as why:
            error = StoreUnavailableError(f"{self._path}: {why.strerror or why}")
        self.statistics.observe(trio.current_time() - began, ok=error is None)
        if error is None:
            before, self._state = self._state, state
            for key, record in state.records.items():
                if before.records.get(key) is not record:
                    self._records.show(key, record)
        return error


def _lock(path: Path) -> int:
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateFileError(f"{lock}: {error.strerror}: make its directory writable") from error
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(number)
        raise StateFileError(
            f"{path} is in use by another shardproxy: give each its own file, or let them share a store"
        ) from error
    return number


def _read(path: Path) -> _State | None:
    """The file's state; None when there is no file yet."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateFileError(f"{path}: {error.strerror}") from error
    try:
        if len(data) > MAX_FILE:
            raise ValueError(f"has more than {MAX_FILE} bytes")
        return _decode(json.loads(data))
    except (ValueError, KeyError, TypeError) as error:
        raise StateFileError(
            f"{path} is damaged ({error}): restore it, or move it away to have the engines' own roles adopted"
        ) from error


def _encode(state: _State) -> bytes:
    """JSON, a record to a line."""
    values = {
        "format": FORMAT,
        "group": state.group,
        "leader": state.leader,
        "revision": state.revision,
        "epochs": state.epochs,
        "paused": sorted(state.paused),
        "layouts": state.layouts,
    }
    records = state.records.values()
    shards = ",\n".join(json.dumps({"revision": r.revision, **record_encode(r)}) for r in records)
    return f'{json.dumps(values)[:-1]}, "shards": [\n{shards}\n]}}\n'.encode()


def _decode(values: Any) -> _State:
    if values["format"] not in FORMATS:
        raise ValueError(f"format {values['format']}, and this version reads {FORMAT}")
    records = [record_decode(shard, int(shard["revision"])) for shard in values["shards"]]
    return _State(
        str(values["group"]),
        int(values["leader"]),
        int(values["revision"]),
        {record.key: record for record in records},
        {str(cluster): int(epoch) for cluster, epoch in values.get("epochs", {}).items()},
        frozenset(str(cluster) for cluster in values.get("paused", ())),
        {str(cluster): (int(told[0]), str(told[1])) for cluster, told in values.get("layouts", {}).items()},
    )
