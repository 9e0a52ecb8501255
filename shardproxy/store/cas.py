"""The rules of a compare-and-set, the same for every store that keeps them itself. Pure."""

from __future__ import annotations

from dataclasses import replace

from shardproxy.store.interface import ConflictError
from shardproxy.store.notes import Note, NoteKey
from shardproxy.store.record import ShardRecord


def record_replace(stored: ShardRecord | None, record: ShardRecord, revision: int) -> ShardRecord:
    """The record to store, with that revision; raise ConflictError when it may not replace the stored one."""
    seen = stored.revision if stored else 0
    if record.revision != seen:
        raise ConflictError(f"{record.key}: read at revision {record.revision}, but {seen} is stored")
    if stored is not None:
        if record.epoch < stored.epoch:
            raise ConflictError(f"{record.key}: epoch {record.epoch} after {stored.epoch}")
        if record.epoch == stored.epoch and stored.target and record.target not in (None, stored.target):
            raise ConflictError(f"{record.key}: epoch {record.epoch} already promotes {stored.target}")
    is_same = stored is not None and stored.served == record.served
    return replace(record, revision=revision, changed=stored.changed if stored and is_same else revision)


def note_check(key: NoteKey, stored: Note | None, expected: int | None) -> None:
    """Raise ConflictError when the note is not the one that its writer has read."""
    seen = stored.revision if stored else 0
    if expected is not None and expected != seen:
        raise ConflictError(f"{key.kind.value} {key.cluster} {key.name}: not as it was read: it has changed")
