"""Numbers of what is shown grow, whatever is shown, hidden and noted; a restart continues them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import trio
import trio.testing

from shardproxy.model import Address, SlotRange
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.memory import MemoryNotes
from shardproxy.store.notes import Note, NoteKey
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.topology.sources.epochs import AHEAD, Epochs
from shardproxy.topology.sources.showing import Showing

A, B = (Address("10.0.0.1", port) for port in (1, 2))
ONE, TWO, OTHERS = ShardKey("main", 0), ShardKey("main", 1), ShardKey("other", 0)


def record(key: ShardKey = ONE, primary: Address = A, epoch: int = 1, **more: Any) -> ShardRecord:
    return ShardRecord(key, epoch, ShardState.OK, primary, (A, B), slots=(SlotRange(0, 16383),), **more)


def showing(notes: MemoryNotes | None = None) -> tuple[Showing, Board[ShardKey, ShardRecord]]:
    records: Board[ShardKey, ShardRecord] = Board()
    records.show(OTHERS, record(OTHERS))
    return Showing("main", records, Epochs(notes or MemoryNotes(), "main", records)), records


def test_a_change_has_a_number_of_its_own_and_news_that_nobody_acts_on_have_not() -> None:
    shown, records = showing()
    first = shown.show(record()).changed
    assert first >= 1
    assert shown.show(record()).changed == first
    assert shown.show(record(joined=(A,))).changed == first, "nobody acts on that"
    assert records[ONE].joined == (A,)
    assert shown.show(record(primary=B)).changed > first


def test_the_deciders_own_number_is_the_least() -> None:
    shown, _ = showing()
    assert shown.show(record(epoch=700)).changed >= 700


def test_what_is_hidden_leaves_the_others_with_a_higher_number() -> None:
    shown, records = showing()
    shown.show(record(ONE))
    last = shown.show(record(TWO)).changed
    shown.keep_only({ONE})
    assert set(records) == {ONE, OTHERS}
    assert records[ONE].changed > last, "the number of the whole never falls"
    shown.close()
    assert set(records) == {OTHERS}


def test_what_a_controller_left_on_record_is_not_taken_for_what_was_shown() -> None:
    shown, records = showing()
    records.show(TWO, replace(record(TWO, epoch=9), changed=5, revision=5))
    assert TWO not in shown.shown
    assert Showing("main", records, Epochs(MemoryNotes(), "main", records)).show(record()).changed > 5


async def test_numbers_are_noted_ahead_and_a_restart_is_above_them() -> None:
    notes = MemoryNotes()
    shown, _ = showing(notes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shown.epochs.run)
        await trio.testing.wait_all_tasks_blocked()
        last = [shown.show(record(primary=(A, B)[n % 2])).changed for n in range(2 * AHEAD)][-1]
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    later, _ = showing(notes)
    assert later.show(record()).changed > last


async def test_a_store_that_is_away_holds_up_nothing(autojump_clock: trio.testing.MockClock) -> None:
    class Away(MemoryNotes):
        is_away = True

        async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
            if self.is_away:
                raise StoreUnavailableError("away")
            return await super().note(key, value, expected=expected)

    notes = Away()
    shown, _ = showing(notes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shown.epochs.run)
        await trio.sleep(5)
        last = shown.show(record()).changed
        notes.is_away = False
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    later, _ = showing(notes)
    assert later.show(record()).changed > last


async def test_a_shard_may_be_waited_for() -> None:
    shown, _ = showing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shown.wait_shown, ONE)
        await trio.testing.wait_all_tasks_blocked()
        shown.show(record())
