"""The shards of a cluster that get keys, as they are on record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import trio

from shardproxy.config.slots import format_slots
from shardproxy.failover.interfaces import SlotDesk
from shardproxy.jobs.interface import JobError
from shardproxy.model import Address, SlotRange
from shardproxy.model.replication import ShardKey
from shardproxy.model.slots import slots_but, slots_common, slots_joined
from shardproxy.store.record import ShardRecord

LOOK = 0.2  # seconds between looks at shards that have no primary now
PATIENCE = 60.0  # seconds for which a failover is waited for


@dataclass(frozen=True, slots=True)
class Owner:
    """A shard with slots, and its primary."""

    key: ShardKey
    label: str
    slots: tuple[SlotRange, ...]
    primary: Address
    epoch: int  # another one is another primary, which may lack what the last one had
    run_id: str = ""  # of its process, which may have come back empty


def owners_of(records: Mapping[ShardKey, ShardRecord]) -> tuple[Owner, ...]:
    """Who owns which slots; raise JobError while that is not settled."""
    owners = []
    for key, record in sorted(records.items()):
        if not record.slots:
            continue
        label = record.name or str(key.index)
        if record.primary is None or not record.is_settled:
            raise JobError(f"shard {label} of {key.cluster} has no primary now: try again once it has one")
        owners.append(
            Owner(key, label, slots_joined(record.slots), record.primary, record.epoch, record.run_id)
        )
    if not owners:
        raise JobError("no shard has slots yet: is the cluster served?")
    owned = [slots for owner in owners for slots in owner.slots]
    if lacking := slots_but(owned):
        raise JobError(f"nobody has slots {format_slots(lacking)}: shardproxy reshard status")
    for number, owner in enumerate(owners):
        for other in owners[number + 1 :]:
            if both := slots_common(owner.slots, other.slots):
                raise JobError(f"shards {owner.label} and {other.label} both have slots {format_slots(both)}")
    return tuple(owners)


async def owners_wait(desk: SlotDesk, within: float = PATIENCE) -> tuple[Owner, ...]:
    """The same, once every shard has a primary; raise JobError when that takes longer."""
    with trio.move_on_after(within):
        while True:
            try:
                return owners_of(desk.records)
            except JobError:
                await trio.sleep(LOOK)
    return owners_of(desk.records)


async def owners_wait_changed(desk: SlotDesk, owners: tuple[Owner, ...]) -> None:
    """Return when they are no longer these."""
    while True:
        try:
            if owners_of(desk.records) != owners:
                return
        except JobError:
            return
        await trio.sleep(LOOK)
