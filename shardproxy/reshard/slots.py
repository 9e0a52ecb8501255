"""Sets of slots, as sorted ranges. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shardproxy.model import SLOT_COUNT, SlotRange

Slots = tuple[SlotRange, ...]


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


def slots_added(slots: Slots, more: Slots) -> Slots:
    return slots_of((*slots_each(slots), *slots_each(more)))


def slots_removed(slots: Slots, fewer: Slots) -> Slots:
    return slots_of(set(slots_each(slots)) - set(slots_each(fewer)))


def slots_common(slots: Slots, others: Slots) -> Slots:
    return slots_of(set(slots_each(slots)) & set(slots_each(others)))


def slots_but(slots: Slots) -> Slots:
    """All slots that are not among these."""
    return slots_of(set(range(SLOT_COUNT)) - set(slots_each(slots)))


def slots_count(slots: Slots) -> int:
    return sum(map(len, slots))


def slots_cut(slots: Slots, most: int) -> Iterator[Slots]:
    """Cut them into parts of at most so many."""
    each = list(slots_each(slots))
    for first in range(0, len(each), most):
        yield slots_of(each[first : first + most])
