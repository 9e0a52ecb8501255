"""Engines, the network between them, and time: all in memory, all deterministic.

Facts modelled: a frozen process takes what it was sent when it wakes up; a closed connection does not take
back what was sent on it; a primary that restarts has another history; a full sync wipes the replica first.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha1

import trio

from shardproxy.health.settings import HealthSettings
from shardproxy.model import Address
from shardproxy.model.health import NO_STANDING, Busy, Standing
from shardproxy.nodes import NodeTimeout, NodeUnreachable
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Argument
from tests.simulation.checks import Checks
from tests.simulation.commands import execute
from tests.simulation.engine import PING, REPL_TIMEOUT, Life, SimEngine

TICK = 0.02  # seconds
TRIP = 0.0002  # seconds to a node and back
PATIENCE = HealthSettings().slow_after - 0.5  # seconds of work that are no reason to replace anybody

US = "us"  # the proxies' end of the network; each of a fleet has one of its own besides, such as "us-0"
HOST, ALIAS = "node", "alias"  # the engines' address, and another name for it

Work = Callable[[], None]


@dataclass(frozen=True)
class Written:
    """The offset after a write, and the process that carried it out."""

    offset: int
    run_id: str


@dataclass
class World:
    """`cuts` holds pairs of names: addresses as text, and US."""

    checks: Checks
    engines: dict[Address, SimEngine] = field(default_factory=dict)
    cuts: set[frozenset[str]] = field(default_factory=set)
    asleep: dict[Address, list[Work]] = field(default_factory=dict)  # sent to frozen nodes
    deaths: dict[Address, trio.Event] = field(default_factory=dict)
    troubled_at: dict[Address, float] = field(default_factory=dict)  # when a node was last unwell
    restarted_at: dict[Address, float] = field(default_factory=dict)
    on_wire: list[tuple[frozenset[str], Address, Work]] = field(default_factory=list)  # sent into a cut
    ends: list[str] = field(default_factory=list)  # of the proxies of a fleet
    is_absent: Callable[[str], bool] = lambda end: False  # whether nobody who decides is there now

    def add(self, port: int) -> SimEngine:
        engine = SimEngine(Address(HOST, port))
        self.engines[engine.address] = engine
        return engine

    def own(self, address: Address | None) -> Address:
        """An engine's own address, by whatever name."""
        if address is not None and address.host == ALIAS:
            return Address(HOST, address.port)
        return address or Address()

    def engine_at(self, address: Address | None) -> SimEngine | None:
        return self.engines.get(self.own(address))

    def is_cut(self, one: str, other: str) -> bool:
        return frozenset({one, other}) in self.cuts

    def is_apart(self, end: str, address: Address) -> bool:
        """Whether a proxy cannot reach a node."""
        return self.is_cut(US, str(address)) or (end != US and self.is_cut(end, str(address)))

    def is_cut_from_most(self, address: Address) -> bool:
        """Whether most of the proxies that can tell do not reach a node."""
        if not self.cuts:
            return False
        apart = sum(self.is_apart(end, address) or self.is_absent(end) for end in self.ends or [US])
        return 2 * apart > len(self.ends or [US])

    # Faults

    def death(self, address: Address) -> trio.Event:
        """Set when the process that has this address now ends: its connections do too."""
        return self.deaths.setdefault(address, trio.Event())

    def is_serving(self, address: Address, run_id: str) -> bool:
        engine = self.engines[address]
        return engine.run_id == run_id and engine.life is not Life.DEAD

    def kill(self, address: Address) -> None:
        self.engines[address].life = Life.DEAD
        self.death(address).set()
        del self.deaths[address]
        for replica in self.engines.values():
            if self.own(replica.follows) == address and replica.life is not Life.DEAD:
                replica.lose_link(trio.current_time())
        self.asleep.pop(address, None)

    def restart(self, address: Address, *, keeps_data: bool, is_safe: bool) -> None:
        if self.engines[address].life is Life.DEAD:
            self.troubled_at[address] = self.restarted_at[address] = trio.current_time()
            self.engines[address].restart(keeps_data=keeps_data, is_safe=is_safe)

    def freeze(self, address: Address) -> None:
        if self.engines[address].life in (Life.RUNNING, Life.BUSY):
            self.engines[address].life = Life.FROZEN

    def thaw(self, address: Address) -> None:
        """Wake up, and do at once what was sent meanwhile."""
        engine = self.engines[address]
        if engine.life in (Life.FROZEN, Life.BUSY):
            if engine.works_since is not None:
                engine.answered_at = trio.current_time()
            engine.life, engine.works_since = Life.RUNNING, None
            for work in self.asleep.pop(address, []):
                work()

    def engage(self, address: Address, seconds: float) -> None:
        """Send it a command that takes so long; one that is frozen takes it when it wakes up."""
        engine, now = self.engines[address], trio.current_time()
        if engine.life is not Life.DEAD and engine.works_since is None:
            engine.works_since, engine.works_until = now, now + seconds
            if engine.life is Life.RUNNING:
                engine.life = Life.BUSY

    def standing(self, cluster: str, node: Address) -> Standing:
        """What the clients of all proxies wait for."""
        engine = self.engines[self.own(node)]
        if engine.life is Life.DEAD:
            return NO_STANDING
        busy = Busy("eval", engine.works_since) if engine.works_since is not None else None
        return Standing(busy, engine.answered_at)

    def spare(self, cluster: str, node: Address, seconds: float) -> None: ...

    def expect_slow(self, cluster: str, commands: Iterable[str]) -> None: ...

    def is_command(self, name: str) -> bool:
        return False

    def cut(self, one: str, other: str) -> None:
        self.cuts.add(frozenset({one, other}))

    def heal_network(self) -> None:
        """What was sent into a cut arrives now."""
        self.cuts.clear()
        late, self.on_wire = self.on_wire, []
        for _, address, work in late:
            engine = self.engines[address]
            if engine.life is Life.RUNNING:
                work()
            elif engine.life is Life.FROZEN:
                self.asleep.setdefault(address, []).append(work)

    def has_given_way(self, engine: SimEngine) -> bool:
        """Whether it came back as a replica after it can last have been asked: nobody gets its data."""
        restarted_at = self.restarted_at.get(engine.address)
        is_new = restarted_at is not None and trio.current_time() - restarted_at <= TRIP
        return is_new and not engine.is_primary

    # Requests

    async def call(
        self,
        address: Address,
        requests: Sequence[Sequence[Argument]],
        timeout: float,
        run_id: str | None = None,
        *,
        client: str = "",
        end: str = US,
    ) -> list[Reply]:
        """Send requests from the proxy's side, to that process if one is named; raise as a NodeLink does."""
        address = self.own(address)
        if run_id is not None and self.engines[address].run_id != run_id:
            raise NodeUnreachable(address, "another process answers", is_sent=False)
        done: list[list[Reply]] = []
        is_blind = self.checks.is_store_down

        def carry_out(engine: SimEngine) -> None:
            done.append([execute(self, engine, r, client, is_blind=is_blind) for r in requests])

        work = self._work(address, carry_out)
        await self._carry(address, work, lambda: bool(done), timeout, end)
        return done[0]

    async def write(
        self, address: Address, run_id: str | None, value: int, timeout: float, end: str = US
    ) -> Written | None:
        """Send a write; return what came of it, or None when it was refused unexecuted.

        With a run_id nothing is sent to another process than that, nor carried out by one.
        """
        address = self.own(address)
        done: list[Written | None] = []
        if address not in self.engines:
            raise NodeUnreachable(address, "nobody is there", is_sent=False)
        if run_id is not None and self.engines[address].run_id != run_id:
            raise NodeUnreachable(address, "another process answers", is_sent=False)

        def execute(engine: SimEngine) -> None:
            if run_id is not None and engine.run_id != run_id:
                return  # its connection was closed
            if engine.is_primary and not engine.disk_full and engine.handing_over_to is None:
                self.checks.executed(value, engine)
                engine.append(value)
                done.append(Written(engine.offset, engine.run_id))
            else:
                done.append(None)

        await self._carry(address, self._work(address, execute), lambda: bool(done), timeout, end)
        return done[0]

    async def values(self, address: Address, run_id: str, timeout: float, end: str = US) -> list[int]:
        """All that the process has."""
        found: list[list[int]] = []
        await self._ask(address, run_id, lambda engine: found.append(list(engine.log)), timeout, end)
        return found[0]

    async def copy(
        self, address: Address, run_id: str, values: Iterable[int], timeout: float, end: str = US
    ) -> int:
        """Put these where they are not yet; return the offset after that."""
        offsets: list[int] = []

        def execute(engine: SimEngine) -> None:
            has = set(engine.log)
            for value in values:
                if value not in has:
                    engine.append(value)
            offsets.append(engine.offset)

        await self._ask(address, run_id, execute, timeout, end)
        return offsets[0]

    async def load(
        self, address: Address, run_id: str, scripts: Iterable[str], timeout: float, end: str = US
    ) -> None:
        """As SCRIPT LOAD does, each."""
        digests = {sha1(script.encode(), usedforsecurity=False).hexdigest() for script in scripts}
        await self._ask(address, run_id, lambda engine: engine.scripts.update(digests), timeout, end)

    async def exist(
        self, address: Address, run_id: str, digests: Iterable[str], timeout: float, end: str = US
    ) -> list[bool]:
        """As SCRIPT EXISTS says."""
        found: list[bool] = []

        def look(engine: SimEngine) -> None:
            found[:] = [digest in engine.scripts for digest in digests]

        await self._ask(address, run_id, look, timeout, end)
        return found

    async def _ask(
        self, address: Address, run_id: str, ask: Callable[[SimEngine], None], timeout: float, end: str
    ) -> None:
        """Ask a primary's process; raise NodeFailure when it is another one, or none."""
        address, done = self.own(address), False

        def execute(engine: SimEngine) -> None:
            nonlocal done
            if engine.run_id == run_id and engine.is_primary and not engine.disk_full:
                ask(engine)
                done = True

        async def wait() -> None:
            await self._carry(address, self._work(address, execute), lambda: done, timeout, end)

        await wait()
        if not done:
            raise NodeUnreachable(address, "another process answers, or it is no primary", is_sent=False)

    def _work(self, address: Address, execute: Callable[[SimEngine], None]) -> Work:
        return lambda: execute(self.engines[address])

    async def _carry(
        self, address: Address, work: Work, is_done: Callable[[], bool], timeout: float, end: str
    ) -> None:
        deadline = trio.current_time() + timeout
        await trio.sleep(TRIP / 2)
        if self.is_apart(end, address):
            self.on_wire.append((frozenset({end, str(address)}), address, work))
            await trio.sleep_until(deadline)
            raise NodeTimeout(address, "no reply in time", is_sent=True)
        engine = self.engines[address]
        if engine.life is Life.DEAD:
            refused = ConnectionRefusedError(errno.ECONNREFUSED, "connection refused")
            raise NodeUnreachable(address, "connection refused", is_sent=False) from refused
        if engine.life in (Life.FROZEN, Life.BUSY):
            self.asleep.setdefault(address, []).append(work)
        else:
            work()
        await trio.sleep(TRIP / 2)
        while not is_done() or self.is_apart(end, address):
            if self.engines[address].life is Life.DEAD:
                raise NodeUnreachable(address, "the connection was closed", is_sent=True)
            if trio.current_time() >= deadline:
                is_taken = not self.is_apart(end, address)
                raise NodeTimeout(address, "no reply in time", is_sent=True, is_taken=is_taken)
            await trio.sleep(TICK)

    def attached(self, engine: SimEngine) -> list[SimEngine]:
        """Who is connected to it as a replica, whether we know of it or not."""
        return [e for e in self.engines.values() if self.engine_at(e.follows) is engine and e.link_up]

    def confirmed(self, primary: Address, offset: int, end: str = US) -> set[Address]:
        """Replicas that have told that primary that they have its history up to there."""
        engine = self.engines[self.own(primary)]
        if engine.life is not Life.RUNNING or self.is_apart(end, engine.address):
            return set()
        heard = [replica for replica in self.attached(engine) if self._hears(replica)]
        return {replica.address for replica in heard if replica.offset >= offset}

    def _hears(self, replica: SimEngine) -> bool:
        is_cut = self.is_cut(str(replica.address), str(self.own(replica.follows)))
        return replica.life is Life.RUNNING and not is_cut

    # Replication

    async def run(self) -> None:
        """Replicate for ever."""
        while True:
            now = trio.current_time()
            for engine in self.engines.values():
                if engine.life is Life.BUSY and now >= engine.works_until:
                    self.thaw(engine.address)
                if self.is_unwell(engine):
                    self.troubled_at[engine.address] = now
                if engine.life is Life.RUNNING and engine.is_primary:
                    self._lead(engine, now)
            for engine in self.engines.values():
                if engine.life is Life.RUNNING and not engine.is_primary:
                    self._replicate(engine, now)
            await trio.sleep(TICK)

    def is_unwell(self, engine: SimEngine) -> bool:
        is_cut = self.is_cut_from_most(engine.address)
        since = engine.works_since if engine.life is Life.BUSY else None
        is_working = since is not None and trio.current_time() - since < PATIENCE
        is_there = engine.life is Life.RUNNING or is_working
        return not is_there or is_cut or engine.disk_full or not engine.is_primary

    def _lead(self, engine: SimEngine, now: float) -> None:
        if now - engine.pinged_at >= engine.ping_period:
            engine.pinged_at = now
            engine.offset += PING
        if engine.handing_over_to is not None:
            target = self.engines[engine.handing_over_to]
            engine.handing_over_to = None
            if target.life is Life.RUNNING and target.link_up and target.offset == engine.offset:
                self.checks.handover(target)
                target.promote()
                engine.follow(target.address)

    def _replicate(self, engine: SimEngine, now: float) -> None:
        primary = self.engine_at(engine.follows)
        if primary is None or primary is engine or primary.life is Life.DEAD or not primary.is_primary:
            engine.lose_link(now)
            return
        if engine.link_up and now - engine.heard_at > REPL_TIMEOUT:
            engine.lose_link(now)
        if primary.life in (Life.FROZEN, Life.BUSY) or self.is_cut(str(engine.address), str(primary.address)):
            return
        if engine.syncing_until is not None:
            if now >= engine.syncing_until:
                engine.finish_sync(primary)
        elif engine.link_up and engine.replid == primary.replid:
            engine.pull(primary, now)
        elif now >= engine.next_try_at:
            engine.next_try_at = engine.next_cron(now)
            self.checks.sync(engine, primary)
            engine.link_up = False
            engine.sync(primary, now)
        else:
            engine.link_up = False
