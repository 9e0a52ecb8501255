"""Slots of keys, and sets of slots as sorted ranges. Pure."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from shardproxy.model.topology import SLOT_COUNT, SlotRange

Slots = tuple[SlotRange, ...]

ALL: Slots = (SlotRange(0, SLOT_COUNT - 1),)


def slot_of(key: bytes) -> int:
    """The slot of a key in any Redis Cluster (cluster.c, keyHashSlot)."""
    begin = key.find(b"{")
    if begin >= 0:
        end = key.find(b"}", begin + 1)
        if end > begin + 1:
            key = key[begin + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOT_COUNT


def slots_each(slots: Slots) -> Iterator[int]:
    """Every slot of the ranges, in their order."""
    for part in slots:
        yield from range(part.first, part.last + 1)


def slots_of(each: Iterable[int]) -> Slots:
    """Join slots, in any order, into sorted ranges."""
    joined: list[list[int]] = []
    for slot in sorted(set(each)):
        if joined and joined[-1][1] == slot - 1:
            joined[-1][1] = slot
        else:
            joined.append([slot, slot])
    return tuple(SlotRange(first, last) for first, last in joined)


def slots_joined(ranges: Iterable[SlotRange]) -> Slots:
    """The same slots, in order and in as few ranges as can be."""
    joined: list[SlotRange] = []
    for part in sorted(ranges):
        if joined and part.first <= joined[-1].last + 1:
            joined[-1] = SlotRange(joined[-1].first, max(joined[-1].last, part.last))
        else:
            joined.append(part)
    return tuple(joined)


def slots_added(slots: Iterable[SlotRange], more: Iterable[SlotRange]) -> Slots:
    """Those of both, neighbours joined."""
    return slots_joined((*slots, *more))


def slots_removed(slots: Slots, fewer: Slots) -> Slots:
    """Those that are not among the others."""
    return slots_common(slots, slots_but(fewer))


def slots_common(slots: Iterable[SlotRange], others: Sequence[SlotRange]) -> Slots:
    """Those that are among both."""
    both = (
        SlotRange(max(one.first, other.first), min(one.last, other.last)) for one in slots for other in others
    )
    return slots_joined(part for part in both if part.first <= part.last)


def slots_but(slots: Iterable[SlotRange]) -> Slots:
    """All slots that are not among these."""
    found, first = [], 0
    for part in slots_joined(slots):
        if part.first > first:
            found.append(SlotRange(first, part.first - 1))
        first = part.last + 1
    if first < SLOT_COUNT:
        found.append(SlotRange(first, SLOT_COUNT - 1))
    return tuple(found)


def has_each_once(ranges: Iterable[SlotRange]) -> bool:
    """Whether none of them is in two ranges."""
    return all(before.last < after.first for before, after in pairwise(sorted(ranges)))


def slots_count(slots: Slots) -> int:
    return sum(map(len, slots))


def slots_cut(slots: Slots, most: int) -> Iterator[Slots]:
    """Cut them into parts of at most so many."""
    each = list(slots_each(slots))
    for first in range(0, len(each), most):
        yield slots_of(each[first : first + most])
