"""What was read last, in a file: a process that starts while etcd cannot be reached begins with it.

It is also what the data in etcd has to go on from: less than that is not believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
import trio

from shardproxy.store.etcd import keys as kinds
from shardproxy.store.etcd.keys import Keys
from shardproxy.store.etcd.messages import Entry
from shardproxy.store.etcd.position import Position
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.kept import KeptFile
from shardproxy.store.local import StateFileError
from shardproxy.store.notes import NoteKind

PAUSE = 1.0  # seconds between two writes of the file
KINDS = frozenset({kinds.GROUP, kinds.SHARD, kinds.NOTE})

log = structlog.get_logger()


class Keep:
    """The file, and when it is to be written; without a path nothing is kept."""

    def __init__(self, path: Path | None, keys: Keys) -> None:
        self._file = KeptFile(path) if path is not None else None
        self._keys = keys
        self._news = trio.Event()

    def read(self) -> tuple[str, int, dict[str, Entry]] | None:
        """The etcd cluster's id, the revision and the entries; None when nothing of use was kept."""
        if self._file is None:
            return None
        try:
            kept = self._file.read()
            if kept is None or kept["prefix"] != self._keys.first:
                return None
            entries = [
                Entry(str(key), str(value).encode(), int(revision), int(created))
                for key, value, revision, created in kept["entries"]
            ]
            found = {entry.key: entry for entry in entries}
            return str(kept["cluster_id"]), int(kept["revision"]), found
        except (StateFileError, KeyError, TypeError, ValueError) as error:
            log.warning("what was kept of etcd is of no use", why=str(error))
            return None

    def is_changed(self, entries: Iterable[Entry]) -> None:
        if any(self._is_kept(entry) for entry in entries):
            self._news.set()

    async def run(self, view: Iterable[Entry], position: Callable[[], Position]) -> None:
        """Write the file when something has changed, until cancelled."""
        is_failing = False
        while self._file is not None:
            await self._news.wait()
            self._news = trio.Event()
            entries = [
                [entry.key, (entry.value or b"").decode(), entry.revision, entry.created]
                for entry in view
                if self._is_kept(entry)
            ]
            now = position()
            try:
                await self._file.write(
                    {
                        "prefix": self._keys.first,
                        "cluster_id": now.cluster_id,
                        "revision": now.revision,
                        "entries": entries,
                    }
                )
                is_failing = False
            except StoreUnavailableError as error:
                if not is_failing:
                    log.warning("what etcd holds is not kept for the next start", why=str(error))
                is_failing = True
            await trio.sleep(PAUSE)

    def _is_kept(self, entry: Entry) -> bool:
        kind, *names = self._keys.parts(entry.key)
        return kind in KINDS and not (kind == kinds.NOTE and names[1:2] == [NoteKind.EVENT.value])
