"""The audit log: who did what and when, a JSON object a line. Never a value, never a secret.

    whoever notes ─> a bounded queue ─> one task ─> a file, or standard output

Nobody waits for the disk: what does not fit into the queue is counted and lost, and a line says how much.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import structlog
import trio

STDOUT = "stdout"
CAPACITY = 8192  # lines that wait; a disk that is late for longer loses some
BATCH = 512  # lines that are written at once
MODE = 0o640
TOLD = 60.0  # seconds until the process's own log is told again that the audit log cannot be written
RETRY = 1.0  # seconds
LAST_WORDS = 2.0  # seconds at the end of the process

Field: TypeAlias = str | int

log = structlog.get_logger()


@dataclass(slots=True)
class AuditStatistics:
    """Lines since the start."""

    written: int = 0
    lost: int = 0


class Audit:
    """What is noted; `run` writes it. `place`: a path, `stdout`, or None: nothing is noted."""

    def __init__(self, place: str | None = None) -> None:
        self.place = place
        self.statistics = AuditStatistics()
        self._waiting: deque[str] = deque()
        self._news = trio.Event()
        self._writing = threading.Lock()
        self._untold = 0  # lost since a line said so
        self._told = float("-inf")

    def note(self, event: str, **fields: Field) -> None:
        """Have it written: `event` in one word, and what is known of it; empty fields are left out."""
        if self.place is None:
            return
        if len(self._waiting) >= CAPACITY:
            self.statistics.lost += 1
            self._untold += 1
            return
        if self._untold:
            self._waiting.append(_line("audit_lost", {"lines": self._untold}))
            self._untold = 0
        self._waiting.append(_line(event, fields))
        self._news.set()

    def miss(self, lines: int) -> None:
        """Say in the next line that there is room for how many could not even be noted."""
        if self.place is not None:
            self._untold += lines

    def lines(self) -> tuple[str, ...]:
        """What waits to be written."""
        return tuple(self._waiting)

    async def run(self) -> None:
        """Write what is noted until cancelled, and then what is left."""
        try:
            while True:
                if not self._waiting:
                    self._news = trio.Event()
                    await self._news.wait()
                # a reader of standard output that has stopped reading must not hold up the process's end
                if (error := await trio.to_thread.run_sync(self._write, abandon_on_cancel=True)) is not None:
                    self._tell(error)
                    await trio.sleep(RETRY)
        finally:
            with trio.move_on_after(LAST_WORDS, shield=True):
                while self._waiting:
                    if await trio.to_thread.run_sync(self._write, abandon_on_cancel=True) is not None:
                        break

    def _write(self) -> Exception | None:
        """Write a batch; why it could not be written, and waits on."""
        with self._writing:
            return self._write_batch()

    def _write_batch(self) -> Exception | None:
        place = self.place
        if place is None:
            self._waiting.clear()
            return None
        batch = [self._waiting[at] for at in range(min(len(self._waiting), BATCH))]
        try:
            with _opened(place) as descriptor:
                _write_all(descriptor, "".join(batch).encode("ascii"))
        except OSError as error:
            return error
        for _ in batch:
            self._waiting.popleft()
        self.statistics.written += len(batch)
        return None

    def _tell(self, error: Exception) -> None:
        now = trio.current_time()
        if now >= self._told + TOLD:
            self._told = now
            log.error("audit log not written", file=self.place, why=str(error), waiting=len(self._waiting))


NO_AUDIT = Audit()


@contextlib.contextmanager
def _opened(place: str) -> Iterator[int]:
    """The file as it is now: one that was moved away by a log rotation is left to it."""
    if place == STDOUT:
        yield 1  # and not Python's: at the end that would be waited for
        return
    descriptor = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def why_not_written(place: str) -> str | None:
    """Why an audit log cannot be written there, if it cannot."""
    if place == STDOUT:
        return None
    try:
        with contextlib.suppress(FileNotFoundError):
            mode = Path(place).stat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
                return f"the audit log {place} is no file"
        with _opened(place):
            return None
    except OSError as error:
        where = Path(place).parent
        return f"the audit log {place} cannot be written: {error.strerror} (is there a directory {where}?)"


def _line(event: str, fields: dict[str, Field]) -> str:
    known = {name: value for name, value in fields.items() if value not in ("", None)}
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": time, "event": event, **known}, ensure_ascii=True) + "\n"
