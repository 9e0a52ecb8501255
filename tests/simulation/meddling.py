"""What people and other programs do: they ask, they change the config, they give engines commands by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, Node
from tests.simulation.world import ALIAS, HOST

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

AGAIN = 100  # a node's number and this: the same engine under its other name


@dataclass(frozen=True)
class SwitchOver:
    """An operator asks for it."""

    shard: int = 0

    def strike(self, sim: Simulation) -> None:
        sim.switch_over(sim.key(self.shard))


@dataclass(frozen=True)
class Pause:
    """Of automatic failover, in all processes that decide."""

    is_paused: bool = True

    def strike(self, sim: Simulation) -> None:
        sim.pause(is_paused=self.is_paused)


@dataclass(frozen=True)
class Reload:
    """A new config for who decides, and those who watch; None = as before."""

    nodes: tuple[int, ...] | None = None  # of the shard, in the order of the config; see AGAIN
    wait: int | None = None
    is_automatic: bool | None = None
    shard: int = 0

    def strike(self, sim: Simulation) -> None:
        for group in sim.groups:
            if self.nodes is not None:
                group.reloaded_at = trio.current_time()
            for key, setup in list(group.setups.items()):
                if key == sim.key(self.shard):
                    setup = self._of_shard(setup, sim.engines_of(self.shard))
                if self.is_automatic is not None and not group.is_observing:
                    setup = replace(setup, is_automatic=self.is_automatic)
                    group.told_off_at = trio.current_time()
                group.setups.show(key, setup)

    def _of_shard(self, setup: ShardSetup, engines: Sequence[Address]) -> ShardSetup:
        if self.nodes is not None:
            names = (_name(engines[number % AGAIN % len(engines)], number) for number in self.nodes)
            setup = replace(setup, nodes=tuple(map(Node, dict.fromkeys(names))))
        return setup if self.wait is None else replace(setup, wait=self.wait)


def _name(engine: Address, number: int) -> Address:
    return Address(ALIAS if number >= AGAIN else HOST, engine.port)


@dataclass(frozen=True)
class PromoteByHand:
    """Somebody sends REPLICAOF NO ONE to an engine, and writes to it."""

    node: int
    writes: int = 2

    def strike(self, sim: Simulation) -> None:
        engine = sim.world.engines[sim.address(self.node)]
        sim.checks.is_meddled = True
        if engine.life.value == "running" and not engine.is_primary:
            sim.world.troubled_at[engine.address] = trio.current_time()
            engine.promote()
            sim.write_by_hand(engine, self.writes)


@dataclass(frozen=True)
class Point:
    """Somebody tells an engine to follow another one."""

    node: int
    to: int

    def strike(self, sim: Simulation) -> None:
        engine, to = sim.world.engines[sim.address(self.node)], sim.address(self.to)
        sim.checks.is_meddled = True
        if engine.life.value == "running" and engine.address != to:
            sim.give_up(engine)
            engine.follow(to)


@dataclass(frozen=True)
class WriteByHand:
    """Somebody writes to an engine, past the proxies: what it holds is its own."""

    node: int
    writes: int = 2

    def strike(self, sim: Simulation) -> None:
        engine = sim.world.engines[sim.address(self.node)]
        if engine.is_primary:
            sim.write_by_hand(engine, self.writes)
