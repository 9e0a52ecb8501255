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
    """Those of both, neighbours joined."""
    joined: list[SlotRange] = []
    for part in sorted((*slots, *more)):
        if joined and part.first <= joined[-1].last + 1:
            joined[-1] = SlotRange(joined[-1].first, max(joined[-1].last, part.last))
        else:
            joined.append(part)
    return tuple(joined)


def slots_removed(slots: Slots, fewer: Slots) -> Slots:
    """Those that are not among the others."""
    return slots_common(slots, slots_but(fewer))


def slots_common(slots: Slots, others: Slots) -> Slots:
    """Those that are among both."""
    both = (
        SlotRange(max(one.first, other.first), min(one.last, other.last)) for one in slots for other in others
    )
    return slots_added(tuple(part for part in both if part.first <= part.last), ())


def slots_but(slots: Slots) -> Slots:
    """All slots that are not among these."""
    found, first = [], 0
    for part in slots_added(slots, ()):
        if part.first > first:
            found.append(SlotRange(first, part.first - 1))
        first = part.last + 1
    if first < SLOT_COUNT:
        found.append(SlotRange(first, SLOT_COUNT - 1))
    return tuple(found)


def slots_count(slots: Slots) -> int:
    return sum(map(len, slots))


def slots_cut(slots: Slots, most: int) -> Iterator[Slots]:
    """Cut them into parts of at most so many."""
    each = list(slots_each(slots))
    for first in range(0, len(each), most):
        yield slots_of(each[first : first + most])
