"""One engine's part of the run: start everything, fill it, measure in turn, end everything."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from shardproxy.fleet import Fleet, GuardedDirectory
from shardproxy.model import Engine
from tests.bench.figures import summarise
from tests.bench.probe import measure_memory
from tests.bench.report import EngineResult
from tests.bench.systems import STARTERS, Site, System
from tests.bench.tools import BenchError, Load, Sample
from tests.bench.workloads import SMALL, Workload

SHARDS = 3
ENGINE_ARGS = {Engine.REDIS: (), Engine.MEMCACHED: ("-m", "256", "-c", "4096")}
ONE_REQUEST = {Engine.REDIS: b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", Engine.MEMCACHED: b"get k\r\n"}


class Follower(Protocol):
    """Who is told how far it is."""

    def doing(self, what: str) -> None: ...
    def did_one(self) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What one engine's part is made of."""

    engine: Engine
    systems: tuple[str, ...]
    workloads: tuple[Workload, ...]
    rounds: int

    @property
    def runs(self) -> int:
        return len(self.systems) * len(self.workloads) * self.rounds


def run_engine(plan: Plan, load: Load, follow: Follower) -> EngineResult:
    """Measure every system under every workload, round by round."""
    result = EngineResult(plan.engine)
    with ExitStack() as stack:
        root = stack.enter_context(GuardedDirectory("shardproxy-bench-"))
        follow.doing(f"{plan.engine.value}: starting {SHARDS} shards and {', '.join(plan.systems)}")
        fleet = stack.enter_context(
            Fleet(shards=SHARDS, replicas=0, engine=plan.engine, args=ENGINE_ARGS[plan.engine])
        )
        site = Site(plan.engine, fleet, root.path, load.binary.parent)
        systems = start_systems(plan.systems, site, result)
        fill(systems, plan, load, result)
        for system in systems:
            pids = dict.fromkeys(pid for target in system.targets.values() for pid in target.pids)
            follow.note(f"{plan.engine.value}: {system.name} is process {', '.join(map(str, pids))}")
            if system.is_proxy:
                note_process(system, plan.engine, result)
        rounds = measure(systems, plan, load, follow)
    result.figures = {workload: summarise(rounds[workload]) for workload in plan.workloads}
    return result


def start_systems(names: Sequence[str], site: Site, result: EngineResult) -> list[System]:
    systems = []
    for name in names:
        try:
            systems.append(STARTERS[name](site))
        except BenchError as e:
            result.skipped[name] = str(e)
    return systems


def fill(systems: list[System], plan: Plan, load: Load, result: EngineResult) -> None:
    """Write the keys through every system, since each places them by its own hash; drop one that cannot."""
    by_size = {workload.value_size: workload for workload in plan.workloads}
    for system in list(systems):
        try:
            for workload in by_size.values():
                load.fill(system.target(workload), workload)
        except BenchError as e:
            result.skipped[system.name] = str(e)
            systems.remove(system)


def note_process(system: System, engine: Engine, result: EngineResult) -> None:
    target = system.targets[SMALL]
    if system.start is not None:
        result.starts[system.name] = system.start
    try:
        result.memory[system.name] = measure_memory(target.address, target.pids[0], ONE_REQUEST[engine])
    except OSError as e:
        result.skipped[f"memory of {system.name}"] = str(e)


def measure(
    systems: Sequence[System], plan: Plan, load: Load, follow: Follower
) -> dict[Workload, dict[str, list[Sample]]]:
    """All systems in turn under each workload, round by round: what disturbs one disturbs its neighbours."""
    samples: dict[Workload, dict[str, list[Sample]]] = {
        workload: {system.name: [] for system in systems if system.name not in workload.unfit}
        for workload in plan.workloads
    }
    for number in range(1, plan.rounds + 1):
        for workload in plan.workloads:
            follow.doing(f"{plan.engine.value} round {number}/{plan.rounds}: {workload.name}")
            for system in systems:
                if system.name in samples[workload]:
                    samples[workload][system.name].append(load.measure(system.target(workload), workload))
                follow.did_one()
    return samples
