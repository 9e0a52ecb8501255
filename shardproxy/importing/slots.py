"""Slots of keys, and sets of slots. Pure."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Sequence

from shardproxy.model import SLOT_COUNT, SlotRange

ALL: tuple[SlotRange, ...] = (SlotRange(0, SLOT_COUNT - 1),)


def slot_of(key: bytes) -> int:
    """The slot of a key in any Redis Cluster (cluster.c, keyHashSlot)."""
    begin = key.find(b"{")
    if begin >= 0:
        end = key.find(b"}", begin + 1)
        if end > begin + 1:
            key = key[begin + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOT_COUNT


def common(one: Iterable[SlotRange], other: Sequence[SlotRange]) -> tuple[SlotRange, ...]:
    """What both have, in order."""
    found = (
        SlotRange(max(a.first, b.first), min(a.last, b.last))
        for a in one
        for b in other
        if max(a.first, b.first) <= min(a.last, b.last)
    )
    return joined(found)


def joined(ranges: Iterable[SlotRange]) -> tuple[SlotRange, ...]:
    """The same slots, in order and in as few ranges as can be."""
    found: list[SlotRange] = []
    for one in sorted(ranges):
        if found and one.first <= found[-1].last + 1:
            found[-1] = SlotRange(found[-1].first, max(found[-1].last, one.last))
        else:
            found.append(one)
    return tuple(found)


def missing(ranges: Iterable[SlotRange]) -> tuple[SlotRange, ...]:
    """All other slots."""
    found: list[SlotRange] = []
    first = 0
    for one in joined(ranges):
        if one.first > first:
            found.append(SlotRange(first, one.first - 1))
        first = one.last + 1
    if first < SLOT_COUNT:
        found.append(SlotRange(first, SLOT_COUNT - 1))
    return tuple(found)
