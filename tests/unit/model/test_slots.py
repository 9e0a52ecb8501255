"""Slots of keys, against redis-py's; sets of slots, against sets of numbers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from shardproxy.model import SLOT_COUNT, SlotRange
from shardproxy.model.slots import (
    ALL,
    Slots,
    has_each_once,
    slot_of,
    slots_added,
    slots_but,
    slots_common,
    slots_count,
    slots_each,
    slots_joined,
    slots_of,
    slots_removed,
)


@settings(deadline=None)
@given(st.binary(max_size=40) | st.text(alphabet="{}ab", max_size=12).map(str.encode))
def test_a_keys_slot_is_redis_clusters(key: bytes) -> None:
    assert slot_of(key) == key_slot(key)


ranges = st.lists(
    st.tuples(st.integers(0, SLOT_COUNT - 1), st.integers(0, 300)).map(
        lambda pair: SlotRange(pair[0], min(pair[0] + pair[1], SLOT_COUNT - 1))
    ),
    max_size=8,
)


some = ranges.map(lambda parts: slots_of(slots_each(tuple(parts))))


@settings(deadline=None)
@given(some, some)
def test_ranges_are_as_sets_of_numbers(slots: Slots, others: Slots) -> None:
    one, other = set(slots_each(slots)), set(slots_each(others))
    assert slots_added(slots, others) == slots_of(one | other)
    assert slots_removed(slots, others) == slots_of(one - other)
    assert slots_common(slots, others) == slots_of(one & other)
    assert slots_but(slots) == slots_of(set(slots_each(ALL)) - one)
    assert slots_count(slots) == len(one)
    assert has_each_once((*slots, *others)) == (not one & other)


@settings(deadline=None)
@given(ranges, ranges)
def test_ranges_may_come_in_any_order_and_overlap(a: list[SlotRange], b: list[SlotRange]) -> None:
    one, other = set(slots_each(tuple(a))), set(slots_each(tuple(b)))
    assert slots_joined(a) == slots_of(one)
    assert slots_common(a, b) == slots_of(one & other)
    assert slots_but(a) == slots_of(set(slots_each(ALL)) - one)


@settings(deadline=None)
@given(ranges)
def test_joined_ranges_neither_touch_nor_overlap(a: list[SlotRange]) -> None:
    found = slots_joined(a)
    assert all(one.last + 1 < other.first for one, other in itertools.pairwise(found))


@pytest.mark.parametrize("slots", [(), ALL])
def test_nothing_and_all_are_each_others_rest(slots: Slots) -> None:
    assert slots_but(slots_but(slots)) == slots
