"""Which shard owns which of the 16384 slots. Pure; knows nothing of files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from shardproxy.model import SLOT_COUNT, SlotRange

Slots = tuple[SlotRange, ...]

NONE = "none"

_RANGE = re.compile(r"(\d{1,5})(?:\s*-\s*(\d{1,5}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SlotFault:
    """Why slots cannot be dealt out; `shard` is None when it concerns them all."""

    shard: int | None
    message: str
    hint: str


def parse_slots(text: str) -> Slots:
    """Read "0-99,200,300-400", or "none", into sorted ranges, neighbours joined; raise ValueError."""
    if text.strip() == NONE:
        return ()
    ranges = sorted(_parse_range(part) for part in text.split(","))
    for before, after in pairwise(ranges):
        if after.first <= before.last:
            raise ValueError(f"{before} and {after} overlap")
    return _ranges(slot for r in ranges for slot in range(r.first, r.last + 1))


def _parse_range(text: str) -> SlotRange:
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text.strip()!r} is not a slot or a range of slots" if text.strip() else "a range is empty"
        )
    first, last = int(match[1]), int(match[2] or match[1])
    if last >= SLOT_COUNT:
        raise ValueError(f"slot {last} does not exist: slots are 0-{SLOT_COUNT - 1}")
    if first > last:
        raise ValueError(f"{first}-{last} runs backwards")
    return SlotRange(first, last)


def format_slots(slots: Slots) -> str:
    """Write ranges as `parse_slots` reads them."""
    return ",".join(map(str, slots)) or NONE


def assign_slots(given: Sequence[Slots | None]) -> tuple[Slots, ...]:
    """Deal every slot nobody was given, evenly and in order, to the shards that were given none."""
    rest = _unowned(given)
    takers = sum(slots is None for slots in given)
    shares = iter(
        _ranges(rest[i * len(rest) // takers : (i + 1) * len(rest) // takers]) for i in range(takers)
    )
    return tuple(next(shares) if slots is None else slots for slots in given)


def weighted_slots(weights: Sequence[int]) -> tuple[Slots, ...]:
    """Share all slots by weight, one each at least; as `assign_slots` does where all weigh the same."""
    if len(set(weights)) == 1:
        return assign_slots([None] * len(weights))
    spare = SLOT_COUNT - len(weights)
    ends = [
        i + 1 + spare * sum(weights[: i + 1]) // sum(weights)  # where the next shard starts
        for i in range(len(weights))
    ]
    return tuple((SlotRange(first, end - 1),) for first, end in zip([0, *ends], ends, strict=False))


def slot_faults(given: Sequence[Slots | None]) -> Iterator[SlotFault]:
    """Find slots with two owners or none."""
    owner: dict[int, int] = {}
    for shard, slots in enumerate(given):
        twice: dict[int, list[int]] = {}
        for slot in _each(slots or ()):
            if owner.setdefault(slot, shard) != shard:
                twice.setdefault(owner[slot], []).append(slot)
        for other, both in twice.items():
            message = f"slots {format_slots(_ranges(both))} already belong to shards[{other}]"
            yield SlotFault(shard, message, "each slot has one owner")
    rest = _unowned(given)
    takers = [shard for shard, slots in enumerate(given) if slots is None]
    if rest and not takers:
        message = f"slots {format_slots(_ranges(rest))} belong to no shard"
        yield SlotFault(
            None, message, "add them to a shard, or leave out `slots` of one shard: it takes what is left"
        )
    for shard in takers[len(rest) :]:
        yield SlotFault(
            shard, "no slots are left for this shard", "the other shards' `slots` already cover them all"
        )


def _each(slots: Slots) -> Iterator[int]:
    for r in slots:
        yield from range(r.first, r.last + 1)


def _unowned(given: Sequence[Slots | None]) -> list[int]:
    owned = {slot for slots in given if slots is not None for slot in _each(slots)}
    return [slot for slot in range(SLOT_COUNT) if slot not in owned]


def _ranges(slots: Iterable[int]) -> Slots:
    """Join ascending slots into ranges."""
    joined: list[list[int]] = []
    for slot in slots:
        if joined and joined[-1][1] == slot - 1:
            joined[-1][1] = slot
        else:
            joined.append([slot, slot])
    return tuple(SlotRange(first, last) for first, last in joined)
