"""The records of one cluster, as its leader writes them: every write of one goes through here.

    shards' tasks ─> put     who is primary, who vouches ...: all but the slots
    SlotDesk      ─> change  slots, holds: of several shards at once

Both may be about the same shard at the same time. They are made one after the other, and as they are about
different things, neither fails because of the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import trio

from shardproxy.failover.setup import ShardSetup
from shardproxy.failover.slotmap import mends, slots_shared, why_not_moved
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.model.slots import Slots, slots_removed
from shardproxy.store.interface import MAX_TOGETHER, Leadership, Store
from shardproxy.store.record import ShardRecord

Change = Callable[[ShardRecord], ShardRecord]


class PutsRecords(Protocol):
    """Where one shard's records are put."""

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        """As the store's."""


@dataclass(slots=True)
class LedRecords:
    """One leader's. `put` never changes slots, hold, generation or is_mixed, `change` nothing else."""

    store: Store
    leadership: Leadership
    setups: Board[ShardKey, ShardSetup]
    _turns: dict[ShardKey, trio.Lock] = field(default_factory=dict)
    _passed: dict[ShardKey, set[int]] = field(
        default_factory=dict
    )  # revisions that `change` alone has replaced since the last `put`
    _granted: dict[ShardKey, Slots] = field(default_factory=dict)  # to who is being put on record

    @property
    def cluster(self) -> str:
        return self.leadership.cluster

    @property
    def configured(self) -> dict[ShardKey, ShardSetup]:
        return {key: setup for key, setup in self.setups.items() if key.cluster == self.cluster}

    @property
    def records(self) -> dict[ShardKey, ShardRecord]:
        return {key: record for key, record in self.store.records.items() if key.cluster == self.cluster}

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        """Replace a shard's record but for its slots; one that is new gets those that nobody has."""
        key = record.key
        async with self._turn(key):
            if (stored := self.store.records.get(key)) is not None:
                record = replace(
                    record,
                    slots=stored.slots,
                    hold=stored.hold,
                    generation=stored.generation,
                    is_mixed=stored.is_mixed,
                    revision=self._rebased(record, stored),
                )
            else:
                record = replace(record, slots=self._grant(key))
            try:
                written = await self.store.put(record, leadership)
            finally:
                self._granted.pop(key, None)
            self._passed.pop(key, None)
            return written

    def _rebased(self, record: ShardRecord, stored: ShardRecord) -> int:
        """The revision it replaces: what was changed meanwhile is none of its business."""
        return stored.revision if record.revision in self._passed.get(record.key, ()) else record.revision

    def _grant(self, key: ShardKey) -> Slots:
        shared = slots_shared(self.configured.values(), self.records.values())
        taken = tuple(one for other, slots in self._granted.items() if other != key for one in slots)
        self._granted[key] = slots_removed(shared.get(key, ()), taken)
        return self._granted[key]

    async def change(
        self,
        changes: Mapping[ShardKey, Change],
        why_not: Callable[[Mapping[ShardKey, ShardRecord], Mapping[ShardKey, ShardRecord]], str | None],
    ) -> str | None:
        """Replace them all, or say why not: what `why_not` says of the records before and after.

        Raise ValueError for what no change may be, KeyError for what is not on record, or as `put_all`.
        """
        async with self._turns_of(changes):
            before = {key: self.store.records[key] for key in changes}
            after = {key: changes[key](record) for key, record in before.items()}
            changed_check(before, after)
            after = {key: generation_next(before[key], record) for key, record in after.items()}
            if (why := why_not(before, after)) is not None:
                return why
            await self._put_all([after[key] for key in sorted(after) if after[key] != before[key]])
        return None

    async def mend(self) -> bool:
        """Put on record who has which slots, where that is not so yet; whether anything was to be done."""
        wanted = mends(tuple(self.configured.values()), self.records.values())
        for keys in _chunks(sorted(wanted)):
            async with self._turns_of(dict.fromkeys(keys)):
                now = mends(tuple(self.configured.values()), self.records.values())
                await self._put_all([replace(self.store.records[k], slots=now[k]) for k in keys if k in now])
        return bool(wanted)

    async def release(self) -> bool:
        """Take all holds away; whether there was any."""
        held = sorted(key for key, record in self.records.items() if record.hold is not None)
        for keys in _chunks(held):
            async with self._turns_of(dict.fromkeys(keys)):
                await self._put_all([replace(self.store.records[key], hold=None) for key in keys])
        return bool(held)

    async def _put_all(self, records: list[ShardRecord]) -> None:
        if not records:
            await trio.lowlevel.checkpoint()
            return
        await self.store.put_all(records, self.leadership)
        for record in records:
            self._passed.setdefault(record.key, set()).add(record.revision)

    def _turn(self, key: ShardKey) -> trio.Lock:
        return self._turns.setdefault(key, trio.Lock())

    @asynccontextmanager
    async def _turns_of(self, keys: Mapping[ShardKey, object]) -> AsyncIterator[None]:
        """Always in the same order, so that nobody waits for each other."""
        async with AsyncExitStack() as stack:
            for key in sorted(keys):
                await stack.enter_async_context(self._turn(key))
            yield


def changed_check(before: Mapping[ShardKey, ShardRecord], after: Mapping[ShardKey, ShardRecord]) -> None:
    """Raise ValueError for a change of anything but slots and holds, or one that leaves a slot without, or
    with two owners."""
    for key, record in before.items():
        now = after[key]
        if replace(now, slots=record.slots, hold=record.hold, is_mixed=record.is_mixed) != record:
            raise ValueError(f"{key}: only slots, hold and is_mixed are changed this way")
    slots = ({key: record.slots for key, record in of.items()} for of in (before, after))
    if (why := why_not_moved(*slots)) is not None:
        raise ValueError(why)


def generation_next(before: ShardRecord, now: ShardRecord) -> ShardRecord:
    """Once requests wait as slots may leave, who knows of the shard as it was before knows too little."""
    if now.hold is None or now.hold.only_writes or now.hold == before.hold:
        return now
    return replace(now, generation=before.generation + 1)


def _chunks(keys: list[ShardKey]) -> list[list[ShardKey]]:
    return [keys[at : at + MAX_TOGETHER] for at in range(0, len(keys), MAX_TOGETHER)]
