"""Slots of keys, against redis-py's; sets of slots, against sets of numbers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from shardproxy.importing.slots import ALL, common, joined, missing, slot_of
from shardproxy.model import SLOT_COUNT, SlotRange


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


def numbers(slots: tuple[SlotRange, ...] | list[SlotRange]) -> set[int]:
    return {slot for one in slots for slot in range(one.first, one.last + 1)}


@settings(deadline=None)
@given(ranges, ranges)
def test_common_and_missing_are_those_of_sets(a: list[SlotRange], b: list[SlotRange]) -> None:
    assert numbers(common(a, b)) == numbers(a) & numbers(b)
    assert numbers(missing(a)) == numbers(ALL) - numbers(a)
    assert numbers(joined(a)) == numbers(a)


@settings(deadline=None)
@given(ranges)
def test_joined_ranges_neither_touch_nor_overlap(a: list[SlotRange]) -> None:
    found = joined(a)
    assert all(one.last + 1 < other.first for one, other in itertools.pairwise(found))


@pytest.mark.parametrize("slots", [(), ALL])
def test_nothing_and_all_are_each_others_rest(slots: tuple[SlotRange, ...]) -> None:
    assert missing(missing(slots)) == slots
