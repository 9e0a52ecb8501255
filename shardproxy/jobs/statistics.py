"""What this process's jobs have done since it started, for the metrics. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate

PAUSES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # seconds: a hold gives up at 0.2, or 0.5


@dataclass(slots=True)
class Pauses:
    """How long clients of slots that were held had to wait."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(PAUSES) + 1))  # by bucket, not cumulative
    sum: float = 0.0  # seconds

    @property
    def cumulative(self) -> list[tuple[float, int]]:
        """Upper bounds, and how many were no longer; the last one is infinite and counts all."""
        return list(zip((*PAUSES, float("inf")), accumulate(self.counts), strict=True))

    def add(self, seconds: float) -> None:
        bucket = next((at for at, most in enumerate(PAUSES) if seconds <= most), len(PAUSES))
        self.counts[bucket] += 1
        self.sum += seconds


@dataclass(slots=True)
class JobStatistics:
    """Counters; each grows only."""

    ended: dict[tuple[str, str, str], int] = field(default_factory=dict)  # by cluster, kind and state
    pauses: dict[str, Pauses] = field(default_factory=dict)  # by cluster
    slots_moved: dict[str, int] = field(default_factory=dict)  # by cluster
    keys_moved: dict[str, int] = field(default_factory=dict)

    def job_ended(self, cluster: str, kind: str, state: str) -> None:
        self.ended[cluster, kind, state] = self.ended.get((cluster, kind, state), 0) + 1

    def paused(self, cluster: str, seconds: float) -> None:
        """Requests for held slots waited so long, at most."""
        self.pauses.setdefault(cluster, Pauses()).add(seconds)

    def moved(self, cluster: str, slots: int, keys: int) -> None:
        """So many slots have another owner, and so many keys with them."""
        self.slots_moved[cluster] = self.slots_moved.get(cluster, 0) + slots
        self.keys_moved[cluster] = self.keys_moved.get(cluster, 0) + keys
