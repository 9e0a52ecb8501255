"""A circuit breaker: a source that fails again and again is left alone for a while. Pure: time is given.

```text
            failures in a row                 retry is over
  CLOSED ──────────────────────> OPEN ──────────────────────────> TRYING (one request)
    ^  <─────────────────────────────── it answers ───────────────── │
    │                             OPEN <─ it fails: twice as long ── ┘
```
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

LONGEST = 30.0  # seconds that a source is left alone at most, unless `retry` is longer


class State(Enum):
    """What happens to requests: all are made, none, or one."""

    CLOSED = "closed"
    OPEN = "open"
    TRYING = "trying"


class Outcome(Enum):
    """What became of a request that was made."""

    ANSWERED = "answered"  # a refusal is an answer
    FAILED = "failed"
    UNKNOWN = "unknown"  # whoever asked went away


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is known of a source. Times are seconds of one clock."""

    most: int  # failures in a row that open it
    retry: float  # seconds it is left alone at first
    state: State = State.CLOSED
    failures: int = 0  # in a row, while closed
    until: float = 0.0  # when it is tried again, while open
    pause: float = 0.0  # how long it was left alone last

    def asked(self, now: float) -> Breaker | None:
        """The breaker once a request is made; None: it is not to be made."""
        match self.state:
            case State.CLOSED:
                return self
            case State.OPEN if now >= self.until:
                return replace(self, state=State.TRYING)
        return None

    def heard(self, outcome: Outcome, now: float, *, was: State) -> Breaker:
        """The breaker after a request that was made in the state `was`.

        One that was made before it opened tells nothing any more.
        """
        if was is not self.state or self.state is State.OPEN:
            return self
        match outcome:
            case Outcome.ANSWERED:
                return replace(self, state=State.CLOSED, failures=0, pause=0.0)
            case Outcome.UNKNOWN:
                return self if was is State.CLOSED else replace(self, state=State.OPEN, until=now)
        if was is State.CLOSED and self.failures + 1 < self.most:
            return replace(self, failures=self.failures + 1)
        pause = min(2 * self.pause, max(LONGEST, self.retry)) if self.pause else self.retry
        return replace(self, state=State.OPEN, failures=0, until=now + pause, pause=pause)
