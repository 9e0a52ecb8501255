"""Whatever strikes a shard, at whichever await of its controller: I1 to I5 and I7 to I9 hold."""

from __future__ import annotations

import os

import structlog
from hypothesis import HealthCheck, Phase, given, settings

from tests.simulation.simulation import Plan, simulate
from tests.simulation.strategies import PLANS

EXAMPLES = int(os.environ.get("SHARDPROXY_SIMULATIONS", "40"))


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
    if not plan.loses_data:  # where too much is lost, waiting for an operator is right
        assert sim.is_settled, "\n".join(sim.checks.trace[-80:])
