"""A slot that moves from shard to shard while it is written to, by who leads, over and over.

What is acknowledged of it is found at its owner, whoever that is by then. A proxy takes its view of all
shards at once from the records that it sees; the mover is the least that any real one is: it marks, holds,
copies what the last owner has, has that confirmed, and publishes. Both shards stay marked: who only follows
knows that slots may move before it is cut off, and who is out of touch asks for seals anyway.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import trio

from shardproxy.failover.interfaces import FenceError, NotSettledError, SlotDesk
from shardproxy.failover.setup import ShardSetup
from shardproxy.failover.slotmap import slots_shared
from shardproxy.model import Address, Hold, SlotRange
from shardproxy.model.replication import ShardKey
from shardproxy.model.seal import Seal
from shardproxy.model.slots import slots_removed
from shardproxy.nodes import NodeFailure
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.topology.fit import seal_wanted
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.proxy import Serving, SimProxy
    from tests.simulation.simulation import Simulation

SLOT = (SlotRange(0, 0),)
HOLD = Hold(SLOT)
FIRST = 1_000_000  # what is written to the slot
PAUSES = (0.2, 0.13, 0.27)  # seconds between moves
SERVED_WITHIN = 1.0
FENCED_WITHIN = 0.7
COPIED_WITHIN = 0.5
POLL = 0.01
RETRY = 0.06
RESTS = (0.06, 0.017, 0.083, 0.037)  # seconds between a client's writes, so that no two things keep step


def has_slot(record: ShardRecord) -> bool:
    return not slots_removed(SLOT, record.slots)


def owner_of(records: Mapping[ShardKey, ShardRecord]) -> ShardRecord | None:
    return next((record for record in records.values() if has_slot(record)), None)


# --- who serves it ---


@dataclass
class SlotServed:
    """The slot, as one proxy serves it. `is_` are mutation switches."""

    proxy: SimProxy
    setups: Mapping[ShardKey, ShardSetup]
    owner: ShardKey | None = None
    is_held: bool = False
    in_flight: int = 0
    changed: trio.Event = field(default_factory=trio.Event)
    landed: trio.Event = field(default_factory=trio.Event)
    late: float = 0.0  # seconds; up to three times that until what it sends arrives
    is_settling: bool = True  # what is held is acknowledged when nothing of it is under way
    is_asking: bool = True  # out of touch, it asks whether slots have left before a write is acknowledged

    def look(self) -> None:
        """Serve what is on record now, all of it at once."""
        records = dict(self.proxy.session.boards.records)
        claims = [key for key, record in records.items() if has_slot(record)]
        if records.keys() >= self.setups.keys() and len(claims) != 1:
            self.proxy.checks.complain(f"SLOT: {self.proxy.name} sees it with {claims}")
        shared = slots_shared(self.setups.values(), records.values())
        self.owner = next(key for key, slots in shared.items() if not slots_removed(SLOT, slots))
        record = records.get(self.owner)
        self.is_held = record is not None and record.hold is not None
        self.changed.set()
        self.changed = trio.Event()

    async def wait_settled(self, record: ShardRecord, is_latest: Callable[[], bool]) -> bool:
        """Whether nothing of what the record holds is under way, while it is the latest."""
        if record.hold is None or record.state is not ShardState.OK or not self.is_settling:
            return True
        while self.in_flight and is_latest():
            with trio.move_on_after(POLL):
                await self.landed.wait()
        return is_latest()

    def seal(self, serving: Serving) -> Seal | None:
        """What the primary has to say before a write is acknowledged."""
        setup, session = self.setups[serving.key], self.proxy.session
        if not self.is_asking:
            return None
        return seal_wanted(
            setup,
            serving.record,
            session.store.group,
            is_unsynced=serving.key.cluster in self.proxy.unsynced,
            is_waited_for=not session.is_follower,
        )

    async def run_client(self, numbers: itertools.count[int]) -> None:
        """Write to the slot for ever."""
        for value, rest in zip(numbers, itertools.cycle(RESTS), strict=False):
            with trio.move_on_after(3.0):
                await self._write(FIRST + value)
            await trio.sleep(rest)

    async def _write(self, value: int) -> None:
        proxy = self.proxy
        while True:
            await proxy.session.turn()
            serving = proxy.shards.get(self.owner) if self.owner is not None else None
            if serving is None or self.is_held or serving.primary is None or proxy.is_lapsed:
                with trio.move_on_after(POLL):
                    await self.changed.wait()
                continue
            if proxy.why_no_writes(serving) is not None:
                return
            self.in_flight += 1
            seal = self.seal(serving)  # is asked for behind it, whatever is known when that is answered
            try:
                await trio.sleep(self.late * (value % 4))
                if await proxy.send(serving, value, serving.primary, serving.epoch, seal):
                    return
            finally:
                self.in_flight -= 1
                self.landed.set()
                self.landed = trio.Event()
            await trio.sleep(RETRY)


# --- who moves it ---


@dataclass
class Mover:
    """The leader's service. `is_` are mutation switches."""

    world: World
    end: str
    is_fencing: bool = True  # waits until all proxies hold it
    is_sealing: bool = True  # has the source tell those who are out of touch
    is_comparing: bool = True  # that the target is still who was copied to
    is_confirming: bool = True  # has the copy confirmed by replicas

    async def run(self, desk: SlotDesk) -> None:
        for pause in itertools.cycle(PAUSES):
            await trio.sleep(pause)
            try:
                await self._move(desk)
            except (NotSettledError, FenceError, StoreUnavailableError, NodeFailure):
                await self._let_go(desk)

    async def _move(self, desk: SlotDesk) -> None:
        source = owner_of(desk.records)
        if source is None or len(desk.records) < len(desk.setups):
            return
        keys = sorted(desk.setups)
        target = keys[(keys.index(source.key) + 1) % len(keys)]
        pair = (source.key, target)
        await desk.change(dict.fromkeys(pair, lambda record: replace(record, is_mixed=True)))
        await desk.wait_served(pair, within=SERVED_WITHIN)
        await self._seal(desk, source.key)
        await desk.change({source.key: lambda record: replace(record, hold=HOLD)})
        if self.is_fencing:
            await desk.wait_served(pair, within=FENCED_WITHIN)
        if self.is_sealing:
            await self._seal(desk, source.key)
        before = {key: desk.records[key] for key in pair}
        await self._copy(before[source.key], before[target])
        await desk.change({source.key: _losing, target: self._gaining(before[target])})

    async def _seal(self, desk: SlotDesk, key: ShardKey) -> None:
        record = desk.records[key]
        if record.primary is None:
            raise NotSettledError("no primary")
        await self.world.load(record.primary, record.run_id, desk.seals(record), COPIED_WITHIN, self.end)

    def _gaining(self, before: ShardRecord) -> Callable[[ShardRecord], ShardRecord]:
        def gain(record: ShardRecord) -> ShardRecord:
            if self.is_comparing and record.epoch != before.epoch:
                raise NotSettledError(f"{record.key} has failed over")
            return replace(record, slots=tuple(sorted((*SLOT, *record.slots))))

        return gain

    async def _copy(self, source: ShardRecord, target: ShardRecord) -> None:
        """What the last owner has, and nobody else gets any more of."""
        if source.primary is None or target.primary is None:
            raise NotSettledError("no primary")
        values = await self.world.values(source.primary, source.run_id, COPIED_WITHIN, self.end)
        moving = [value for value in values if value >= FIRST]
        offset = await self.world.copy(target.primary, target.run_id, moving, COPIED_WITHIN, self.end)
        deadline = trio.current_time() + COPIED_WITHIN
        while self.is_confirming and not self._is_confirmed(target, target.primary, offset):
            if trio.current_time() >= deadline:
                raise NotSettledError("no replica has the copy")
            await trio.sleep(POLL)

    def _is_confirmed(self, target: ShardRecord, primary: Address, offset: int) -> bool:
        voters = {self.world.own(voter) for voter in target.promise.voters}
        return len(self.world.confirmed(primary, offset, self.end) & voters) >= max(1, target.wait)

    async def _let_go(self, desk: SlotDesk) -> None:
        """Whatever became of it, nothing waits for it any more; the next round goes on from the records."""
        held = [key for key, record in desk.records.items() if record.hold is not None]
        try:
            await desk.change(dict.fromkeys(held, lambda record: replace(record, hold=None)))
        except (NotSettledError, StoreUnavailableError):
            return


