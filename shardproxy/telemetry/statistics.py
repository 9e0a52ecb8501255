"""What became of spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class SpanStatistics:
    """Requests that were sampled, since the start."""

    sent: int = 0
    failed: int = 0  # the collector did not take them
    dropped: int = 0  # too many waited

    @property
    def by_outcome(self) -> Mapping[str, int]:
        return {"sent": self.sent, "failed": self.failed, "dropped": self.dropped}
