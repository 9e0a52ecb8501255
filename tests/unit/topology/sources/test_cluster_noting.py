"""The numbers of a Redis Cluster's shards outlive a process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import trio

from shardproxy.store.interface import Notebook, StoreUnavailableError
from shardproxy.store.notes import Note, NoteKey, NoteKind
from shardproxy.topology.sources.cluster.noting import NumbersNoted, numbers_of
from shardproxy.topology.sources.cluster.numbers import Numbers

KEY = NoteKey("main", NoteKind.NUMBERS)


class Book:
    """A store's notes, which may be out of reach for a while."""

    def __init__(self) -> None:
        self.kept: dict[NoteKey, Note] = {}
        self.refusals = 1
        self.is_kept = trio.Event()

    @property
    def notes(self) -> Any:
        return SimpleNamespace(get=self.kept.get, version=0)

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        await trio.lowlevel.checkpoint()
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailableError("away")
        self.kept[key] = Note(value, 1)
        self.is_kept.set()
        return self.kept[key]


async def test_numbers_are_noted_once_the_store_is_there(autojump_clock: trio.testing.MockClock) -> None:
    book = Book()
    noted = NumbersNoted(cast("Notebook", book), "main")
    assert noted.known is None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(noted.run)
        noted.note(Numbers({"a": 0, "x": 0, "b": 1}))
        await book.is_kept.wait()
        nursery.cancel_scope.cancel()
    later = NumbersNoted(cast("Notebook", book), "main").known
    assert later is not None
    assert dict(later.of) == {"a": 0, "x": 0, "b": 1}


def test_what_are_no_numbers_are_none() -> None:
    assert numbers_of({"a": 3, "b": -1, "c": 250, "d": "1"}) == {"a": 3}
    assert numbers_of([1]) == {}
