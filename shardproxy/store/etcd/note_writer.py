"""Writes notes. Each is written with who wrote it, so that one whose answer was missing is found to be there.

{"by": member, "turn": how many it had written, "value": the note}
"""

from __future__ import annotations

import json
from typing import Any

from shardproxy.store.etcd.keys import Keys
from shardproxy.store.etcd.messages import Entry, is_at, to_delete, to_put, to_read
from shardproxy.store.etcd.reader import Reader
from shardproxy.store.etcd.transactions import Transactions, found_of
from shardproxy.store.interface import ConflictError, StoreUnavailableError
from shardproxy.store.notes import Note, NoteKey, notes_fit, value_encode

TRIES = 10  # of a note that others write as well; whoever is not the last has lost nothing


class NoteWriter:
    """Replaces notes, and forgets them."""

    def __init__(self, keys: Keys, member: str, transactions: Transactions, reader: Reader) -> None:
        self._keys = keys
        self._member = member
        self._transactions = transactions
        self._reader = reader
        self._turn = 0

    async def note(self, key: NoteKey, value: Any, expected: int | None) -> Note:
        """Raise ConflictError, StoreUnavailableError, or ValueError when it is too large."""
        self._turn += 1
        turn = self._turn
        name = self._keys.note(key)
        data = note_value(self._member, turn, value_encode(value))
        self._check_sizes(key, name, len(data))
        revision = expected if expected is not None else self._revision(name)
        for _ in range(TRIES):
            done = await self._transactions.make(
                [is_at(name, revision)], [to_put(name, data)], [to_read(name)]
            )
            found = found_of(done, name)
            if done.is_done or found.value == data:  # as told by an answer that was missing
                written = done.revision if done.is_done else found.revision
                self._reader.is_own(Entry(name, data, written))
                return Note(value, written)
            self._reader.is_own(found)
            if expected is not None:
                raise ConflictError(f"{name}: expected revision {expected}, but {found.revision} is stored")
            revision = found.revision
        raise StoreUnavailableError(f"{name} is written by many at once")

    async def drop(self, key: NoteKey, expected: int | None) -> None:
        """Raise ConflictError or StoreUnavailableError."""
        name = self._keys.note(key)
        compare = [] if expected is None else [is_at(name, expected)]
        done = await self._transactions.make(compare, [to_delete(name)], [to_read(name)])
        found = found_of(done, name)
        if done.is_done:
            self._reader.is_own(Entry(name, None, done.revision))
        elif found.value is not None:
            self._reader.is_own(found)
            raise ConflictError(f"{name}: expected revision {expected}, but {found.revision} is stored")

    def _revision(self, name: str) -> int:
        entry = self._reader.view.get(name)
        return entry.revision if entry is not None else 0

    def _check_sizes(self, key: NoteKey, name: str, added: int) -> None:
        begins = self._keys.notes(key.cluster, key.kind)
        sizes = (
            len(entry.value or b"")
            for entry in self._reader.view
            if entry.key.startswith(begins) and entry.key != name
        )
        notes_fit(sizes, added, key)


def note_value(member: str, turn: int, value: bytes) -> bytes:
    """What is stored of a note whose value is that JSON."""
    return b'{"by":%b,"turn":%d,"value":%b}' % (json.dumps(member).encode(), turn, value)


def note_of(entry: Entry) -> Note:
    """Raise ValueError when it is no note."""
    try:
        return Note(json.loads(entry.value or b"")["value"], entry.revision)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a note: {error!r}") from error
