"""A proxy's data plane and its clients: parks, sends, and decides what becomes an acknowledgement."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import trio

from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeFailure
from shardproxy.store.record import ShardRecord, ShardState
from tests.simulation.checks import Checks
from tests.simulation.world import World

PAUSE = 0.03  # seconds between a client's writes
REPLY_TIMEOUT = 1.0
WAIT_TIMEOUT = 0.5
PARK_TIMEOUT = 3.0
RETRY = 0.05
POLL = 0.01


@dataclass
class SimProxy:
    """Serves one shard. Those that begin with `is_` are mutation switches."""

    world: World
    checks: Checks
    wait: int
    epoch: int = 0
    primary: Address | None = None
    in_flight: int = 0
    is_fencing: bool = True
    is_dropping_old: bool = True
    is_verifying: bool = True  # that it is the primary's process, before anything is sent
    is_resending: bool = False
    run_id: str = ""
    changed_at: int = 0  # of the record that is served
    changed: trio.Event = field(default_factory=trio.Event)
    landed: trio.Event = field(default_factory=trio.Event)
    followed: trio.Event = field(default_factory=trio.Event)
    in_doubt: int = 0

    async def run(self, records: Board[ShardKey, ShardRecord]) -> None:
        """Follow the records: without a primary it fences; a planned change lets replies come in first."""
        seen = records.version
        while True:
            for record in list(records.values()):
                await self._follow(record)
            seen = await records.wait_changed(seen)

    async def _follow(self, record: ShardRecord) -> None:
        if record.changed <= self.changed_at:
            return
        await trio.sleep(POLL / 10)
        if record.state is ShardState.SWITCHING:
            self._turn(self.epoch, None)  # replies of what was sent still count
            while self.in_flight:
                await self.landed.wait()
        if record.primary is not None or self.is_fencing:
            engine = self.world.engines.get(record.primary) if record.primary else None
            self.checks.served(record, engine)
            self.run_id = record.run_id
            self._turn(record.epoch, record.primary)
        self.changed_at = record.changed
        self.followed.set()
        self.followed = trio.Event()

    async def wait_served(self, record: ShardRecord) -> None:
        while self.changed_at < record.changed:
            await self.followed.wait()

    def served(self, key: ShardKey) -> int:
        return self.changed_at

    def _turn(self, epoch: int, primary: Address | None) -> None:
        self.epoch, self.primary = epoch, primary
        self.changed.set()
        self.changed = trio.Event()

    async def run_client(self, numbers: itertools.count[int]) -> None:
        """Write for ever, one write after another."""
        for value in numbers:
            with trio.move_on_after(PARK_TIMEOUT):
                await self._write(value)
            await trio.sleep(PAUSE)

    async def _write(self, value: int) -> None:
        """Send a write once there is a primary to take it; only what was not carried out is sent again."""
        while True:
            while self.primary is None:
                await self.changed.wait()
            changed = self.changed
            self.in_flight += 1
            try:
                if await self._send(value, self.primary, self.epoch):
                    return
            finally:
                self.in_flight -= 1
                self.landed.set()
                self.landed = trio.Event()
            with trio.move_on_after(RETRY):
                await changed.wait()

    async def _send(self, value: int, primary: Address, epoch: int) -> bool:
        """Whether the client has its answer."""
        run_id = self.run_id if self.is_verifying else None
        try:
            offset = await self.world.write(primary, run_id, value, REPLY_TIMEOUT)
        except NodeFailure as error:
            self.in_doubt += error.is_sent
            return error.is_sent and not self.is_resending
        if offset is None:
            return False
        is_replicated = await self._is_replicated(primary, offset)
        if not is_replicated or (self.is_dropping_old and epoch != self.epoch):
            self.in_doubt += 1  # its connection was closed, or WAIT came short: the client hears INDOUBT
        else:
            is_stranger = self.world.engines[primary].run_id != self.run_id and epoch == self.epoch
            self.checks.acknowledged(value, epoch, self.epoch, is_stranger=is_stranger)
        return True

    async def _is_replicated(self, primary: Address, offset: int) -> bool:
        """WAIT: as many replicas as `wait` have said that they have it."""
        deadline = trio.current_time() + WAIT_TIMEOUT
        while True:
            replicas = self.world.acknowledged(primary, offset)
            if replicas >= self.wait:
                return True
            if trio.current_time() >= deadline:
                return False
            await trio.sleep(POLL)
