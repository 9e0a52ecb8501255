"""A proxy's data plane and its clients: parks, sends, and decides what becomes an acknowledgement.

It follows the records of its store by itself, each shard on its own, and says which it serves.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import trio

from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeFailure
from shardproxy.store.record import Promise, ShardRecord, ShardState
from tests.simulation.checks import Checks
from tests.simulation.store import SimStore
from tests.simulation.world import World

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
    store: SimStore
    lag: float = 0.001  # seconds until it serves what is stored
    decides: bool = True  # the process that leads its store does
    is_fencing: bool = True
    is_dropping_old: bool = True
    is_verifying: bool = True  # that it is the primary's process, before anything is sent
    is_counting_strangers: bool = False  # whoever is attached counts
    is_resending: bool = False
    deaf_until: float = 0.0  # hears nothing of the store
    pace: float = PAUSE
    in_doubt: int = 0
    shards: dict[ShardKey, Serving] = field(default_factory=dict)

    async def follow(self, key: ShardKey) -> None:
        """Serve a shard as its record says: without a primary it is fenced."""
        serving = self.shards.setdefault(key, Serving(key))
        seen = -1
        while True:
            seen = await self.store.records.wait_changed(seen)
            await trio.sleep(self.lag)
            await trio.sleep_until(self.deaf_until)
            record = self.store.records.get(key)
            if record is not None and record.changed > serving.changed_at:
                await self._serve(serving, record)
                self.store.acks.show((self.name, key), record.changed)

    async def _serve(self, serving: Serving, record: ShardRecord) -> None:
        """A planned change lets replies come in first."""
        if record.state is ShardState.SWITCHING:
            serving.turn(serving.epoch, None)  # replies of what was sent still count
            while serving.in_flight:
                await serving.landed.wait()
        if record.primary is not None or self.is_fencing:
            engine = self.world.engine_at(record.primary)
            self.checks.served(record, self.name, engine, decides=self.decides)
            serving.run_id, serving.promise = record.run_id, record.promise
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
            while serving.primary is None:
                await serving.changed.wait()
            changed = serving.changed
            serving.in_flight += 1
            try:
                if await self._send(serving, value, serving.primary, serving.epoch):
                    return
            finally:
                serving.in_flight -= 1
                serving.landed.set()
                serving.landed = trio.Event()
            with trio.move_on_after(RETRY):
                await changed.wait()

    async def _send(self, serving: Serving, value: int, primary: Address, epoch: int) -> bool:
        """Whether the client has its answer."""
        run_id = serving.run_id if self.is_verifying else None
        try:
            written = await self.world.write(primary, run_id, value, REPLY_TIMEOUT)
        except NodeFailure as error:
            self.in_doubt += error.is_sent
            return error.is_sent and not self.is_resending
        if written is None:
            return False
        engine = self.world.engines[self.world.own(primary)]
        before = engine.run_id
        wait = await self._wait(serving, primary, written.offset)
        has_ended = engine.run_id != before  # and its connections with it
        if wait is None or has_ended or (self.is_dropping_old and epoch != serving.epoch):
            self.in_doubt += 1  # its connection was closed, or WAIT came short: the client hears INDOUBT
        else:
            is_stranger = written.run_id != serving.run_id and epoch == serving.epoch
            epochs = (epoch, serving.epoch)
            self.checks.acknowledged(serving.key, value, epochs, wait, is_stranger=is_stranger)
        return True

    async def _wait(self, serving: Serving, primary: Address, offset: int) -> int | None:
        """How many that vouch had to confirm it, and have; None when they did not in time."""
        deadline = trio.current_time() + WAIT_TIMEOUT
        while True:
            promise = serving.promise
            if promise.wait <= self._vouching(promise, primary, offset):
                return promise.wait
            if trio.current_time() >= deadline:
                return None
            await trio.sleep(POLL)

    def _vouching(self, promise: Promise, primary: Address, offset: int) -> int:
        confirmed = self.world.confirmed(primary, offset)
        if self.is_counting_strangers:
            return len(confirmed)
        return len(confirmed & {self.world.own(voter) for voter in promise.voters})
