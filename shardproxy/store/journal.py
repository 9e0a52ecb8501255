"""What happened, one JSON value a line, in a file beside the state: it outlives the process.

Appended to, and written anew with the latest lines when it has grown to twice as many as are kept. Nothing is
decided by it, so it is not synced, and a line cut short by a crash is left out.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from shardproxy.store.notes import NoteKey, NoteKind

CAPACITY = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MAX_READ = 16 << 20  # bytes; an event is a sentence

log = structlog.get_logger()


class Journal:
    """Lines in the order they were added; without a path they go with the process."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lines: deque[bytes] = deque(maxlen=CAPACITY)
        self._in_file = 2 * CAPACITY  # unknown: the first line has it written anew
        self._is_failing = False
        if path is not None:
            self._read(path)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The lines that are kept, the oldest first."""
        return (json.loads(line) for line in tuple(self._lines))

    def add(self, values: dict[str, Any]) -> None:
        """Keep a line; where it cannot be written the log says so, once."""
        line = json.dumps(values, separators=(",", ":")).encode()
        self._lines.append(line)
        if self._path is None:
            return
        try:
            if self._in_file >= 2 * CAPACITY:
                self._write_anew(self._path)
            else:
                with self._path.open("ab") as file:
                    file.write(line + b"\n")
                self._in_file += 1
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                log.warning("events are not kept", file=str(self._path), why=error.strerror)
            self._is_failing = True

    def _read(self, path: Path) -> None:
        try:
            lines = path.read_bytes()[-MAX_READ:].split(b"\n")
        except OSError:
            return  # there is none yet, or it is as good as lost
        self._lines.extend(line for line in lines if _is_whole(line))

    def _write_anew(self, path: Path) -> None:
        beside = path.with_name(path.name + ".new")
        with beside.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.writelines(line + b"\n" for line in self._lines)
        beside.replace(path)
        self._in_file = len(self._lines)


def events_read(journal: Iterable[dict[str, Any]]) -> Iterator[tuple[NoteKey, Any]]:
    """The lines as notes, those of versions before too; one that is none is left out."""
    for line in journal:
        try:
            cluster = str(line["cluster"])
            if "id" in line:
                name, value = str(line["id"]), line["value"]
            else:
                at = datetime.fromisoformat(line["time"]).astimezone(UTC) - EPOCH
                name = event_name(at // MICROSECOND * 1000, f"before-{int(line['number']):010d}")
                value = {key: line[key] for key in ("time", "name", "shard", "message")}
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        yield NoteKey(cluster, NoteKind.EVENT, name), value


def event_name(wall_ns: int, member: str) -> str:
    """What a note of an event is called: names sort by time."""
    return f"{wall_ns:020d}-{member}"


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
