"""The object of a cluster's notes of one kind: name -> [revision, value, its size]. Pure."""

from __future__ import annotations

from typing import Any

from shardproxy.store.cas import note_check
from shardproxy.store.kubernetes.objects import Body
from shardproxy.store.notes import Note, NoteKey, notes_fit, value_encode


def with_note(
    body: Body | None, key: NoteKey, value: Any, expected: int | None, *, after: int = 0
) -> tuple[Body, Note]:
    """The object with that note; raise ConflictError, or ValueError when it is too large.

    The revisions of a new one begin `after` those that were.
    """
    notes, revision = _notes(body) if body is not None else ({}, after)
    note_check(key, _note(notes, key), expected)
    size = len(value_encode(value))
    notes_fit((int(note[2]) for name, note in notes.items() if name != key.name), size, key)
    note = Note(value, revision + 1)
    return {
        "cluster": key.cluster,
        "revision": note.revision,
        "notes": {**notes, key.name: [note.revision, value, size]},
    }, note


def without_note(body: Body | None, key: NoteKey, expected: int | None) -> tuple[Body | None, None]:
    """The object without that note; raise ConflictError."""
    notes, revision = _notes(body)
    if key.name not in notes:
        return body, None
    note_check(key, _note(notes, key), expected)
    left = {name: note for name, note in notes.items() if name != key.name}
    return {"cluster": key.cluster, "revision": revision + 1, "notes": left}, None


def _notes(body: Body | None) -> tuple[dict[str, Any], int]:
    return (dict(body["notes"]), int(body["revision"])) if body is not None else ({}, 0)


def _note(notes: dict[str, Any], key: NoteKey) -> Note | None:
    known = notes.get(key.name)
    return Note(known[1], int(known[0])) if known is not None else None
