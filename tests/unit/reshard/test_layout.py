"""Which slots go where: every slot has one owner, and no more moves than has to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardproxy.model import SLOT_COUNT, SlotRange
from shardproxy.model.replication import ShardKey
from shardproxy.model.slots import Slots, slots_but, slots_count, slots_cut, slots_each, slots_of
from shardproxy.reshard.layout import (
    Layout,
    LayoutError,
    Move,
    layout_drained,
    layout_moved,
    layout_rebalanced,
    layout_scaled,
    moves_between,
)

A, B, C, D = (ShardKey("main", number) for number in range(4))


def ranges(*bounds: tuple[int, int]) -> Slots:
    return tuple(SlotRange(first, last) for first, last in bounds)


ONE: Layout = {A: ranges((0, 16383)), B: (), C: ()}
TWO: Layout = {A: ranges((0, 8191)), B: ranges((8192, 16383)), C: ()}


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Up to six shards, slots cut at random, some shards without any."""
    count = draw(st.integers(2, 6))
    bounds = sorted(draw(st.lists(st.integers(1, SLOT_COUNT - 1), max_size=10, unique=True)))
    pieces = list(zip([0, *bounds], [*bounds, SLOT_COUNT], strict=True))
    owned: dict[ShardKey, list[int]] = {ShardKey("main", number): [] for number in range(count)}
    for first, end in pieces:
        owned[ShardKey("main", draw(st.integers(0, count - 1)))].extend(range(first, end))
    return {key: slots_of(slots) for key, slots in owned.items()}


def counts(layout: Layout) -> list[int]:
    return [slots_count(slots) for slots in layout.values()]


def whole(layout: Layout) -> bool:
    return sorted(slot for slots in layout.values() for slot in slots_each(slots)) == list(range(SLOT_COUNT))


def test_one_shard_becomes_two_and_the_lower_half_stays() -> None:
    assert moves_between(ONE, layout_scaled(ONE, 2)) == (Move(A, B, ranges((8192, 16383))),)


def test_two_become_three_and_both_give() -> None:
    moves = moves_between(TWO, layout_scaled(TWO, 3))
    assert [(move.source, move.target, slots_count(move.slots)) for move in moves] == [
        (A, C, 2730),
        (B, C, 2731),
    ]


def test_two_become_one_and_the_last_one_gives_all() -> None:
    assert moves_between(TWO, layout_scaled(TWO, 1)) == (Move(B, A, ranges((8192, 16383))),)


def test_more_shards_than_there_are_are_refused() -> None:
    with pytest.raises(LayoutError, match="4 shards are asked for, the config lists 3: add some with"):
        layout_scaled(TWO, 4)


@settings(deadline=None, max_examples=40)
@given(layouts(), st.integers(1, 6))
def test_a_scaled_layout_is_whole_even_and_near(layout: Layout, shards: int) -> None:
    if shards > len(layout):
        return
    after = layout_scaled(layout, shards)
    assert whole(after)
    holding = [count for count in counts(after) if count]
    assert len(holding) == shards
    assert max(holding) - min(holding) <= 1
    moved = sum(slots_count(move.slots) for move in moves_between(layout, after))
    lacking = sum(max(0, has - had) for had, has in zip(counts(layout), counts(after), strict=True))
    assert moved == lacking
    assert moves_between(after, layout_scaled(after, shards)) == ()


@settings(deadline=None, max_examples=40)
@given(layouts(), st.integers(0, 5))
def test_a_drained_shard_has_nothing_and_the_others_have_alike(layout: Layout, shard: int) -> None:
    key = ShardKey("main", shard % len(layout))
    others = [other for other, slots in layout.items() if slots and other != key]
    if not others or not layout[key]:
        return
    after = layout_drained(layout, key)
    assert whole(after)
    assert after[key] == ()
    moved = moves_between(layout, after)
    assert {move.source for move in moved} == {key}
    took = {move.target: slots_count(after[move.target]) for move in moved}
    assert max(took.values()) - min(took.values()) <= 1


def test_nothing_can_be_drained_to_nobody() -> None:
    with pytest.raises(LayoutError, match="no other shard has slots"):
        layout_drained(ONE, A)


@settings(deadline=None, max_examples=40)
@given(layouts(), st.integers(0, 5), st.integers(0, SLOT_COUNT - 1), st.integers(0, 3000))
def test_named_slots_go_to_whom_they_are_sent(layout: Layout, shard: int, first: int, more: int) -> None:
    key = ShardKey("main", shard % len(layout))
    sent = (SlotRange(first, min(SLOT_COUNT - 1, first + more)),)
    after = layout_moved(layout, sent, key)
    assert whole(after)
    assert set(slots_each(sent)) <= set(slots_each(after[key]))
    assert all(move.target == key for move in moves_between(layout, after))


@settings(deadline=None, max_examples=40)
@given(layouts(), st.lists(st.integers(0, 100), min_size=64, max_size=64))
def test_rebalancing_never_makes_the_heaviest_heavier(layout: Layout, some: list[int]) -> None:
    weights = [float(some[slot % 64]) for slot in range(SLOT_COUNT)]
    after = layout_rebalanced(layout, weights)
    assert whole(after)

    def weigh(slots: Slots) -> float:
        return sum(weights[slot] for slot in slots_each(slots))

    owners = [key for key, slots in layout.items() if slots]
    mean = sum(weights) / len(owners)
    assert max(weigh(after[key]) for key in owners) <= max(weigh(layout[key]) for key in owners)
    for key in owners:
        assert abs(weigh(after[key]) - mean) <= max(abs(weigh(layout[key]) - mean), 100)


def test_rebalancing_moves_weight_and_not_slots() -> None:
    weights = [1.0 if slot < 8192 else 3.0 for slot in range(SLOT_COUNT)]
    (move,) = moves_between(TWO, layout_rebalanced(TWO, weights))
    assert (move.source, move.target) == (B, A)
    assert 2600 < slots_count(move.slots) < 2800


def test_alike_shards_are_left_alone() -> None:
    weights = [1.0 if slot % 2 else 1.01 for slot in range(SLOT_COUNT)]
    assert moves_between(TWO, layout_rebalanced(TWO, weights)) == ()


def test_one_slot_that_outweighs_all_is_not_sent_around() -> None:
    weights = [1.0] * SLOT_COUNT
    weights[100] = 1e6
    after = layout_rebalanced(TWO, weights)
    assert 100 in set(slots_each(after[A]))


def test_slots_are_cut_into_parts() -> None:
    assert list(slots_cut(ranges((0, 4), (10, 14)), 4)) == [
        ranges((0, 3)),
        ranges((4, 4), (10, 12)),
        ranges((13, 14)),
    ]
    assert slots_but(ranges((1, 16383))) == ranges((0, 0))
