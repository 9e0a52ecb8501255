"""Slots: text, even shares, gaps and overlaps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.config import parse_config
from shardproxy.config.slots import (
    Slots,
    assign_slots,
    format_slots,
    parse_slots,
    slot_faults,
    weighted_slots,
)
from shardproxy.model import SLOT_COUNT, SlotRange, split_evenly

some_slots = st.sets(st.integers(0, SLOT_COUNT - 1), min_size=1, max_size=50)


def text_of(slots: set[int]) -> str:
    return ",".join(map(str, slots))


def each(slots: Slots) -> list[int]:
    return [slot for r in slots for slot in range(r.first, r.last + 1)]


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("0-16383", (SlotRange(0, 16383),)),
        ("7", (SlotRange(7, 7),)),
        ("0-99,200,300-400", (SlotRange(0, 99), SlotRange(200, 200), SlotRange(300, 400))),
        (" 5 - 6 , 1-2 ", (SlotRange(1, 2), SlotRange(5, 6))),
        ("0-9,10-19", (SlotRange(0, 19),)),
    ],
)
def test_slots_are_read_sorted_and_joined(text: str, slots: Slots) -> None:
    assert parse_slots(text) == slots


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a range is empty"),
        ("1,,2", "a range is empty"),
        ("a-b", "'a-b' is not a slot"),
        ("-5", "'-5' is not a slot"),
        ("1-2-3", "'1-2-3' is not a slot"),
        ("0-16384", "slot 16384 does not exist"),
        ("9-3", "9-3 runs backwards"),
        ("0-10,5", "0-10 and 5 overlap"),
        ("0-10,10-20", "0-10 and 10-20 overlap"),
    ],
)
def test_what_is_no_slot_range_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_slots(text)


@given(some_slots)
def test_slots_survive_being_written_and_read(slots: set[int]) -> None:
    read = parse_slots(text_of(slots))
    assert each(read) == sorted(slots)
    assert parse_slots(format_slots(read)) == read


@given(st.integers(1, 250))
def test_slots_are_split_evenly_when_nobody_claims_any(shards: int) -> None:
    assert assign_slots([None] * shards) == tuple((r,) for r in split_evenly(shards))


def test_a_shard_may_have_none() -> None:
    assert parse_slots("none") == ()
    assert format_slots(()) == "none"
    assert assign_slots([None, (), None]) == (parse_slots("0-8191"), (), parse_slots("8192-16383"))
    assert list(slot_faults([None, (), None])) == []
    (fault,) = slot_faults([(), ()])
    assert (fault.shard, fault.message) == (None, "slots 0-16383 belong to no shard")


@given(st.lists(st.none() | some_slots, min_size=1, max_size=20).filter(lambda shards: None in shards))
def test_what_is_left_goes_evenly_to_those_that_claim_nothing(claims: list[set[int] | None]) -> None:
    taken: set[int] = set()
    given_slots: list[Slots | None] = []
    for claim in claims:
        own = None if claim is None else claim - taken
        given_slots.append(None if own is None else parse_slots(text_of(own)) if own else ())
        taken |= own or set()
    shares = assign_slots(given_slots)
    assert not list(slot_faults(given_slots))
    assert sorted(slot for share in shares for slot in each(share)) == list(range(SLOT_COUNT))
    even = [each(share) for share, own in zip(shares, given_slots, strict=True) if own is None]
    assert max(map(len, even)) - min(map(len, even)) <= 1
    assert [slot for share in even for slot in share] == sorted(set(range(SLOT_COUNT)) - taken)  # in order


@given(st.lists(st.integers(1, 1_000_000), min_size=1, max_size=250))
def test_a_share_of_the_slots_is_that_of_the_weight(weights: list[int]) -> None:
    shares = weighted_slots(weights)
    assert list(slot_faults(shares)) == []
    for weight, share in zip(weights, shares, strict=True):
        fair = (SLOT_COUNT - len(weights)) * weight / sum(weights) + 1
        assert abs(sum(slots.last - slots.first + 1 for slots in share) - fair) <= 2


def test_a_heavier_memcached_node_owns_more_slots() -> None:
    pool = parse_config(
        "clusters: {pages: {engine: memcached, endpoints: {configuration: 127.0.0.1:1},"
        " nodes: ['a:1', {address: 'b:1', weight: 3}]}}"
    )
    (topology,) = pool.topologies()
    assert [format_slots(shard.slots) for shard in topology.shards] == ["0-4095", "4096-16383"]


def test_a_gap_concerns_all_shards() -> None:
    (fault,) = slot_faults([parse_slots("0-99"), parse_slots("102-16383")])
    assert (fault.shard, fault.message) == (None, "slots 100-101 belong to no shard")


def test_an_overlap_is_the_later_shards() -> None:
    first, second = slot_faults([parse_slots("0-9000"), parse_slots("8192-16383"), parse_slots("9001")])
    assert (first.shard, first.message) == (1, "slots 8192-9000 already belong to shards[0]")
    assert (second.shard, second.message) == (2, "slots 9001 already belong to shards[1]")


def test_a_shard_must_get_some_slot() -> None:
    faults = list(slot_faults([parse_slots("0-16382"), None, None]))
    assert [(fault.shard, fault.message) for fault in faults] == [(2, "no slots are left for this shard")]
