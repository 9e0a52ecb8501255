"""Runs a shard, its clients and its control plane through faults, and checks the invariants."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio
import trio._core._run as trio_run  # as hypothesis-trio and pytest-trio do: trio shuffles tasks by chance
from trio.testing import MockClock

from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, Node
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord, ShardState
from tests.simulation.checks import Checks
from tests.simulation.engine import Life
from tests.simulation.faults import OTHER, PRIMARY, At, Restart, Stray
from tests.simulation.process import Process
from tests.simulation.proxy import SimProxy
from tests.simulation.store import SimStore
from tests.simulation.world import World

KEY = ShardKey("sessions", 0)
WARM_UP = 3.0  # seconds until the first fault
PATIENCE = 60.0  # seconds from the end of the last fault until all must be well
MEMORY = 1.0  # seconds a fault may be over when it is acted on
QUIET = 15.0  # seconds nothing may happen without a reason
LOOK = 0.25


@dataclass(frozen=True)
class Plan:
    """A run: its shard, its faults."""

    faults: Sequence[At] = ()
    nodes: int = 3
    wait: int = 1
    lasts: float = 6.0  # seconds from the first fault until everything is put right
    is_safe: bool = True  # nodes that come back at the end come back frozen
    keeps_data: bool = True  # and with their data
    standbys: int = 0  # more processes that could lead

    @property
    def loses_data(self) -> bool:
        faults = [at.fault for at in self.faults]
        return not self.keeps_data or any(
            isinstance(fault, Stray) or (isinstance(fault, Restart) and not fault.keeps_data)
            for fault in faults
        )


@dataclass
class Simulation:
    """One run; see `simulate`."""

    plan: Plan
    mutate: Callable[[Simulation], None] = lambda sim: None
    checks: Checks = field(default_factory=Checks)

    def __post_init__(self) -> None:
        plan = self.plan
        self.world = World(self.checks)
        engines = [self.world.add(7001 + number) for number in range(plan.nodes)]
        for engine in engines[1:]:
            engine.follow(engines[0].address)
        nodes = tuple(Node(engine.address) for engine in engines)
        self.setups: Board[ShardKey, ShardSetup] = Board()
        self.setups.show(KEY, ShardSetup(KEY, nodes, wait=plan.wait, is_managed=True))
        self.store = SimStore(self.checks)
        self.proxy = SimProxy(self.world, self.checks, plan.wait)
        self.processes: list[Process] = []
        self.scopes: dict[int, trio.CancelScope] = {}
        self._waiting = sorted((a for a in plan.faults if a.awaits is not None), key=lambda a: a.awaits or 0)
        self._awaits: int | None = None  # counted once the first fault struck
        self._nursery: trio.Nursery | None = None
        self.is_settled = False
        self.checks.why_change = self._why_change

    async def run(self) -> None:
        numbers = itertools.count(1)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.world.run)
            for _ in range(1 + self.plan.standbys):
                self.start()
            self.mutate(self)
            for _ in range(2):
                nursery.start_soon(self.proxy.run_client, numbers)
            await trio.sleep(WARM_UP)
            await self._strike_all()
            self._put_right()
            self.is_settled = await self._wait_settled()
            if self.is_settled:
                await trio.sleep(QUIET)
                self._check_survival()
            nursery.cancel_scope.cancel()

    # What faults ask for

    @property
    def record(self) -> ShardRecord:
        return self.store.records[KEY]

    def address(self, node: int) -> Address:
        addresses = list(self.world.engines)
        if node >= 0:
            return addresses[node % len(addresses)]
        record = self.store.records.get(KEY)
        primary = (record.primary or record.last) if record is not None else None
        primary = primary or addresses[0]
        if node == PRIMARY:
            return primary
        assert node == OTHER
        return next(address for address in addresses if address != primary)

    def start(self) -> None:
        """Start a process; the first that claims leads."""
        assert self._nursery is not None
        process = Process(self.world, self.store, self.proxy, self.setups, self._at_await)
        scope = trio.CancelScope()
        self.processes.append(process)
        self.scopes[id(process)] = scope
        self._nursery.start_soon(_run_within, scope, process)

    def _pop_leader(self) -> Process:
        """Whoever leads, wherever it stands: the faults of processes are meant for that one."""
        leading = (place for place, process in enumerate(self.processes) if process.is_leading)
        return self.processes.pop(next(leading, 0))

    def crash(self) -> None:
        process = self._pop_leader()
        self.scopes.pop(id(process)).cancel()
        self.start()

    def stop(self, seconds: float) -> None:
        process = self._pop_leader()
        process.stopped_until = trio.current_time() + seconds
        self.processes.append(process)

    def switch_over(self) -> None:
        assert self._nursery is not None
        for process in self.processes:
            if process.is_leading:
                self._nursery.start_soon(process.controls.switch_over, KEY)

    def _why_change(self, primary: Address) -> str | None:
        """The reason a primary may be replaced now: it was unwell a moment ago, or somebody asked."""
        if any(process.controls.requests for process in self.processes):
            return "an operator asked for it"
        if self.world.is_unwell(self.world.engines[primary]):
            return "it is unwell"
        unwell = self.world.troubled_at.get(primary)
        if unwell is not None and trio.current_time() - unwell <= MEMORY:
            return f"it was unwell {trio.current_time() - unwell:.2f} s ago"
        return None

    # The course of a run

    async def _strike_all(self) -> None:
        start = trio.current_time()
        timed = sorted((a for a in self.plan.faults if a.awaits is None), key=lambda a: a.seconds or 0.0)
        for at in timed:
            await trio.sleep_until(start + (at.seconds or 0.0))
            self._strike(at)
            if self._awaits is None:
                self._awaits = 0
        await trio.sleep_until(start + self.plan.lasts)
        self._waiting.clear()

    def _at_await(self) -> None:
        if self._awaits is None:
            return
        self._awaits += 1
        while self._waiting and (self._waiting[0].awaits or 0) <= self._awaits:
            self._strike(self._waiting.pop(0))

    def _strike(self, at: At) -> None:
        self.checks.note(f"FAULT {at.fault}")
        at.fault.strike(self)

    def _put_right(self) -> None:
        """No fault lasts: what is dead comes back, what is cut is joined."""
        self.checks.note("everything is put right")
        self.world.heal_network()
        self.checks.is_store_down = False
        for address, engine in self.world.engines.items():
            engine.is_lagging = engine.disk_full = False
            self.world.thaw(address)
            self.world.restart(address, keeps_data=self.plan.keeps_data, is_safe=self.plan.is_safe)

    async def _wait_settled(self) -> bool:
        deadline = trio.current_time() + PATIENCE
        while trio.current_time() < deadline:
            for process in self.processes:
                process.controls.acknowledge(KEY)  # no need to wait out the backoff
            await trio.sleep(LOOK)
            if self._is_well():
                return True
        return False

    def _is_well(self) -> bool:
        record = self.store.records.get(KEY)
        if record is None or record.state is not ShardState.OK or record.primary is None:
            return False
        primary = self.world.engines[record.primary]
        replicas = [engine for engine in self.world.engines.values() if engine is not primary]
        return (
            not any(process.controls.requests for process in self.processes)
            and all(engine.life is Life.RUNNING for engine in self.world.engines.values())
            and primary.is_primary
            and primary.run_id == record.run_id
            and self.proxy.primary == record.primary
            and all(engine.follows == record.primary and engine.link_up for engine in replicas)
        )

    def _check_survival(self) -> None:
        if self.plan.wait and self.record.primary is not None:
            self.checks.survived(self.world.engines[self.record.primary].log, self.record.primary)


async def _run_within(scope: trio.CancelScope, process: Process) -> None:
    with scope:
        await process.run()


def simulate(
    plan: Plan, mutate: Callable[[Simulation], None] = lambda sim: None, *, seed: int = 1
) -> Simulation:
    """Run a plan to its end, on a clock that jumps; the seed orders tasks that could run in any order."""
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio_run._r.seed(seed)
    simulation = Simulation(plan, mutate)
    trio.run(simulation.run, clock=MockClock(autojump_threshold=0))
    return simulation
