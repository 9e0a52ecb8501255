"""Who has which slots, of what is configured and what is on record."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from shardproxy.failover.setup import ShardSetup, record_new
from shardproxy.failover.slotmap import (
    is_whole,
    mends,
    slots_shared,
    why_not_moved,
)
from shardproxy.model import SLOT_COUNT, SlotRange
from shardproxy.model.replication import ShardKey
from shardproxy.model.slots import Slots, slots_each, slots_removed
from shardproxy.store.record import ShardRecord

ALL = (SlotRange(0, SLOT_COUNT - 1),)
LOW, HIGH = (SlotRange(0, 8191),), (SlotRange(8192, SLOT_COUNT - 1),)
KEYS = [ShardKey("main", number) for number in range(4)]


def configured(*slots: Slots, first: int = 0) -> list[ShardSetup]:
    return [ShardSetup(KEYS[first + number], (), slots=of) for number, of in enumerate(slots)]


def recorded(**slots: Slots) -> list[ShardRecord]:
    """By the shard's number, as in `_0=LOW`."""
    return [replace(record_new(ShardSetup(KEYS[int(name[1:])], ())), slots=of) for name, of in slots.items()]


def test_a_config_says_who_has_which_slots_while_nothing_is_on_record() -> None:
    assert slots_shared(configured(LOW, HIGH), []) == {KEYS[0]: LOW, KEYS[1]: HIGH}


def test_what_is_on_record_stays_whatever_a_config_says() -> None:
    assert slots_shared(configured(HIGH, LOW), recorded(_0=LOW, _1=HIGH)) == {KEYS[0]: LOW, KEYS[1]: HIGH}


def test_who_is_new_gets_none_while_all_have_an_owner() -> None:
    shared = slots_shared(configured(LOW, HIGH), recorded(_0=ALL))
    assert shared == {KEYS[0]: ALL, KEYS[1]: ()}
    assert mends(configured(LOW, HIGH), recorded(_0=ALL)) == {}


def test_who_is_not_on_record_yet_has_what_is_left_for_it() -> None:
    assert slots_shared(configured(LOW, HIGH), recorded(_0=LOW)) == {KEYS[0]: LOW, KEYS[1]: HIGH}


def test_what_only_other_proxies_have_in_their_config_keeps_its_slots() -> None:
    assert slots_shared(configured(ALL), recorded(_0=LOW, _1=HIGH)) == {KEYS[0]: LOW, KEYS[1]: HIGH}


def test_what_nobody_has_on_record_goes_by_the_config_and_is_put_on_record() -> None:
    records = recorded(_0=LOW, _1=())
    assert slots_shared(configured(ALL, ()), records) == {KEYS[0]: ALL, KEYS[1]: ()}
    assert mends(configured(ALL, ()), records) == {KEYS[0]: ALL}


def test_of_two_who_claim_a_slot_one_has_it() -> None:
    """As of versions before: a shard that has left, and those that were given its slots."""
    assert slots_shared(configured(ALL), recorded(_0=ALL, _1=HIGH))[KEYS[1]] == ()
    assert slots_shared(configured(LOW, HIGH), recorded(_0=ALL, _1=HIGH)) == {KEYS[0]: LOW, KEYS[1]: HIGH}
    assert slots_shared(configured(LOW, HIGH), recorded(_0=LOW, _1=ALL)) == {KEYS[0]: LOW, KEYS[1]: HIGH}
    assert mends(configured(LOW, HIGH), recorded(_0=ALL, _1=HIGH)) == {KEYS[0]: LOW}


def slots() -> st.SearchStrategy[Slots]:
    ranges = st.lists(st.integers(0, SLOT_COUNT - 1), min_size=2, max_size=6, unique=True).map(sorted)
    return ranges.map(lambda at: tuple(SlotRange(at[i], at[i + 1] - 1) for i in range(0, len(at) - 1, 2)))


def partition(places: list[int], shards: list[int]) -> list[Slots]:
    """All slots, dealt out."""
    bounds = [0, *sorted(set(places)), SLOT_COUNT]
    dealt: list[list[SlotRange]] = [[], [], [], []]
    for number, (first, end) in enumerate(pairwise(bounds)):
        if first < end:
            dealt[shards[number % len(shards)]].append(SlotRange(first, end - 1))
    return [tuple(of) for of in dealt]


PLACES = st.lists(st.integers(1, SLOT_COUNT - 1), max_size=8)
OWNERS = st.lists(st.integers(0, 3), min_size=1, max_size=9)


@settings(deadline=None, max_examples=40)
@given(PLACES, OWNERS, st.dictionaries(st.integers(0, 3), slots(), max_size=4))
def test_every_slot_has_exactly_one_owner_whatever_is_on_record(
    places: list[int], owners: list[int], on_record: dict[int, Slots]
) -> None:
    setups = configured(*partition(places, owners))
    records = recorded(**{f"_{number}": of for number, of in on_record.items()})
    shared = slots_shared(setups, records)
    assert is_whole(shared.values())
    for key, of in shared.items():
        for other in recorded_elsewhere(records, key):
            mine = {slot for record in records if record.key == key for slot in slots_each(record.slots)}
            assert not (set(slots_each(of)) & other - mine), "what is on record of one went to another"


def recorded_elsewhere(records: list[ShardRecord], key: ShardKey) -> list[set[int]]:
    return [set(slots_each(record.slots)) for record in records if record.key != key]


@settings(deadline=None, max_examples=40)
@given(PLACES, OWNERS, st.dictionaries(st.integers(0, 3), slots(), max_size=4))
def test_a_mended_map_is_served_as_it_was_before(
    places: list[int], owners: list[int], on_record: dict[int, Slots]
) -> None:
    setups = configured(*partition(places, owners))
    records = recorded(**{f"_{number}": of for number, of in on_record.items()})
    mended = mends(setups, records)
    after = [replace(record, slots=mended.get(record.key, record.slots)) for record in records]
    before = slots_shared(setups, records)
    now = slots_shared(setups, after)
    assert {k: set(slots_each(of)) for k, of in now.items()} == {
        k: set(slots_each(of)) for k, of in before.items()
    }
    assert mends(setups, after) == {}


def test_slots_are_moved_and_neither_lost_nor_had_twice() -> None:
    one, two = KEYS[0], KEYS[1]
    assert why_not_moved({one: LOW, two: HIGH}, {one: (), two: ALL}) is None
    assert why_not_moved({one: LOW}, {one: ()}) == "slots 0-8191 would belong to nobody"
    assert why_not_moved({one: LOW}, {one: ALL}) == "slots 8192-16383 belong to somebody else"
    twice = {one: LOW, two: ALL}
    assert why_not_moved({one: LOW, two: HIGH}, twice) == "slots 0-8191 would belong to two shards"
    assert slots_removed(ALL, LOW) == HIGH
