"""Runs shards, their clients and their control planes through faults, and checks the invariants."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import cast

import trio
import trio._core._run as trio_run  # as hypothesis-trio and pytest-trio do: trio shuffles tasks by chance
import trio.lowlevel
from trio.testing import MockClock

from shardproxy.coordination.acks import run_acks
from shardproxy.coordination.lease import Lessor
from shardproxy.failover.requests import acknowledged_count, acknowledged_key, paused_key
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, Node
from shardproxy.model.board import Board
from shardproxy.model.replication import DEAD_END, ShardKey
from shardproxy.model.topology import split_evenly
from shardproxy.store.interface import Store, StoreUnavailableError
from shardproxy.store.member import Member
from shardproxy.store.record import ShardRecord
from tests.simulation.checks import Checks
from tests.simulation.engine import SimEngine
from tests.simulation.faults import OTHER, PRIMARY, STRANGER, At
from tests.simulation.look import engines_all_run, is_well, unfit_voters
from tests.simulation.moves import MoveChecks, Mover, SlotServed
from tests.simulation.plan import Plan
from tests.simulation.process import Group, Process, is_asked
from tests.simulation.proxy import SimProxy
from tests.simulation.store import CLUSTER, SimSession, SimStore
from tests.simulation.world import US, World

KEY = ShardKey(CLUSTER, 0)
WARM_UP = 3.0  # seconds until the first fault
PATIENCE = 30.0  # seconds from the end of the last fault until all must be well
MEMORY = 1.0  # seconds a fault may be over when it is acted on
MEMORY_OF_GAPS = 12.0  # the same, where for a while nobody leads
QUIET = 8.0  # seconds nothing may happen without a reason
QUIET_OF_FLEETS = 4.0
LOOK = 0.25
SLOW = 0.5  # seconds between writes once all is well
DEADLINE = 30.0  # seconds after an operator asked; what was begun by then may still end
LAGS = (0.001, 0.05, 0.3)  # seconds until proxies serve what is stored
WATCH_LAGS = (0.002, 0.02, 0.1)  # seconds until members of a fleet hear of it
SENT_LATE = (0.0, 0.02, 0.04)  # seconds until what a proxy sends to a slot that moves arrives
OLDEST, OLDEST_WITH_GAPS = 16.0, 28.0  # seconds a failover may lose without `wait`: 10, 20 and notice


@dataclass
class Simulation:
    """One run; see `simulate`."""

    plan: Plan
    mutate: Callable[[Simulation], None] = lambda sim: None
    checks: Checks = field(default_factory=Checks)

    def __post_init__(self) -> None:
        plan, checks = self.plan, self.checks
        checks.why_change, checks.is_asked_for = self._why_change, self._is_asked_for
        checks.is_configured = self._is_configured
        checks.is_strict = plan.is_strict
        checks.oldest = OLDEST_WITH_GAPS if plan.has_gaps else OLDEST
        self.world = World(checks)
        self.moving = MoveChecks(self)
        self.strangers: list[SimEngine] = []
        for shard in range(plan.shards):
            self._add_engines(shard)
        self.deciding = self._group("deciding", plan.proxies)
        watching = [self._group(f"watching-{number}", 1) for number in range(plan.observers)]
        self.groups = [self.deciding, *watching]
        self.scopes: dict[int, trio.CancelScope] = {}
        self.numbers = itertools.count(1)
        self._names = itertools.count(1)
        self.world.ends = [f"{US}-{number}" for number in range(plan.members)]
        self.world.is_absent = self._is_absent
        self._waiting = sorted((a for a in plan.faults if a.awaits is not None), key=lambda a: a.awaits or 0)
        self._awaits: int | None = None  # counted once the first fault struck
        self._asked: dict[ShardKey, list[float]] = {}  # when an operator asked
        self._by_hand = itertools.count(-1000, -1)
        self._nursery: trio.Nursery | None = None
        self.behind_since: dict[Address, tuple[float, int]] = {}  # voters, when they had to have what
        self.is_settled = self.is_running = False

    def _add_engines(self, shard: int) -> None:
        plan, key = self.plan, self.key(shard)
        first = 7001 + 100 * shard
        engines = [self.world.add(first + number) for number in range(plan.nodes + plan.spares)]
        for engine, priority in zip(engines, plan.priorities, strict=False):
            engine.priority = priority
        for engine in engines if plan.starts_frozen else engines[1:]:
            is_replica = not plan.starts_frozen and engine in engines[: plan.nodes]
            engine.follow(engines[0].address if is_replica else DEAD_END)
        strangers = [self.world.add(first + 50 + number) for number in range(plan.strangers)]
        for engine in strangers:
            engine.follow(engines[0].address)
        self.strangers += strangers
        self.checks.keys |= {engine.address: key for engine in (*engines, *strangers)}

    def _group(self, name: str, proxies: int) -> Group:
        plan, is_deciding = self.plan, name == "deciding"
        setups: Board[ShardKey, ShardSetup] = Board()
        for shard in range(plan.shards):
            key = self.key(shard)
            nodes = tuple(map(Node, self.engines_of(shard)[: plan.nodes]))
            slots = (split_evenly(plan.shards)[shard],) if plan.moves else ()
            setup = ShardSetup(
                key, nodes, slots=slots, wait=plan.wait, is_managed=plan.is_managed, is_strict=plan.is_strict
            )
            setups.show(key, setup if is_deciding else replace(setup, is_automatic=False))
        store = SimStore(name, lambda: self.checks.is_store_down and is_deciding, lambda record: None)
        if is_deciding:
            store.noted = self._stored
            if plan.moves:
                store.noted_all = self.moving.stored
                self.checks.is_acknowledged = self.moving.acknowledged
        group = Group(store, setups, [], is_observing=not is_deciding)
        if is_deciding and plan.members:
            return group  # its members bring what they serve with
        for number in range(proxies):
            session = SimSession(store, f"{name}-{number}", (CLUSTER,), is_eternal=True)
            plane = SimProxy(session.member, self.world, self.checks, session, lag=LAGS[number % 3])
            plane.decides = is_deciding
            self._have_slot(plane, group)
            group.proxies.append(plane)
        return group

    def _stored(self, record: ShardRecord) -> None:
        self.checks.stored(record, self.store.group, self.world.engine_at(record.primary))

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.world.run)
            nursery.start_soon(self._watch)
            for group in self.groups:
                group.store.nursery = nursery
                nursery.start_soon(group.store.run)
                for proxy in group.proxies:
                    group.store.set("members", proxy.name, Member(proxy.name, endpoints={CLUSTER: ()}))
                    nursery.start_soon(proxy.session.run)
                    self._serve(nursery, proxy, group)
                if group is self.deciding and self.plan.members:
                    continue
                for _ in range(1 + self.plan.standbys if group is self.deciding else 1):
                    self.start(group)
            for number in range(self.plan.members + self.plan.followers):
                self.start_member(number, is_follower=number >= self.plan.members)
            await trio.lowlevel.checkpoint()
            self.mutate(self)
            self.is_running = True
            for group in self.groups:
                for proxy in group.proxies:
                    if not (group is self.deciding and self.plan.members):
                        self._run_clients(nursery, proxy, 2 if len(self.proxies) == 1 else 1)
            await trio.sleep(WARM_UP)
            await self._strike_all()
            self._put_right()
            self.is_settled = await self._wait_settled()
            if self.is_settled:
                for proxy in self.proxies:
                    proxy.pace = SLOW
                await trio.sleep(QUIET_OF_FLEETS if self.plan.members else QUIET)
            self._check_survival()
            nursery.cancel_scope.cancel()

    # What faults ask for

    def key(self, shard: int) -> ShardKey:
        return ShardKey(CLUSTER, shard % self.plan.shards)

    @property
    def keys(self) -> list[ShardKey]:
        return [self.key(shard) for shard in range(self.plan.shards)]

    @property
    def proxies(self) -> list[SimProxy]:
        return [proxy for group in self.groups for proxy in group.proxies]

    @property
    def processes(self) -> list[Process]:
        return self.deciding.processes

    @property
    def store(self) -> SimStore:
        return self.deciding.store

    @property
    def record(self) -> ShardRecord:
        return self.store.records[KEY]

    def engines_of(self, shard: int) -> list[Address]:
        """Configured ones first, then spares."""
        first, count = 7001 + 100 * (shard % self.plan.shards), self.plan.nodes + self.plan.spares
        return [address for address in self.world.engines if first <= address.port < first + count]

    def address(self, node: int) -> Address:
        shard, kind = (node // 10, node % 10) if node >= 0 else ((-node) // 10, -((-node) % 10))
        addresses = self.engines_of(shard)
        if kind >= 0:
            return addresses[kind % len(addresses)]
        if kind == STRANGER and self.strangers:
            return self.strangers[shard % len(self.strangers)].address
        record = self.store.records.get(self.key(shard))
        primary = (record.primary or record.last) if record is not None else None
        own = self.world.own(primary) if primary is not None else addresses[0]
        if kind == PRIMARY:
            return own
        assert kind in (OTHER, STRANGER)
        return next(address for address in addresses if address != own)

    def start(self, group: Group) -> None:
        """Start a process without a data plane; the first that claims leads."""
        assert self._nursery is not None
        session = SimSession(group.store, f"process-{next(self._names)}", (CLUSTER,))
        at_await = self._at_await if group is self.deciding else _not_counted
        process = Process(self.world, group, session, group.proxies[0].applied, at_await)
        process.mover = Mover(self.world, process.end) if self.plan.moves and not group.is_observing else None
        self._start(process, self._nursery, _run_process)

    def start_member(self, number: int, *, is_follower: bool = False) -> None:
        """Start a process with its data plane, at that end of the network."""
        assert self._nursery is not None
        group, end = self.deciding, f"{US}-{number}"
        name = f"proxy-{number}-{next(self._names)}"
        lag = WATCH_LAGS[number % len(WATCH_LAGS)]
        session = SimSession(group.store, name, (CLUSTER,), lag, is_follower=is_follower)
        proxy = SimProxy(name, self.world, self.checks, session, end=end)
        process = Process(self.world, group, session, proxy.applied, self._at_await, end=end)
        process.is_voting, process.may_lead = True, not is_follower
        proxy.health = process.boards.health
        process.mover = Mover(self.world, end) if self.plan.moves else None
        self._have_slot(proxy, group)
        group.proxies.append(proxy)
        if self.is_running:
            self.mutate(self)
        self._start(process, self._nursery, self._run_member, proxy)

    def _start(
        self, process: Process, nursery: trio.Nursery, run: Callable[..., Awaitable[None]], *more: object
    ) -> None:
        scope = trio.CancelScope()
        process.group_of.processes.append(process)
        self.scopes[id(process)] = scope
        nursery.start_soon(_run_within, scope, run, process, *more)

    async def _run_member(self, process: Process, proxy: SimProxy) -> None:
        session, group = process.session, process.group_of
        try:
            async with trio.open_nursery() as nursery:
                if not self.store.changes:  # the first one is the first to lead
                    await trio.sleep(0.01 * int(process.end.removeprefix(f"{US}-")))
                await nursery.start(session.run)
                if not session.is_follower:
                    await _announce(session, Member(session.member, endpoints={CLUSTER: ()}))
                    nursery.start_soon(run_acks, proxy.applied, cast("Store", process))
                    lessor = Lessor(
                        session.leases,
                        session.synced,
                        session.boards.records,
                        proxy.unsynced,
                        proxy.applied,
                        proxy,
                        trio.current_time,
                    )
                    nursery.start_soon(lessor.run)
                nursery.start_soon(proxy.follow_synced)
                self._serve(nursery, proxy, group)
                self._run_clients(nursery, proxy, 1)
                nursery.start_soon(process.run)
        finally:
            if proxy in group.proxies:
                group.proxies.remove(proxy)

    def _serve(self, nursery: trio.Nursery, proxy: SimProxy, group: Group) -> None:
        for key in group.setups:
            nursery.start_soon(proxy.follow, key)

    def _run_clients(self, nursery: trio.Nursery, proxy: SimProxy, count: int) -> None:
        for key in self.keys:
            for _ in range(count):
                nursery.start_soon(proxy.run_client, key, self.numbers)
        if proxy.slot is not None:
            nursery.start_soon(proxy.slot.run_client, self.numbers)

    def _have_slot(self, proxy: SimProxy, group: Group) -> None:
        if self.plan.moves and not group.is_observing:
            late = SENT_LATE[len(group.proxies) % len(SENT_LATE)]
            proxy.slot = SlotServed(proxy, group.setups, late=late)

    def _end(self, process: Process) -> None:
        process.session.is_gone = True
        self.processes.remove(process)
        self.scopes.pop(id(process)).cancel()

    @property
    def first(self) -> Process | None:
        """Who leads, or else might be the next to."""
        able = [process for process in self.processes if process.may_lead]
        if not self.plan.members:  # who was stopped is not struck again while it stands still
            able = [p for p in able if p.stopped_until <= trio.current_time()] or able
        return next((process for process in able if process.is_leading), next(iter(able), None))

    def member(self, number: int) -> Process | None:
        """The process at that end of the network: counted from the leader, the others as they are."""
        if not self.plan.members:
            return None
        end = f"{US}-{number % (self.plan.members + self.plan.followers)}"
        return next((process for process in self.processes if process.end == end), None)

    def _is_absent(self, end: str) -> bool:
        """Whether no process there can say what it finds."""
        process = next((process for process in self.processes if process.end == end), None)
        if process is None or process.session.member not in self.store.leases:
            return True
        session = process.session
        return session.is_cut or session.stopped_until > trio.current_time()

    def crash(self) -> None:
        if (process := self.first) is not None:
            self.crash_one(process)

    def crash_one(self, process: Process, seconds: float = 0.0) -> None:
        """A process ends, and another one starts in its place."""
        assert self._nursery is not None
        self._end(process)
        if seconds:
            self._nursery.start_soon(self._start_later, seconds, [process])
        else:
            self._start_anew(process)

    def _start_anew(self, process: Process) -> None:
        self.behind_since.clear()  # who is behind is seen by whoever leads now, from now on
        if process.end == US:
            self.start(self.deciding)
        else:
            number = int(process.end.removeprefix(f"{US}-"))
            self.start_member(number, is_follower=not process.may_lead)

    def crash_all(self, seconds: float) -> None:
        assert self._nursery is not None
        ended = list(self.processes)
        for process in ended:
            self._end(process)
        self._nursery.start_soon(self._start_later, seconds, ended)

    async def _start_later(self, seconds: float, ended: list[Process]) -> None:
        await trio.sleep(seconds)
        for process in ended:
            self._start_anew(process)

    def stop(self, seconds: float) -> None:
        if (process := self.first) is not None:
            process.stopped_until = trio.current_time() + seconds
            if not self.plan.members:  # the next one is to lead
                self.processes.remove(process)
                self.processes.append(process)

    def pause(self, *, is_paused: bool) -> None:
        group = self.deciding
        if is_paused and not group.paused:
            group.told_off_at = trio.current_time()
        group.paused = {CLUSTER} if is_paused else set()
        if is_paused:
            group.store.note_nowait(paused_key(CLUSTER), True)
        else:
            group.store.drop_nowait(paused_key(CLUSTER))

    def switch_over(self, key: ShardKey) -> None:
        """Ask the process that leads, or one that does not."""
        assert self._nursery is not None
        process = next((p for p in self.processes if p.is_leading), next(iter(self.processes), None))
        if process is not None:
            self._asked.setdefault(key, []).append(trio.current_time())
            self._nursery.start_soon(self._ask, process, key)

    async def _ask(self, process: Process, key: ShardKey) -> None:
        process.asked_at = float("inf")
        await process.controls.switch_over(key)
        process.asked_at = trio.current_time()

    def write_by_hand(self, engine: SimEngine, count: int) -> None:
        history = self.checks.of(self.checks.keys[engine.address])
        for value in itertools.islice(self._by_hand, count):
            history.precious[value] = engine.run_id
            engine.append(value)

    def give_up(self, engine: SimEngine) -> None:
        """Somebody decided that what only this engine has is worth nothing."""
        history = self.checks.of(self.checks.keys[engine.address])
        history.given_up |= set(engine.log)

    # Reasons

    def _is_asked_for(self, key: ShardKey) -> bool:
        now = trio.current_time()
        return any(now - at <= DEADLINE for at in self._asked.get(key, ()))

    def _is_configured(self, key: ShardKey, node: Address) -> bool:
        """Whether the config has it, or had it a moment ago."""
        is_recent = trio.current_time() - self.deciding.reloaded_at <= MEMORY
        return is_recent or self.deciding.has_node(key, node)

    def _why_change(self, key: ShardKey, primary: Address) -> str | None:
        """The reason a primary may be replaced now: it was unwell a moment ago, or somebody asked."""
        if is_asked(self.store.notes, key):
            return "an operator asked for it"
        if self.checks.is_meddled:
            return "others change roles too"
        if not self.deciding.has_node(key, primary):
            return "the config has it no more"
        engine = self.world.engines[self.world.own(primary)]
        if self.world.is_unwell(engine):
            return "it is unwell"
        unwell = self.world.troubled_at.get(engine.address)
        memory = MEMORY_OF_GAPS if self.plan.has_gaps else MEMORY
        if unwell is not None and trio.current_time() - unwell <= memory:
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
        """No fault lasts: what is dead comes back, what is cut is joined, who may decide does."""
        self.checks.note("everything is put right")
        self.world.heal_network()
        self.checks.is_store_down = False
        self.pause(is_paused=False)
        for proxy in self.proxies:
            proxy.deaf_until = proxy.session.deaf_until = 0.0
        for process in self.processes:
            process.session.is_cut, process.session.slow = False, 0.0
        for key, setup in list(self.deciding.setups.items()):
            self.deciding.setups.show(key, replace(setup, is_automatic=True))
        for address, engine in self.world.engines.items():
            engine.is_lagging = engine.disk_full = False
            self.world.thaw(address)
            self.world.restart(address, keeps_data=self.plan.keeps_data, is_safe=self.plan.is_safe)

    async def _wait_settled(self) -> bool:
        deadline = trio.current_time() + PATIENCE
        while trio.current_time() < deadline:
            for key in self.keys:  # no need to wait out the backoff
                count = acknowledged_count(self.store.notes, key)
                self.store.note_nowait(acknowledged_key(key), count + 1)
            await trio.sleep(LOOK)
            if all(is_well(self.world, group, key) for key in self.keys for group in self._serving(key)):
                return True
        return False

    def _serving(self, key: ShardKey) -> Iterator[Group]:
        """Who can know the primary: those who only watch look for it among the nodes of their config."""
        record = self.store.records.get(key)
        for group in self.groups:
            is_told = record is None or record.primary is None or group.has_node(key, record.primary)
            if is_told or not group.is_observing:
                yield group

    async def _watch(self) -> None:
        """Who vouches is in sync."""
        while True:
            await trio.sleep(1.0)
            if self.processes and not self.checks.is_store_down:
                for key in self.keys:
                    for what in unfit_voters(self, key):
                        self.checks.complain(f"OLD: {what}")

    def _check_survival(self) -> None:
        """Nothing acknowledged may be missing from a primary that is served in the end."""
        if self.plan.moves:
            self.moving.ended()
        for key in self.keys:
            record = self.store.records.get(key)
            primary = self.world.engine_at(record.primary) if record is not None else None
            if record is None or primary is None:
                continue
            if engines_all_run(self.world) and primary.is_primary and primary.run_id == record.run_id:
                self.checks.survived(key, primary.log, primary.address)


async def _run_within(scope: trio.CancelScope, run: Callable[..., Awaitable[None]], *what: object) -> None:
    with scope:
        await run(*what)


async def _run_process(process: Process) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(process.session.run)
        nursery.start_soon(_announce, process.session, Member(process.session.member))
        await process.run()


async def _announce(session: SimSession, member: Member) -> None:
    while session.announced is None:
        try:
            await session.announce(member)
        except StoreUnavailableError:
            session.announced = None
            await trio.sleep(LOOK)


def _not_counted() -> None:
    return


def simulate(
    plan: Plan, mutate: Callable[[Simulation], None] = lambda sim: None, *, seed: int = 1
) -> Simulation:
    """Run a plan to its end, on a clock that jumps; the seed orders tasks that could run in any order."""
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio_run._r.seed(seed)
    simulation = Simulation(plan, mutate)
    trio.run(simulation.run, clock=MockClock(autojump_threshold=0))
    return simulation