def _losing(record: ShardRecord) -> ShardRecord:
    return replace(record, slots=slots_removed(record.slots, SLOT), hold=None)


# --- what must hold ---


@dataclass
class MoveChecks:
    """Of the slot: SLOT it has one owner, MOVE what is acknowledged is found there."""

    sim: Simulation
    acked: set[int] = field(default_factory=set)
    moves: int = 0
    owner: ShardKey | None = None

    def stored(self, records: Sequence[ShardRecord]) -> None:
        """These are on record now."""
        stored = self.sim.store.records
        if len(stored) < self.sim.plan.shards:
            return
        claims = [key for key, record in stored.items() if has_slot(record)]
        if len(claims) != 1:
            self.sim.checks.complain(f"SLOT: it is on record with {claims}")
            return
        if self.owner not in (None, claims[0]):
            self.moves += 1
            self.sim.checks.note(f"the slot moves to {claims[0]}")
        self.owner = claims[0]
        if stored[self.owner].state is ShardState.OK:
            self._find("a record was stored")

    def acknowledged(self, value: int) -> None:
        if value >= FIRST:
            self.acked.add(value)
            self._find(f"{value} was acknowledged", {value})

    def ended(self) -> None:
        self._find("all has ended")

    def _find(self, when: str, values: set[int] | None = None) -> None:
        owner = owner_of(self.sim.store.records)
        primary = self.sim.world.engine_at(owner.primary) if owner is not None else None
        if owner is None or primary is None or primary.run_id != owner.run_id:
            return  # it fails over: what it has then is checked as of any shard
        lost = (self.acked if values is None else values) - set(primary.log)
        if lost:
            self.sim.checks.complain(
                f"MOVE: {when}, and {len(lost)} acknowledged writes are not at {owner.key}:"
                f" {sorted(lost)[:5]}"
            )
