"""Figures on a store's writes, for metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class StoreStatistics:
    """Written by the store alone; no topology changes while writes fail."""

    writes: int = 0  # that succeeded
    failures: int = 0
    seconds: float = 0.0  # of all of them, failed or not
    last_seconds: float = 0.0
    requests: int = 0  # that were sent to it, of every kind; a file gets none
    request_failures: int = 0
    why_lost: str = ""  # what it holds is older than what it held, so nothing is taken from it: what to do

    def observe(self, seconds: float, *, ok: bool) -> None:
        """A write was tried and took that long, waiting for a thread included."""
        if ok:
            self.writes += 1
        else:
            self.failures += 1
        self.seconds += seconds
        self.last_seconds = seconds
