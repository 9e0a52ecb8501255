"""A rule broken on purpose, and the plans that show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from tests.simulation.faults import At, Fault
from tests.simulation.plan import Plan
from tests.simulation.simulation import Simulation, simulate

Patch = pytest.MonkeyPatch

STUCK = "STUCK"  # instead of a check: it never gets well again


@dataclass(frozen=True)
class Mutation:
    """A rule that is broken in the code (`patch`) or in the model of a data plane (`mutate`)."""

    rule: str
    invariant: str
    plans: Sequence[Plan]  # one of them shows it
    patch: Callable[[Patch], None] = lambda patch: None
    mutate: Callable[[Simulation], None] = lambda sim: None


def run(plan: Plan, mutate: Callable[[Simulation], None] = lambda sim: None) -> Simulation:
    with structlog.testing.capture_logs():
        return simulate(plan, mutate)


def check(mutation: Mutation, patch: Patch) -> None:
    """Green with the rule in place, red without."""
    for plan in mutation.plans:
        sound = run(plan)
        assert not sound.checks.complaints, "\n".join(sound.checks.trace)
        assert sound.is_settled or mutation.invariant != STUCK, "\n".join(sound.checks.trace)
    mutation.patch(patch)
    said: list[str] = []
    for plan in mutation.plans:
        sim = run(plan, mutation.mutate)
        complaints = sim.checks.complaints if sim.is_settled else [*sim.checks.complaints, STUCK]
        if any(what.startswith(mutation.invariant) for what in complaints):
            return
        said += [*complaints, *sim.checks.trace]
    raise AssertionError("\n".join(said))


def at_awaits(fault: Fault, *others: At, awaits: Sequence[int], **options: Any) -> list[Plan]:
    """The fault strikes at one of the awaits in the middle of a failover."""
    return [Plan([*others, At(fault, awaits=number)], **options) for number in awaits]


def data_plane(**switches: bool) -> Callable[[Simulation], None]:
    def mutate(sim: Simulation) -> None:
        for proxy in sim.proxies:
            for name, value in switches.items():
                setattr(proxy, name, value)

    return mutate
