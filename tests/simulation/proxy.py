"""A proxy's data plane and its clients: parks, sends, and decides what becomes an acknowledgement.

It follows the records of its store by itself, each shard on its own, and says which it serves. One of a fleet
knows when it is out of touch with the store, and what it may acknowledge then.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.health import NodeHealth, NodeKey
from shardproxy.model.replication import ShardKey
from shardproxy.model.seal import Seal
from shardproxy.nodes import NodeFailure
from shardproxy.store.record import Promise, ShardRecord, ShardState
from shardproxy.topology.fit import why_no_writes
from tests.simulation.checks import Checks
from tests.simulation.moves import SlotServed
from tests.simulation.store import SimSession
from tests.simulation.world import US, World

PAUSE = 0.06  # seconds between a client's writes
REPLY_TIMEOUT = 1.0
WAIT_TIMEOUT = 0.5
PARK_TIMEOUT = 3.0
RETRY = 0.05
POLL = 0.01
NO_PROMISE = Promise()


@dataclass
class Serving:
    """One shard, as a data plane serves it."""

    key: ShardKey
    epoch: int = 0
    primary: Address | None = None
    run_id: str = ""
    promise: Promise = NO_PROMISE
    record: ShardRecord | None = None
    changed_at: int = 0  # of the record that is served
    in_flight: int = 0
    changed: trio.Event = field(default_factory=trio.Event)
    landed: trio.Event = field(default_factory=trio.Event)

    def turn(self, epoch: int, primary: Address | None) -> None:
        self.epoch, self.primary = epoch, primary
        self.changed.set()
        self.changed = trio.Event()


@dataclass
class SimProxy:
    """One member of a store. Those that begin with `is_` are mutation switches."""

    name: str
    world: World
    checks: Checks
    session: SimSession
    end: str = US  # of the network
    health: Mapping[NodeKey, NodeHealth] | None = None  # as its process finds; None = nobody looks
    lag: float = 0.001  # seconds until it serves what is stored
    decides: bool = True  # the process that leads its store does
    is_fencing: bool = True
    is_dropping_old: bool = True
    is_verifying: bool = True  # that it is the primary's process, before anything is sent
    is_counting_strangers: bool = False  # whoever is attached counts
    is_resending: bool = False
    is_careful: bool = True  # asks for a confirmation where it is out of touch
    is_leased: bool = True  # looks at its lease before it takes a reply
    deaf_until: float = 0.0  # hears nothing of the store
    deadline: float | None = None  # of its lease
    applied: Board[ShardKey, int] = field(default_factory=Board)  # what it serves
    unsynced: Board[str, bool] = field(default_factory=Board)  # clusters it serves carefully
    pace: float = PAUSE
    in_doubt: int = 0
    shards: dict[ShardKey, Serving] = field(default_factory=dict)
    slot: SlotServed | None = None  # that moves

    # What the control plane asks of it

    def lease(self, cluster: str, deadline: float | None) -> None:
        """Take no reply of a primary after that moment."""
        self.deadline = deadline

    @property
    def is_lapsed(self) -> bool:
        return self.is_leased and self.deadline is not None and trio.current_time() >= self.deadline

    async def follow(self, key: ShardKey) -> None:
        """Serve a shard as its record says: without a primary it is fenced."""
        serving = self.shards.setdefault(key, Serving(key))
        records = self.session.boards.records
        seen = -1
        while True:
            seen = await records.wait_changed(seen)
            await trio.sleep(self.lag)
            await trio.sleep_until(self.deaf_until)
            await self.session.turn()
            record = records.get(key)
            if self.slot is not None:
                self.slot.look()
            if record is not None and record.changed > serving.changed_at:
                await self._serve(serving, record)
                if self.slot is not None and not await self._is_settled(self.slot, record):
                    continue
                self.applied.show(key, record.changed)
                if self.session.is_eternal:
                    self.session.store.set("acks", (self.name, key), record.changed)

    async def _is_settled(self, slot: SlotServed, record: ShardRecord) -> bool:
        records = self.session.boards.records
        return await slot.wait_settled(record, lambda: records[record.key].changed == record.changed)

    async def follow_synced(self) -> None:
        """Serve carefully while out of touch."""
        synced, seen = self.session.synced, -1
        while True:
            seen = await synced.wait_changed(seen)
            await trio.sleep(self.lag)
            await self.session.turn()
            for cluster, is_synced in synced.items():
                if is_synced:
                    self.unsynced.hide(cluster)
                else:
                    self.unsynced.show(cluster, True)

    def _is_careful(self, key: ShardKey) -> bool:
        return self.is_careful and key.cluster in self.unsynced

    def why_no_writes(self, serving: Serving) -> str | None:
        record, health = serving.record, self.health
        if record is None or health is None or not self._is_careful(serving.key) or len(record.nodes) < 2:
            return None
        return why_no_writes(record, {node: health.get((serving.key, node)) for node in record.nodes})

    async def _serve(self, serving: Serving, record: ShardRecord) -> None:
        """A planned change lets replies come in first."""
        if record.state is ShardState.SWITCHING:
            serving.turn(serving.epoch, None)  # replies of what was sent still count
            while serving.in_flight:
                await serving.landed.wait()
        if record.primary is not None or self.is_fencing:
            engine = self.world.engine_at(record.primary)
            self.checks.served(record, self.name, engine, decides=self.decides)
            serving.run_id, serving.promise, serving.record = record.run_id, record.promise, record
            serving.turn(record.epoch, record.primary)
        serving.changed_at = record.changed

    async def run_client(self, key: ShardKey, numbers: itertools.count[int]) -> None:
        """Write for ever, one write after another."""
        serving = self.shards.setdefault(key, Serving(key))
        for value in numbers:
            with trio.move_on_after(PARK_TIMEOUT):
                await self._write(serving, value)
            await trio.sleep(self.pace)

    async def _write(self, serving: Serving, value: int) -> None:
        """Send a write once there is a primary to take it; only what was not carried out is sent again."""
        while True:
            await self.session.turn()
            while serving.primary is None or self.is_lapsed:
                with trio.move_on_after(RETRY if self.is_lapsed else float("inf")):
                    await serving.changed.wait()
            if self.why_no_writes(serving) is not None:
                self.checks.refused += 1
                return
            changed = serving.changed
            serving.in_flight += 1
            try:
                if await self.send(serving, value, serving.primary, serving.epoch):
                    return
            finally:
                serving.in_flight -= 1
                serving.landed.set()
                serving.landed = trio.Event()
            with trio.move_on_after(RETRY):
                await changed.wait()

    async def send(
        self, serving: Serving, value: int, primary: Address, epoch: int, seal: Seal | None = None
    ) -> bool:
        """Whether the client has its answer."""
        run_id = serving.run_id if self.is_verifying else None
        try:
            written = await self.world.write(primary, run_id, value, REPLY_TIMEOUT, self.end)
            await self.session.turn()
        except NodeFailure as error:
            self.in_doubt += error.is_sent
            return error.is_sent and not self.is_resending
        if written is None:
            return False
        engine = self.world.engines[self.world.own(primary)]
        before = engine.run_id
        wait = await self._wait(serving, primary, written.offset)
        if not await self._is_sealed(serving, primary, run_id or before, seal):
            wait = None
        await self.session.turn()
        has_ended = engine.run_id != before  # and its connections with it
        is_old = self.is_dropping_old and epoch != serving.epoch
        if wait is None or has_ended or is_old or self.is_lapsed:
            self.in_doubt += 1  # its connection was closed, or WAIT came short: the client hears INDOUBT
        else:
            is_stranger = written.run_id != serving.run_id and epoch == serving.epoch
            epochs = (epoch, serving.epoch)
            others = self._vouching(serving.promise, primary, written.offset)
            if self.decides and not self.session.is_follower:
                self.checks.answered(serving.key, epoch, others, self.name)
            self.checks.acknowledged(serving.key, value, epochs, wait, is_stranger=is_stranger)
        return True

    async def _is_sealed(self, serving: Serving, primary: Address, run_id: str, seal: Seal | None) -> bool:
        """Whether no slots have left, where that had to be asked, or has to by now."""
        if seal is None and self.slot is not None:
            seal = self.slot.seal(serving)
        if seal is None:
            return True
        try:
            return await self.world.exist(primary, run_id, seal, WAIT_TIMEOUT, self.end) == [True, False]
        except NodeFailure:
            return False

    async def _wait(self, serving: Serving, primary: Address, offset: int) -> int | None:
        """How many that vouch had to confirm it, and have; None when they did not in time."""
        deadline = trio.current_time() + WAIT_TIMEOUT
        while True:
            promise = serving.promise
            wanted = promise.proving if self._is_careful(serving.key) else promise.wait
            if wanted <= self._vouching(promise, primary, offset):
                return promise.wait  # what it promises besides is that the primary is one
            if trio.current_time() >= deadline:
                return None
            await trio.sleep(POLL)

    def _vouching(self, promise: Promise, primary: Address, offset: int) -> int:
        confirmed = self.world.confirmed(primary, offset, self.end)
        if self.is_counting_strangers:
            return len(confirmed)
        return len(confirmed & {self.world.own(voter) for voter in promise.voters})
