"""How long things took, counted in buckets. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate


@dataclass(slots=True)
class Times:
    """Counts of times up to each bound, and of those beyond; seconds."""

    bounds: tuple[float, ...]  # ascending
    counts: list[int] = field(default_factory=list)  # by bucket, not cumulative; the last has no bound
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    @property
    def cumulative(self) -> list[tuple[float, int]]:
        """Bounds, and how many took no longer; the last one is infinite and counts all."""
        return list(zip((*self.bounds, float("inf")), accumulate(self.counts), strict=True))
