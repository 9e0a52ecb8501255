"""Sets of slots as ranges, against sets of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shardproxy.model import SlotRange
from shardproxy.reshard.slots import (
    Slots,
    slots_added,
    slots_but,
    slots_common,
    slots_count,
    slots_each,
    slots_of,
    slots_removed,
)

some = st.lists(
    st.integers(0, 60).flatmap(lambda first: st.builds(SlotRange, st.just(first), st.integers(first, 63))),
    max_size=5,
).map(lambda parts: slots_of(slot for part in parts for slot in range(part.first, part.last + 1)))


@given(some, some)
def test_ranges_are_as_sets_of_numbers(slots: Slots, others: Slots) -> None:
    one, other = set(slots_each(slots)), set(slots_each(others))
    assert slots_added(slots, others) == slots_of(one | other)
    assert slots_removed(slots, others) == slots_of(one - other)
    assert slots_common(slots, others) == slots_of(one & other)
    assert slots_but(slots) == slots_of(set(range(16384)) - one)
    assert slots_count(slots) == len(one)
