"""What was read last, in a file: a process that starts while etcd cannot be reached begins with it.

It is also what the data in etcd has to go on from: less than that is not believed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from shardproxy.store.etcd import keys as kinds
from shardproxy.store.etcd.keys import Keys
from shardproxy.store.etcd.messages import Entry
from shardproxy.store.etcd.position import Position
from shardproxy.store.notes import NoteKind
from shardproxy.store.replace import file_replace

FORMAT = 1
PAUSE = 1.0  # seconds between two writes of the file
MAX_FILE = 256 << 20  # bytes
KINDS = frozenset({kinds.GROUP, kinds.SHARD, kinds.NOTE})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Kept:
    """What was known of etcd."""

    cluster_id: str
    revision: int
    entries: dict[str, Entry]


class Keep:
    """The file, and when it is to be written; without a path nothing is kept."""

    def __init__(self, path: Path | None, keys: Keys) -> None:
        self._path = path
        self._keys = keys
        self._news = trio.Event()

    def read(self) -> Kept | None:
        """None when nothing of use was kept; the log says why, where there is a file."""
        try:
            return self._decode(self._path.read_bytes()) if self._path is not None else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("what was kept of etcd is of no use", file=str(self._path), why=str(error))
            return None

    def is_changed(self, entries: Iterable[Entry]) -> None:
        """These were read, or written."""
        if any(self._is_kept(entry) for entry in entries):
            self._news.set()

    async def run(self, view: Iterable[Entry], position: Callable[[], Position]) -> None:
        """Write the file when something has changed, until cancelled."""
        is_failing = False
        while self._path is not None:
            await self._news.wait()
            self._news = trio.Event()
            data = self._encode(view, position())
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                await trio.to_thread.run_sync(file_replace, self._path, data)
                is_failing = False
            except OSError as error:
                if not is_failing:
                    log.warning("what etcd holds is not kept for the next start", why=str(error))
                is_failing = True
            await trio.sleep(PAUSE)

    def _is_kept(self, entry: Entry) -> bool:
        kind, *names = self._keys.parts(entry.key)
        return kind in KINDS and not (kind == kinds.NOTE and names[1:2] == [NoteKind.EVENT.value])

    def _encode(self, view: Iterable[Entry], position: Position) -> bytes:
        entries = [
            [entry.key, (entry.value or b"").decode(errors="surrogateescape"), entry.revision, entry.created]
            for entry in view
            if self._is_kept(entry)
        ]
        values = {
            "format": FORMAT,
            "prefix": self._keys.first,
            "cluster_id": position.cluster_id,
            "revision": position.revision,
            "entries": entries,
        }
        return json.dumps(values, indent=1).encode() + b"\n"

    def _decode(self, data: bytes) -> Kept | None:
        if len(data) > MAX_FILE:
            raise ValueError(f"it has more than {MAX_FILE} bytes")
        kept = json.loads(data)
        if kept["format"] != FORMAT:
            raise ValueError(f"format {kept['format']}, and this version reads {FORMAT}")
        if kept["prefix"] != self._keys.first:
            return None  # another store's
        entries = [
            Entry(str(key), str(value).encode(errors="surrogateescape"), int(revision), int(created))
            for key, value, revision, created in kept["entries"]
        ]
        return Kept(str(kept["cluster_id"]), int(kept["revision"]), {entry.key: entry for entry in entries})
