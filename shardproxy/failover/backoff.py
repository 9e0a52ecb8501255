"""Against flapping: the first failover of a shard is immediate, the next ones wait. Pure.

It is on record, in wall clock time, as it concerns the next controller as well. A clock that jumps can make a
failover wait once more for as long as it would have, or not at all; it never causes one.
"""

from __future__ import annotations

from shardproxy.store.record import Flapping

FIRST_WAIT = 30.0  # seconds
LONGEST_WAIT = 600.0
QUIET = 1800.0  # without a failover: begin anew


def backoff_left(flapping: Flapping | None, clock: float) -> float:
    """Seconds until an automatic failover is allowed; 0 = now."""
    if flapping is None:
        return 0.0
    return max(0.0, flapping.wait - max(0.0, clock - flapping.since))


def why_not_yet(flapping: Flapping | None, clock: float) -> str | None:
    if flapping is None or not backoff_left(flapping, clock):
        return None
    return (
        f"its last failover was less than {flapping.wait:.0f} s ago, so it may be flapping:"
        " the next one has to wait that long, or until an operator acknowledges this one"
    )


def backoff_after(flapping: Flapping | None, clock: float) -> Flapping:
    """What the next failover has to wait for, after one that is ending."""
    if flapping is None or clock - flapping.since >= max(QUIET, flapping.wait):
        return Flapping(FIRST_WAIT, clock)
    return Flapping(min(max(2 * flapping.wait, FIRST_WAIT), LONGEST_WAIT), clock)


def backoff_lifted(flapping: Flapping) -> Flapping:
    """An operator has looked: the next failover is immediate, the one after waits as it would have."""
    return Flapping(flapping.wait, flapping.since - flapping.wait)
