"""Against flapping: the first failover of a shard is immediate, the next ones wait. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

FIRST_WAIT = 30.0  # seconds
LONGEST_WAIT = 600.0
QUIET = 1800.0  # without a failover: begin anew


@dataclass(frozen=True, slots=True)
class Backoff:
    """When the last failover ended (trio time), and how long the next one has to wait from there."""

    last: float | None = None
    wait: float = 0.0

    def allowed_at(self) -> float:
        """Trio time from which a failover is allowed."""
        return 0.0 if self.last is None else self.last + self.wait

    def why_not(self, now: float) -> str | None:
        if self.last is None or now >= self.allowed_at():
            return None
        return (
            f"its last failover was less than {self.wait:.0f} s ago, so it may be flapping:"
            " the next one has to wait that long, or until an operator acknowledges this one"
        )

    def after_failover(self, now: float) -> Backoff:
        if self.last is None or now - self.last >= max(QUIET, self.wait):
            return Backoff(now, FIRST_WAIT)
        return Backoff(now, min(max(2 * self.wait, FIRST_WAIT), LONGEST_WAIT))

    def lifted(self) -> Backoff:
        """An operator has looked: the next failover is immediate, the one after waits as it would have."""
        return replace(self, last=None if self.last is None else self.last - self.wait)


NO_FAILOVER_YET = Backoff()
