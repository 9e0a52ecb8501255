"""From runs to figures: medians over the rounds, and ratios within a round. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.tools import Sample
from tests.bench.workloads import Goal

FLOOR = "echo"
PEER = "nutcracker"


@dataclass(frozen=True, slots=True)
class Figures:
    """The medians of one system under one workload. Times are microseconds."""

    system: str
    requests_per_second: float
    p50: float
    p99: float
    p99_9: float
    cpu: float
    engine_cpu: float
    load_cpu: float
    spread: float  # of cpu: (highest - lowest) / median
    to_floor: float | None
    to_peer: float | None
    faults: tuple[str, ...]
    rounds: tuple[Sample, ...]

    def meets(self, goal: Goal) -> bool:
        """Whether it costs no more than it may, as far as there is something to compare with."""
        pairs = ((self.to_floor, goal.floor), (self.to_peer, goal.peer))
        return all(ratio is None or limit is None or ratio <= limit for ratio, limit in pairs)


def summarise(rounds: Mapping[str, Sequence[Sample]]) -> tuple[Figures, ...]:
    """Figures of every system of one workload, from its rounds in order."""
    return tuple(figures_of(system, rounds) for system in rounds if rounds[system])


def figures_of(system: str, rounds: Mapping[str, Sequence[Sample]]) -> Figures:
    own = rounds[system]
    cpu = [sample.cpu for sample in own]
    middle = median(cpu)
    return Figures(
        system=system,
        requests_per_second=median(sample.requests_per_second for sample in own),
        p50=median(sample.p50 for sample in own),
        p99=median(sample.p99 for sample in own),
        p99_9=median(sample.p99_9 for sample in own),
        cpu=middle,
        engine_cpu=median(sample.engine_cpu for sample in own),
        load_cpu=median(sample.load_cpu for sample in own),
        spread=(max(cpu) - min(cpu)) / middle if middle else 0.0,
        to_floor=ratio(own, rounds.get(FLOOR, ())),
        to_peer=ratio(own, rounds.get(PEER, ())),
        faults=tuple(dict.fromkeys(fault for sample in own for fault in sample.faults)),
        rounds=tuple(own),
    )


def ratio(own: Sequence[Sample], other: Sequence[Sample]) -> float | None:
    """The median over the rounds of own CPU per request to the other's in the same round.

    Within a round both ran seconds apart, so what slows the machine for a while hardly moves it.
    """
    ratios = [a.cpu / b.cpu for a, b in zip(own, other, strict=False) if b.cpu > 0]
    return median(ratios) if ratios else None
