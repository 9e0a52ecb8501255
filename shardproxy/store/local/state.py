"""What a state file holds, and how it may change. Pure; every change makes another value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shardproxy.model.replication import ShardKey
from shardproxy.store.cas import note_check, record_replace
from shardproxy.store.notes import Note, NoteKey, notes_fit, value_encode
from shardproxy.store.record import ShardRecord


class StateFileError(Exception):
    """The state file cannot be used; says what to do about it."""


@dataclass(frozen=True, slots=True)
class Noted:
    """A note, and its value encoded once for all writes of the file."""

    note: Note
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class State:
    """All of a file, at one moment."""

    group: str
    leader: int = 0  # how often anybody has claimed a cluster
    revision: int = 0  # of the last write
    records: dict[ShardKey, ShardRecord] = field(default_factory=dict)
    notes: dict[NoteKey, Noted] = field(default_factory=dict)

    def with_records(self, records: Sequence[ShardRecord]) -> tuple[State, tuple[ShardRecord, ...]]:
        """All of them at one revision; raise ConflictError."""
        revision = self.revision + 1
        stored = tuple(record_replace(self.records.get(one.key), one, revision) for one in records)
        now = {**self.records, **{one.key: one for one in stored}}
        return replace(self, revision=revision, records=now), stored

    def with_note(self, key: NoteKey, value: Any, expected: int | None) -> tuple[State, Note]:
        """Raise ConflictError, or ValueError when it is too large."""
        before = self.notes.get(key)
        note_check(key, before.note if before else None, expected)
        data = value_encode(value)
        others = (o for o in self.notes if o.topic == key.topic and o != key)
        notes_fit((len(self.notes[other].data) for other in others), len(data), key)
        noted = Noted(Note(value, self.revision + 1), data)
        return replace(self, revision=self.revision + 1, notes={**self.notes, key: noted}), noted.note

    def without_note(self, key: NoteKey, expected: int | None) -> tuple[State, None]:
        """Raise ConflictError."""
        before = self.notes.get(key)
        if before is None:
            return self, None
        note_check(key, before.note, expected)
        return replace(self, notes={name: noted for name, noted in self.notes.items() if name != key}), None
