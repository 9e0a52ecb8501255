"""Which shard has which slots. Pure.

    records ─> who has a slot on record has it, whatever a config says
    setups  ─> who has a slot by the config has it while nobody has it on record

So a config's slots are only the first ones, and what was moved since stays where it is. Every slot has
exactly one owner in the end. The leader puts on record what follows from that (`mends`): for those who serve
it, nothing changes then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from operator import attrgetter

from shardproxy.failover.setup import ShardSetup
from shardproxy.model import SLOT_COUNT, SlotRange
from shardproxy.model.replication import ShardKey
from shardproxy.model.slots import Slots, has_each_once, slots_common, slots_each, slots_joined, slots_of
from shardproxy.store.record import ShardRecord


def slots_shared(setups: Iterable[ShardSetup], records: Iterable[ShardRecord]) -> dict[ShardKey, Slots]:
    """The slots of every shard of one cluster, configured or on record; those without any have ().

    Where records of before slots could be moved still contradict each other, a configured shard comes first,
    then the one that has the slot by the config, then the lowest number.
    """
    wanted = {setup.key: setup.slots for setup in setups}
    recorded = {record.key: record.slots for record in records}
    if is_whole(recorded.values()):
        return {**dict.fromkeys(wanted, ()), **recorded}
    shared = {**wanted, **recorded}
    if is_whole(shared.values()):
        return shared
    owners: list[ShardKey | None] = [None] * SLOT_COUNT
    for key, slots in wanted.items():
        _paint(owners, slots, key)
    for key in sorted(recorded, key=lambda key: (key in wanted, -key.index)):
        _paint(owners, recorded[key], key)
    for key, slots in wanted.items():
        _paint(owners, slots_common(slots, recorded.get(key, ())), key)
    found: dict[ShardKey, list[SlotRange]] = {key: [] for key in shared}
    first = 0
    for owner, group in groupby(owners):
        last = first + sum(1 for _ in group) - 1
        if owner is not None:
            found[owner].append(SlotRange(first, last))
        first = last + 1
    return {key: tuple(slots) for key, slots in found.items()}


def _paint(owners: list[ShardKey | None], slots: Slots, key: ShardKey) -> None:
    for one in slots:
        owners[one.first : one.last + 1] = [key] * len(one)


def mends(setups: Sequence[ShardSetup], records: Iterable[ShardRecord]) -> dict[ShardKey, Slots]:
    """What is to be on record of shards that are on record, where that is something else now."""
    records = tuple(records)
    shared = slots_shared(setups, records)
    return {record.key: shared[record.key] for record in records if shared[record.key] != record.slots}


def is_whole(slots: Iterable[Slots]) -> bool:
    """Whether these are all slots, each once."""
    ranges = sorted((piece for pieces in slots for piece in pieces), key=attrgetter("first"))
    if not ranges or ranges[0].first != 0 or ranges[-1].last != SLOT_COUNT - 1:
        return False
    return all(after.first == before.last + 1 for before, after in pairwise(ranges))


def why_not_moved(before: Mapping[ShardKey, Slots], after: Mapping[ShardKey, Slots]) -> str | None:
    """Say what is wrong with a change of slots: each has to have one owner before and after. Or None."""
    had, has = ([part for slots in of.values() for part in slots] for of in (before, after))
    if has_each_once(had) and has_each_once(has) and slots_joined(had) == slots_joined(has):
        return None  # by ranges: clients wait while a leader reckons
    old = sorted(slot for slots in before.values() for slot in slots_each(slots))
    new = sorted(slot for slots in after.values() for slot in slots_each(slots))
    if old == new:
        return None
    lost, won = sorted(set(old) - set(new)), sorted(set(new) - set(old))
    if lost:
        return f"slots {', '.join(map(str, slots_of(lost)))} would belong to nobody"
    if won:
        return f"slots {', '.join(map(str, slots_of(won)))} belong to somebody else"
    twice = sorted({slot for slot, other in pairwise(new) if slot == other})
    return f"slots {', '.join(map(str, slots_of(twice)))} would belong to two shards"
