"""What this process's jobs have done since it started, for the metrics. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from shardproxy.model.times import Times

PAUSES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # seconds: a hold gives up at 0.2, or 0.5


@dataclass(slots=True)
class JobStatistics:
    """Counters; each grows only."""

    ended: dict[tuple[str, str, str], int] = field(default_factory=dict)  # by cluster, kind and state
    pauses: dict[str, Times] = field(default_factory=dict)  # by cluster: of clients of slots that were held
    slots_moved: dict[str, int] = field(default_factory=dict)  # by cluster
    keys_moved: dict[str, int] = field(default_factory=dict)

    def job_ended(self, cluster: str, kind: str, state: str) -> None:
        self.ended[cluster, kind, state] = self.ended.get((cluster, kind, state), 0) + 1

    def paused(self, cluster: str, seconds: float) -> None:
        """Requests for held slots waited so long, at most."""
        self.pauses.setdefault(cluster, Times(PAUSES)).add(seconds)

    def moved(self, cluster: str, slots: int, keys: int) -> None:
        """So many slots have another owner, and so many keys with them."""
        self.slots_moved[cluster] = self.slots_moved.get(cluster, 0) + slots
        self.keys_moved[cluster] = self.keys_moved.get(cluster, 0) + keys
