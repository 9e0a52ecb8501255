"""Numbers for what is served of a cluster without a controller: they grow, also beyond this process's end.

Noted are numbers to come, many at once: no change has to wait for a disk, or for a store that is away.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import trio

from shardproxy.model.replication import ShardKey
from shardproxy.store.changing import note_change
from shardproxy.store.interface import Notebook, StoreUnavailableError
from shardproxy.store.notes import NoteKey, NoteKind
from shardproxy.store.record import ShardRecord

AHEAD = 1000  # numbers noted at once; a restart leaves out those that were not used
RETRY = 1.0  # seconds until a store that could not be reached is tried again


class Epochs:
    """Gives a cluster's numbers: above all that are on record, and all that were noted before."""

    def __init__(self, notebook: Notebook, cluster: str, records: Mapping[ShardKey, ShardRecord]) -> None:
        self._notebook = notebook
        self._key = NoteKey(cluster, NoteKind.EPOCH)
        known = (record.changed for key, record in records.items() if key.cluster == cluster)
        note = notebook.notes.get(self._key)
        self._last = max(noted_of(note.value if note is not None else None), *known, 0)
        self._noted = self._last
        self._is_low = trio.Event()

    def next(self, floor: int = 0) -> int:
        """A number above all before, and no less than the decider's own."""
        self._last = max(self._last + 1, floor)
        if self._noted - self._last < AHEAD // 2:
            self._is_low.set()
        return self._last

    async def run(self) -> None:
        """Note numbers before they are used, until cancelled."""
        while True:
            wanted = self._last + AHEAD
            try:
                await note_change(self._notebook, self._key, partial(note_of, wanted))
            except StoreUnavailableError:
                await trio.sleep(RETRY)  # what the decider says is followed meanwhile
                continue
            self._noted = wanted
            if self._noted - self._last >= AHEAD // 2:
                self._is_low = trio.Event()
            await self._is_low.wait()


def note_of(wanted: int, last: Any) -> dict[str, Any]:
    """The note to leave, as that of any cluster without records: never a lower number than is there."""
    return {"epoch": max(wanted, noted_of(last)), "digest": ""}


def noted_of(last: Any) -> int:
    return int(last["epoch"]) if isinstance(last, dict) and "epoch" in last else 0
