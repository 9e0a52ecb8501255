"""Writes a state file: changes that come while it is being written are written together.

A thread that nothing else waits for does it, into files that were made ready before. Knows nothing of what a
change is about.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import trio

from shardproxy.store.interface import StoreError, StoreUnavailableError
from shardproxy.store.local.codec import StateEncoder
from shardproxy.store.local.state import State
from shardproxy.store.replace import file_replace
from shardproxy.store.spare import Spares
from shardproxy.store.statistics import StoreStatistics

READY_AFTER = 0.1  # seconds after a write until files are made ready for the next ones
MAX_WRITE = 5.0  # seconds; a disk that takes longer is a broken one

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Change:
    """One that waits to be written."""

    apply: Callable[[State], tuple[State, Any]]
    is_done: bool = False
    outcome: Any = None
    error: StoreError | ValueError | None = None


class StateFile:
    """A state, as written last; `written` is told of each, and of the one before."""

    def __init__(
        self,
        path: Path,
        state: State,
        statistics: StoreStatistics,
        written: Callable[[State, State], None],
    ) -> None:
        self.state = state
        self._path = path
        self._statistics = statistics
        self._written = written
        self._turn = trio.Lock()
        self._waiting: list[_Change] = []
        self._encoder = StateEncoder()  # the thread's
        self._spares = Spares(path)
        self._size = 0  # of what was written last, in bytes
        self._has_written = trio.Event()
        self._thread = trio.CapacityLimiter(1)
        self._stuck: threading.Event | None = None  # set when the write that was given up has ended
        self._is_writing = False
        self._when_idle: list[Callable[[], None]] = []

    async def change(self, change: Callable[[State], tuple[State, T]]) -> T:
        """Have a change written, together with all others that wait; return what came of it.

        Once begun it is finished, and then known: a cancelled caller leaves no doubt about the file. What
        leaves the state as it is is not written.
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

    async def run(self) -> None:
        """Have files ready for what will be written, while nothing is, until cancelled."""
        while True:
            await self._has_written.wait()
            await trio.sleep(READY_AFTER)
            self._has_written = trio.Event()
            with contextlib.suppress(OSError):  # then each is made when it is written
                await trio.to_thread.run_sync(self._spares.fill, self._size, abandon_on_cancel=True)

    def taken(self) -> None:
        """This process has the file now, and no other one."""
        self._spares.clear()

    def close(self) -> None:
        """Nothing more is to be written."""
        self._spares.close()

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call this once the write that has begun is over, now if there is none; never if it hangs."""
        if self._is_writing or self._is_stuck:
            self._when_idle.append(then)
        else:
            then()

    @property
    def _is_stuck(self) -> bool:
        return self._stuck is not None and not self._stuck.is_set()

    async def _write(self, changes: list[_Change]) -> None:
        """Write the state as all of them leave it; each that may not be made says why."""
        state, made = self.state, []
        for change in changes:
            try:
                state, change.outcome = change.apply(state)
                made.append(change)
            except (StoreError, ValueError) as why:
                change.error = why
        error = None
        if state is not self.state:
            self._is_writing = True
            try:
                error = await self._save(state)
            finally:
                self._is_writing = False
                if not self._is_stuck:
                    waiting, self._when_idle = self._when_idle, []
                    for then in waiting:
                        then()
        for change in changes:
            change.is_done = True
        for change in made:
            change.error = error

    async def _save(self, state: State) -> StoreUnavailableError | None:
        """Write the file, and tell of it; or say why it could not be written."""
        if self._is_stuck:
            return StoreUnavailableError(f"{self._path}: an earlier write hangs")
        began, written = trio.current_time(), threading.Event()
        error: StoreUnavailableError | None = None

        def write() -> None:
            try:
                data = self._encoder.encode(state)
                self._size = len(data)
                if (spare := self._spares.take(len(data))) is not None:
                    spare.put(self._path, data)
                else:
                    file_replace(self._path, data)
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
        self._statistics.observe(trio.current_time() - began, ok=error is None)
        self._has_written.set()
        if error is None:
            before, self.state = self.state, state
            self._written(before, state)
        return error
