"""Notes, and members, that go with the process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from shardproxy.model.board import Board
from shardproxy.store.cas import note_check
from shardproxy.store.member import Member
from shardproxy.store.notes import Note, NoteKey, Notes, notes_board, value_encode


class MemoryNotes:
    """A notebook that nobody else reads; it may begin as another one is now."""

    def __init__(self, begun: Mapping[NoteKey, Note] | None = None) -> None:
        self.notes: Notes = notes_board()
        for key, note in (begun or {}).items():
            self.notes.show(key, note)
        self._revision = max((note.revision for note in self.notes.values()), default=0)

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        await trio.lowlevel.checkpoint()
        value_encode(value)
        note_check(key, self.notes.get(key), expected)
        self._revision += 1
        note = Note(value, self._revision)
        self.notes.show(key, note)
        return note

    async def drop(self, key: NoteKey, *, expected: int | None = None) -> None:
        await trio.lowlevel.checkpoint()
        if key in self.notes:
            note_check(key, self.notes.get(key), expected)
            self.notes.hide(key)


class MemoryDesk(MemoryNotes):
    """The notebook of a process that is the only member of its store."""

    def __init__(self, member: str = "self") -> None:
        super().__init__()
        self.member = member
        self.members: Board[str, Member] = Board()
        self.members.show(member, Member(member))
        self.leaders: Board[str, str] = Board()
