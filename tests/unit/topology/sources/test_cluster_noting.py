"""The numbers of a Redis Cluster's shards outlive a process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import trio

from shardproxy.store.interface import Notebook, StoreUnavailableError
from shardproxy.store.notes import Note, NoteKey, NoteKind
from shardproxy.topology.sources.cluster.decide import decide
from shardproxy.topology.sources.cluster.noting import NumbersNoted, numbers_of
from shardproxy.topology.sources.cluster.numbers import Numbers
from tests.unit.topology.sources.test_cluster_decide import layout, views

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
        noted.note(Numbers({"a": 0, "x": 0, "b": 1}), ())
        await book.is_kept.wait()
        nursery.cancel_scope.cancel()
    later = NumbersNoted(cast("Notebook", book), "main").known
    assert later is not None
    assert dict(later.of) == {"a": 0, "x": 0, "b": 1}


async def test_who_notes_later_numbers_by_what_is_noted(autojump_clock: trio.testing.MockClock) -> None:
    groups = layout(decide(views(*"abc"))).groups
    book = Book()
    book.refusals = 0
    noted = [NumbersNoted(cast("Notebook", book), "main") for _ in range(2)]
    async with trio.open_nursery() as nursery:
        for one in noted:
            nursery.start_soon(one.run)
        first = Numbers().given(groups)[0]
        noted[0].note(first, groups)
        await book.is_kept.wait()
        second = Numbers().given(groups[::-1])[0]  # the same shards, found in another order meanwhile
        assert second.of != first.of
        noted[1].note(second, groups)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert noted[0].known == first, "it stays"
    renumbered, by_number = noted[1].laid_over(second).given(groups)
    assert dict(renumbered.of) == dict(first.of)
    assert not noted[1].has_news
    given = {group.primary: number for number, group in by_number.items()}
    assert given == {group.primary: first.of[group.primary] for group in groups}


def test_a_replica_that_moved_is_noted_where_it_is_now() -> None:
    groups = layout(decide(views(*"abc"))).groups
    noted = Numbers({groups[0].primary: 0, groups[1].primary: 1, groups[0].replicas[0][0]: 1})
    numbers, _ = Numbers().under(noted).given(groups)
    assert numbers.of[groups[0].replicas[0][0]] == 0


def test_a_new_shard_gives_way_to_who_has_its_number_on_note() -> None:
    ours, noted = Numbers({"a": 0, "new": 1, "other": 2}), Numbers({"a": 0, "theirs": 1})
    assert ours.under(noted).of == {"a": 0, "theirs": 1, "other": 2}


def test_what_are_no_numbers_are_none() -> None:
    assert numbers_of({"a": 3, "b": -1, "c": 250, "d": "1"}) == {"a": 3}
    assert numbers_of([1]) == {}
