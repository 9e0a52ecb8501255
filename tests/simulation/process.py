"""One control plane in the simulation: monitor, controller, lease. It can crash, and it can be stopped.

Every await of its controller is counted: faults may be set to strike at any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from shardproxy.failover.controller import Inputs, run_controller, run_watch
from shardproxy.failover.controls import Controls
from shardproxy.failover.setup import ShardSetup
from shardproxy.health.monitor import Boards, run_monitor
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import Leadership, LeadershipLostError
from shardproxy.store.record import ShardRecord
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Argument
from tests.simulation.proxy import SimProxy
from tests.simulation.store import SimLease, SimStore
from tests.simulation.world import World

RENEW = 0.5

Struck = Callable[[], None]  # tells that a controller is at an await


@dataclass
class Process:
    """Nodes, store and fencer as seen by one process."""

    world: World
    store: SimStore
    proxy: SimProxy
    setups: Board[ShardKey, ShardSetup]
    at_await: Struck
    controls: Controls = field(default_factory=Controls)
    boards: Boards = field(default_factory=Boards)
    stopped_until: float = 0.0
    is_checking_lease: bool = True  # a mutation switch
    _lease: SimLease | None = None

    async def run(self) -> None:
        watched: Board[ShardKey, ShardRecord] = Board()
        inputs = Inputs(self.setups, self.boards.health, self, self, self, controls=self.controls)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew)
            await nursery.start(run_watch, self.setups, self.store.records, watched)
            nursery.start_soon(run_monitor, watched, self.boards, lambda _, address: SimLink(self, address))
            await run_controller(inputs)

    @property
    def is_leading(self) -> bool:
        return self._lease is not None and trio.current_time() < self._lease.valid_until

    async def _renew(self) -> None:
        while True:
            await trio.sleep(RENEW)
            await self._turn()
            if self._lease is not None:
                self.store.renew(self._lease)

    async def _turn(self) -> None:
        """Go on only while the process is not stopped."""
        await trio.sleep_until(self.stopped_until)

    async def _act(self) -> None:
        """A controller's action begins; what it checked before it was stopped, it would check now."""
        self.at_await()
        was_stopped = trio.current_time() < self.stopped_until
        await self._turn()
        lease = self._lease
        if was_stopped and self.is_checking_lease and lease and trio.current_time() >= lease.valid_until:
            raise LeadershipLostError("the lease ran out while the process was stopped")

    async def _acted(self) -> None:
        self.at_await()
        await self._turn()

    # Nodes

    async def request_many(
        self, address: Address, requests: Sequence[Sequence[Argument]], *, timeout: float
    ) -> list[Reply]:
        await self._act()
        replies = await self.world.call(address, requests, timeout)
        await self._acted()
        return replies

    # Store

    @property
    def group(self) -> str:
        return self.store.group

    @property
    def records(self) -> Board[ShardKey, ShardRecord]:
        return self.store.records

    async def claim(self) -> Leadership:
        self._lease = None  # not renewed any more
        lease = await self.store.claim()
        assert isinstance(lease, SimLease)
        self._lease = lease
        return lease

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        await self._act()
        stored = await self.store.put(record, leadership)
        await self._acted()
        return stored

    # Fencer

    async def fence(self, key: ShardKey, epoch: int, primary: Address | None) -> None:
        await self._act()
        await self.proxy.fence(key, epoch, primary)
        await self._acted()

    async def park(self, key: ShardKey, epoch: int) -> None:
        await self._act()
        await self.proxy.park(key, epoch)
        await self._acted()

    async def publish(self, record: ShardRecord) -> None:
        await self._act()
        await self.proxy.publish(record)
        await self._acted()


@dataclass
class SimLink:
    """A monitor's connection to one node."""

    process: Process
    address: Address
    run_id: str = ""
    opened: int = 0
    peer: str = ""

    async def request_many(
        self, requests: Sequence[Sequence[Argument]], *, timeout: float | None = None
    ) -> list[Reply]:
        await self.process._turn()
        engine = self.process.world.engines[self.address]
        replies = await self.process.world.call(self.address, requests, timeout or 1.0)
        if engine.run_id != self.run_id:
            self.run_id = engine.run_id
            self.opened += 1
        return replies

    async def wait_closed(self) -> None:
        if not self.run_id:
            await trio.sleep_forever()
        if self.process.world.is_serving(self.address, self.run_id):
            await self.process.world.death(self.address).wait()
        self.run_id = ""

    def close(self) -> None:
        self.run_id = ""
