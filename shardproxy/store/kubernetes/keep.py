"""What was read of a shared store last, kept on this machine for a start while the store is out of reach.

Nothing is decided by it: whoever shows it says that it is not synced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from shardproxy.model.board import News
from shardproxy.model.replication import ShardKey
from shardproxy.store.codec import record_decode, record_encode
from shardproxy.store.interface import Store
from shardproxy.store.notes import Note, NoteKey, NoteKind
from shardproxy.store.record import ShardRecord
from shardproxy.store.replace import file_replace

FORMAT = 1
MAX_FILE = 64 << 20  # bytes
NOT_KEPT = (NoteKind.EVENT, NoteKind.REQUEST)  # many, and of no use without the store
PAUSE = 1.0  # seconds between two writes at least: it is an aid, not the truth

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Kept:
    """Of all clusters that were followed."""

    records: Mapping[ShardKey, ShardRecord]
    notes: Mapping[NoteKey, Note]


NOTHING = Kept({}, {})


def kept_read(path: Path, group: str) -> Kept:
    """What was kept of that group; nothing where it cannot be used, and the log says why."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"has more than {MAX_FILE} bytes")
        values = json.loads(data)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}, and this version reads {FORMAT}")
        if values["group"] != group:
            return NOTHING
        records = [record_decode(shard, int(shard["revision"])) for shard in values["shards"]]
        notes = {
            NoteKey(cluster, NoteKind(kind), name): Note(value, int(revision))
            for cluster, kind, name, revision, value in values["notes"]
        }
    except FileNotFoundError:
        return NOTHING
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("what was kept of the store cannot be used", file=str(path), why=str(error))
        return NOTHING
    return Kept({record.key: record for record in records}, notes)


async def keep_boards(path: Path, store: Store, followed: Callable[[], Iterable[str]]) -> None:
    """Write the file anew whenever the boards change, for ever."""
    news = News()
    store.records.subscribe(news)
    store.notes.subscribe(news)
    thread, is_failing = trio.CapacityLimiter(1), False
    try:
        while True:
            await news.wait()
            data = _encode(store, frozenset(followed()))
            try:
                await trio.to_thread.run_sync(_write, path, data, limiter=thread, abandon_on_cancel=True)
                is_failing = False
            except OSError as error:
                if not is_failing:
                    log.warning("the store is not kept on disk", file=str(path), why=error.strerror)
                is_failing = True
            await trio.sleep(PAUSE)
    finally:
        store.records.unsubscribe(news)
        store.notes.unsubscribe(news)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file_replace(path, data)


def _encode(store: Store, followed: frozenset[str]) -> bytes:
    records = [record for key, record in store.records.items() if key.cluster in followed]
    notes = [
        [key.cluster, key.kind.value, key.name, note.revision, note.value]
        for key, note in store.notes.items()
        if key.cluster in followed and key.kind not in NOT_KEPT
    ]
    return json.dumps(
        {
            "format": FORMAT,
            "group": store.group,
            "shards": [{"revision": record.revision, **record_encode(record)} for record in records],
            "notes": notes,
        }
    ).encode()
