"""Figures on the health checks themselves, for metrics."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

RECENT = 60.0  # seconds a delay is told of


@dataclass(slots=True)
class HealthStatistics:
    """Written by the monitors; `tilted`: clusters whose nodes' silence proves nothing now, and why."""

    questions: int = 0  # asked of nodes, in all
    tilted: dict[str, str] = field(default_factory=dict)
    _delays: deque[tuple[float, float]] = field(
        default_factory=deque
    )  # (when, how long), shorter and shorter

    def note_delay(self, seconds: float, now: float) -> None:
        """Our own loop came so late."""
        while self._delays and self._delays[-1][1] <= seconds:
            self._delays.pop()
        self._delays.append((now, seconds))
        self._forget(now)

    def loop_lag(self, now: float) -> float:
        """The longest delay of our own loop lately, in seconds."""
        self._forget(now)
        return self._delays[0][1] if self._delays else 0.0

    def _forget(self, now: float) -> None:
        while self._delays and self._delays[0][0] < now - RECENT:
            self._delays.popleft()
