"""Which shard should have which slots, and what has to move for that. Pure.

As little moves as can: a shard with too much gives its highest slots, a shard with too little takes them, and
nothing moves between two shards that both lack, or both have too much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shardproxy.model import SLOT_COUNT
from shardproxy.model.replication import ShardKey
from shardproxy.model.slots import (
    Slots,
    slots_added,
    slots_common,
    slots_count,
    slots_each,
    slots_of,
    slots_removed,
)

Layout = Mapping[ShardKey, Slots]  # every shard of the cluster, in the order of its config
TOLERANCE = 0.02  # of the mean: a shard that is so near to it neither gives nor takes


class LayoutError(Exception):
    """It cannot be dealt out like that; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Move:
    """Slots that go from one shard to another."""

    source: ShardKey
    target: ShardKey
    slots: Slots


def moves_between(before: Layout, after: Layout) -> tuple[Move, ...]:
    """What has to move from whom to whom; one for each pair of shards."""
    found = []
    for source, had in before.items():
        for target, gets in after.items():
            if source != target and (slots := slots_common(had, gets)):
                found.append(Move(source, target, slots))
    return tuple(found)


def layout_scaled(layout: Layout, shards: int) -> Layout:
    """Spread all slots evenly over so many shards.

    Those that have slots come first, and those without follow in their order; of too many that have slots the
    last ones lose them.
    """
    if not 1 <= shards <= len(layout):
        raise LayoutError(
            f"{shards} shards are asked for, the config lists {len(layout)}: add some with `slots: none`"
            if shards > len(layout)
            else "a cluster has one shard at least"
        )
    owners = [key for key, slots in layout.items() if slots]
    ready = [key for key, slots in layout.items() if not slots]
    return _spread(layout, (owners + ready)[:shards])


def layout_drained(layout: Layout, shard: ShardKey) -> Layout:
    """Have a shard own nothing: the others that have slots take its own, so that they have alike."""
    others = [key for key, slots in layout.items() if slots and key != shard]
    if not others:
        raise LayoutError("no other shard has slots: reshard --move names one that is to take them")
    given = list(slots_each(layout[shard]))
    total = len(given) + sum(slots_count(layout[key]) for key in others)
    room = _room({key: slots_count(layout[key]) for key in others}, total)
    return _dealt(layout, {shard: given}, room)


def layout_moved(layout: Layout, slots: Slots, target: ShardKey) -> Layout:
    """Have a shard own these slots, whoever has them."""
    after = {key: slots_removed(had, slots) for key, had in layout.items()}
    return {**after, target: slots_added(after[target], slots)}


def layout_rebalanced(layout: Layout, weights: Sequence[float]) -> Layout:
    """Have the shards that own slots weigh alike, each slot weighing what is said (by its number)."""
    owners = [key for key, slots in layout.items() if slots]
    weighs = {key: sum(weights[slot] for slot in slots_each(layout[key])) for key in owners}
    mean = sum(weighs.values()) / len(owners)
    lacks = {key: mean - weighs[key] for key in owners if mean - weighs[key] > mean * TOLERANCE}
    after = dict(layout)
    for source in sorted(owners, key=lambda key: -weighs[key]):
        surplus = weighs[source] - mean
        if surplus <= mean * TOLERANCE:
            continue
        kept = list(slots_each(layout[source]))
        for slot in reversed(kept.copy()):
            taker = max(lacks, key=lambda key: lacks[key], default=None)
            weight = weights[slot]
            if taker is None or surplus <= 0 or len(kept) == 1:
                break
            if not 0 < weight <= min(surplus, lacks[taker]):
                continue
            kept.remove(slot)
            after[taker] = (*after[taker], *slots_of([slot]))
            surplus -= weight
            lacks[taker] -= weight
        after[source] = slots_of(kept)
    return {key: slots_of(slots_each(slots)) for key, slots in after.items()}


def _spread(layout: Layout, holders: Sequence[ShardKey]) -> Layout:
    """Have these shards own all slots, evenly."""
    has = {key: slots_count(layout[key]) for key in holders}
    quotas = _quotas(has, SLOT_COUNT)
    given = {
        key: list(slots_each(slots))[quotas.get(key, 0) :]
        for key, slots in layout.items()
        if slots_count(slots) > quotas.get(key, 0)
    }
    room = {key: quotas[key] - has[key] for key in holders if quotas[key] > has[key]}
    return _dealt(layout, given, room)


def _quotas(has: Mapping[ShardKey, int], total: int) -> dict[ShardKey, int]:
    """How much each should have; the odd ones stay with who has most."""
    share, odd = divmod(total, len(has))
    by_size = sorted(has, key=lambda key: -has[key])
    return {key: share + (place < odd) for place, key in enumerate(by_size)}


def _room(has: Mapping[ShardKey, int], total: int) -> dict[ShardKey, int]:
    """How much each takes so that they have alike, nobody giving anything."""
    takers = dict(has)
    while takers:
        quotas = _quotas(takers, total)
        full = [key for key in takers if takers[key] > quotas[key]]
        if not full:
            return {key: quotas[key] - takers[key] for key in takers if quotas[key] > takers[key]}
        for key in full:
            total -= takers.pop(key)
    return {}


def _dealt(layout: Layout, given: Mapping[ShardKey, Sequence[int]], room: Mapping[ShardKey, int]) -> Layout:
    """Take from who gives, in order, and fill who has room, in order: few pairs come of it."""
    after = {key: slots_removed(slots, slots_of(given.get(key, ()))) for key, slots in layout.items()}
    rest = [slot for slots in given.values() for slot in slots]
    for key, count in room.items():
        after[key] = slots_added(after[key], slots_of(rest[:count]))
        rest = rest[count:]
    return after
