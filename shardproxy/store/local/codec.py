"""The formats of a state file. This version writes 3; 1 and 2 are read, notes being what they kept besides.

1, 2   epochs, paused, layouts: keys of their own; changes of users: a file beside (`.users`, format 1)
3      notes
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shardproxy.model.replication import ShardKey
from shardproxy.store.codec import record_decode, record_encode
from shardproxy.store.local.state import Noted, State, StateFileError
from shardproxy.store.notes import Note, NoteKey, NoteKind
from shardproxy.store.record import ShardRecord

FORMAT = 3
FORMATS = (1, 2, FORMAT)  # that can be read
MAX_FILE = 64 << 20  # bytes; 250 shards of 6 nodes in each of 10 clusters are 1 MiB, their notes 10

USERS_FORMAT = 1


def state_read(path: Path) -> State | None:
    """The file's state; None when there is no file yet. Raise StateFileError."""
    try:
        data = _bytes_of(path)
    except FileNotFoundError:
        return None
    try:
        return state_decode(data)
    except (ValueError, KeyError, TypeError) as error:
        raise StateFileError(
            f"{path} is damaged ({error}): restore it, or move it away to have the engines' own roles adopted"
        ) from error


class StateEncoder:
    """JSON, a record and a note to a line. A record that is as in the state before is not encoded again."""

    def __init__(self) -> None:
        self._lines: dict[ShardKey, tuple[ShardRecord, bytes]] = {}

    def encode(self, state: State) -> bytes:
        head = {"format": FORMAT, "group": state.group, "leader": state.leader, "revision": state.revision}
        before = self._lines
        self._lines = {key: _encoded(record, before.get(key)) for key, record in state.records.items()}
        shards = b",\n".join(line for _, line in self._lines.values())
        notes = b",\n".join(_line(key, noted) for key, noted in state.notes.items())
        begin = json.dumps(head)[:-1].encode()
        return b'%b, "shards": [\n%b\n], "notes": [\n%b\n]}\n' % (begin, shards, notes)


def state_encode(state: State) -> bytes:
    """One state alone."""
    return StateEncoder().encode(state)


def _encoded(record: ShardRecord, before: tuple[ShardRecord, bytes] | None) -> tuple[ShardRecord, bytes]:
    if before is not None and before[0] is record:
        return before
    return record, json.dumps({"revision": record.revision, **record_encode(record)}).encode()


def state_decode(data: bytes) -> State:
    """Raise ValueError, KeyError or TypeError for what is none."""
    values = json.loads(data)
    if values["format"] not in FORMATS:
        raise ValueError(f"format {values['format']}, and this version reads {FORMAT}")
    records = [record_decode(shard, int(shard["revision"])) for shard in values["shards"]]
    return State(
        str(values["group"]),
        int(values["leader"]),
        int(values["revision"]),
        {record.key: record for record in records},
        dict(_notes(values) if values["format"] == FORMAT else _notes_of_before(values)),
    )


def users_kept_read(path: Path, revision: int) -> dict[NoteKey, Noted]:
    """Changes of users from a file of before, as notes; raise StateFileError, or FileNotFoundError."""
    data = _bytes_of(path)
    try:
        kept = json.loads(data)
        if kept["format"] != USERS_FORMAT:
            raise ValueError(f"format {kept['format']}, and this version reads {USERS_FORMAT}")
        of = {str(cluster): dict(changes) for cluster, changes in dict(kept["kept"] or {}).items()}
    except (ValueError, KeyError, TypeError) as error:
        raise StateFileError(
            f"{path} is damaged ({error}): restore it, or move it away and do without"
        ) from error
    return dict(_noted(NoteKey(name, NoteKind.USERS), changes, revision) for name, changes in of.items())


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StateFileError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_FILE:
        raise StateFileError(f"{path} is damaged (has more than {MAX_FILE} bytes): restore it")
    return data


def _line(key: NoteKey, noted: Noted) -> bytes:
    """The value last: it is encoded already."""
    head = {
        "cluster": key.cluster,
        "kind": key.kind.value,
        "name": key.name,
        "revision": noted.note.revision,
    }
    return b'%b, "value": %b}' % (json.dumps(head)[:-1].encode(), noted.data)


def _notes(values: Any) -> Iterator[tuple[NoteKey, Noted]]:
    for each in values["notes"]:
        key = NoteKey(str(each["cluster"]), NoteKind(each["kind"]), str(each["name"]))
        yield _noted(key, each["value"], int(each["revision"]))


def _notes_of_before(values: Any) -> Iterator[tuple[NoteKey, Noted]]:
    revision = int(values["revision"])
    for cluster, epoch in values.get("epochs", {}).items():
        yield _noted(NoteKey(str(cluster), NoteKind.EPOCH), {"epoch": int(epoch), "digest": ""}, revision)
    for cluster in values.get("paused", ()):
        yield _noted(NoteKey(str(cluster), NoteKind.PAUSED), True, revision)
    for cluster, told in values.get("layouts", {}).items():
        value = {"version": int(told[0]), "digest": str(told[1])}
        yield _noted(NoteKey(str(cluster), NoteKind.LAYOUT), value, revision)


def _noted(key: NoteKey, value: Any, revision: int) -> tuple[NoteKey, Noted]:
    """As it was written, too large or not."""
    return key, Noted(Note(value, revision), json.dumps(value, separators=(",", ":")).encode())
