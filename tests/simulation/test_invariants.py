"""Whatever strikes shards, at whichever await of their controller: the invariants of checks.py hold."""

from __future__ import annotations

import os

import structlog
from hypothesis import HealthCheck, Phase, given, settings

from tests.simulation.plan import Plan
from tests.simulation.simulation import simulate
from tests.simulation.strategies import FLEETS, PLANS

EXAMPLES = int(os.environ.get("SHARDPROXY_SIMULATIONS", "12"))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a plan is short; a minute of shrinking is not
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(PLANS)
def test_invariants_hold(plan: Plan) -> None:
    with structlog.testing.capture_logs():
        sim = simulate(plan)
    assert not sim.checks.complaints, "\n".join(sim.checks.trace[-80:])
    if plan.must_settle:
        assert sim.is_settled, "\n".join(sim.checks.trace[-80:])


@settings(
    max_examples=max(1, EXAMPLES // 4),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(FLEETS)
def test_invariants_hold_of_fleets(plan: Plan) -> None:
    with structlog.testing.capture_logs():
        sim = simulate(plan)
    assert not sim.checks.complaints, "\n".join(sim.checks.trace[-80:])
    if plan.must_settle:
        assert sim.is_settled, "\n".join(sim.checks.trace[-80:])
