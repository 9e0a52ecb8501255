"""What can go wrong, as values: each strikes the world at once.

Nodes are told by number: 0, 1 ... of the first shard, 10, 11 ... of the second, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio

from tests.simulation.world import US

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.simulation import Simulation

PRIMARY = -1  # whoever is the primary then
OTHER = -2  # the first node that is not
LEADER = -1  # of proxies: the one that leads
STRANGER = -3  # the first replica that nobody has configured


def in_shard(shard: int, node: int) -> int:
    """The number of a node of that shard."""
    return node + 10 * shard if node >= 0 else node - 10 * shard


class Fault(Protocol):
    def strike(self, sim: Simulation) -> None: ...


@dataclass(frozen=True)
class Kill:
    node: int

    def strike(self, sim: Simulation) -> None:
        sim.world.kill(sim.address(self.node))


@dataclass(frozen=True)
class Restart:
    """Of a dead node; `is_safe`: started as a replica of nobody."""

    node: int
    keeps_data: bool = False
    is_safe: bool = True

    def strike(self, sim: Simulation) -> None:
        sim.world.restart(sim.address(self.node), keeps_data=self.keeps_data, is_safe=self.is_safe)


@dataclass(frozen=True)
class Replace:
    """A node's process ends and another one is there at once."""

    node: int
    keeps_data: bool = False
    is_safe: bool = True

    def strike(self, sim: Simulation) -> None:
        Kill(self.node).strike(sim)
        Restart(self.node, self.keeps_data, self.is_safe).strike(sim)


@dataclass(frozen=True)
class Freeze:
    node: int

    def strike(self, sim: Simulation) -> None:
        sim.world.freeze(sim.address(self.node))


@dataclass(frozen=True)
class Work:
    """A client sends a command that takes so many seconds."""

    node: int
    seconds: float

    def strike(self, sim: Simulation) -> None:
        sim.world.engage(sim.address(self.node), self.seconds)


@dataclass(frozen=True)
class ThawAll:
    def strike(self, sim: Simulation) -> None:
        for address in sim.world.engines:
            sim.world.thaw(address)


@dataclass(frozen=True)
class Cut:
    """Between two nodes, or between one and us (None)."""

    one: int
    other: int | None

    def strike(self, sim: Simulation) -> None:
        one = str(sim.address(self.one))
        other = US if self.other is None else str(sim.address(self.other))
        if one != other:
            sim.world.cut(one, other)


@dataclass(frozen=True)
class HealNetwork:
    def strike(self, sim: Simulation) -> None:
        sim.world.heal_network()


@dataclass(frozen=True)
class Stray:
    """A replica is replaced by another process that follows nobody and has newer-looking data of its own."""

    node: int

    def strike(self, sim: Simulation) -> None:
        address = sim.address(self.node)
        sim.world.kill(address)
        sim.world.restart(address, keeps_data=False, is_safe=True)
        engine = sim.world.engines[address]
        engine.log, engine.ends, engine.offset = [-1], [100_000], 100_000


@dataclass(frozen=True)
class Lag:
    """A replica takes nothing although its link is up."""

    node: int
    lags: bool = True

    def strike(self, sim: Simulation) -> None:
        sim.world.engines[sim.address(self.node)].is_lagging = self.lags


@dataclass(frozen=True)
class FillDisk:
    node: int
    is_full: bool = True

    def strike(self, sim: Simulation) -> None:
        sim.world.engines[sim.address(self.node)].disk_full = self.is_full


@dataclass(frozen=True)
class StoreDown:
    is_down: bool = True

    def strike(self, sim: Simulation) -> None:
        sim.checks.is_store_down = self.is_down


@dataclass(frozen=True)
class Deafen:
    """A proxy's data plane hears nothing of the store for that many seconds."""

    proxy: int
    seconds: float

    def strike(self, sim: Simulation) -> None:
        proxies = sim.deciding.proxies
        proxies[self.proxy % len(proxies)].deaf_until = trio.current_time() + self.seconds


@dataclass(frozen=True)
class Crash:
    """The leading process ends; another one starts."""

    def strike(self, sim: Simulation) -> None:
        sim.crash()


@dataclass(frozen=True)
class CrashAll:
    """Every process of who decides ends, with the primary of each shard if wanted; as many start later."""

    seconds: float = 0.0
    with_primary: bool = False

    def strike(self, sim: Simulation) -> None:
        if self.with_primary:
            for shard in range(sim.plan.shards):
                Kill(in_shard(shard, PRIMARY)).strike(sim)
        sim.crash_all(self.seconds)


@dataclass(frozen=True)
class Stop:
    """The leading process is stopped for that many seconds."""

    seconds: float

    def strike(self, sim: Simulation) -> None:
        sim.stop(self.seconds)


@dataclass(frozen=True)
class OfMember:
    """Something that strikes one process of a fleet."""

    member: int  # which, or LEADER

    def process(self, sim: Simulation) -> Process | None:
        return sim.first if self.member == LEADER else sim.member(self.member)

    def strike(self, sim: Simulation) -> None:
        if (process := self.process(sim)) is not None:
            self.hit(sim, process)

    def hit(self, sim: Simulation, process: Process) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class CutStore(OfMember):
    """It cannot reach the store, or can again."""

    is_cut: bool = True

    def hit(self, sim: Simulation, process: Process) -> None:
        process.session.is_cut = self.is_cut


@dataclass(frozen=True)
class SlowStore(OfMember):
    """What it asks of the store takes so many seconds; what takes too long is carried out all the same."""

    seconds: float = 1.2

    def hit(self, sim: Simulation, process: Process) -> None:
        process.session.slow = self.seconds


@dataclass(frozen=True)
class DeafStore(OfMember):
    """It hears of no change for that many seconds, and may ask."""

    seconds: float = 2.0

    def hit(self, sim: Simulation, process: Process) -> None:
        process.session.deaf_until = trio.current_time() + self.seconds


@dataclass(frozen=True)
class StopMember(OfMember):
    """It stands still for that many seconds, its data plane too."""

    seconds: float = 10.0

    def hit(self, sim: Simulation, process: Process) -> None:
        process.stopped_until = trio.current_time() + self.seconds


@dataclass(frozen=True)
class CrashMember(OfMember):
    """It ends, and another one starts in its place after that many seconds."""

    seconds: float = 0.0

    def hit(self, sim: Simulation, process: Process) -> None:
        sim.crash_one(process, self.seconds)


@dataclass(frozen=True)
class CutFrom(OfMember):
    """It cannot reach a node that others reach."""

    node: int = PRIMARY

    def hit(self, sim: Simulation, process: Process) -> None:
        sim.world.cut(process.end, str(sim.address(self.node)))


@dataclass(frozen=True)
class At:
    """When: seconds from the start, or at an await of a controller, counted from the first fault."""

    fault: Fault
    seconds: float | None = None
    awaits: int | None = None
