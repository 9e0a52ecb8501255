"""What the data plane has counted of a cluster since it was served, or since CONFIG RESETSTAT. No I/O.

The counters themselves never go back: monitoring systems read them, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shardproxy.dataplane.statistics import ClusterCounts, CommandStatistics


@dataclass(frozen=True, slots=True)
class Counts:
    """What INFO shows of them."""

    connections: int = 0
    refused: int = 0  # connections beyond limits.clients, as Redis counts them
    bytes_in: int = 0
    bytes_out: int = 0
    commands: Mapping[str, CommandStatistics] = field(default_factory=dict)

    @classmethod
    def of(cls, statistics: ClusterCounts) -> Counts:
        return cls(
            statistics.accepted,
            statistics.refused.get("limit", 0),
            statistics.bytes_in,
            statistics.bytes_out,
            statistics.commands,
        )

    def since(self, then: Counts) -> Counts:
        return Counts(
            self.connections - then.connections,
            self.refused - then.refused,
            self.bytes_in - then.bytes_in,
            self.bytes_out - then.bytes_out,
            {name: _less(count, then.commands.get(name)) for name, count in self.commands.items()},
        )

    def calls(self, name: str) -> int:
        """How often that command was answered."""
        count = self.commands.get(name)
        return count.ok + count.error if count else 0

    @property
    def all_calls(self) -> int:
        return sum(count.ok + count.error for count in self.commands.values())


def _less(count: CommandStatistics, then: CommandStatistics | None) -> CommandStatistics:
    return CommandStatistics(count.ok - then.ok, count.error - then.error) if then else count


class Counters:
    """Since when each cluster's counters count."""

    def __init__(self) -> None:
        self._begun: dict[str, Counts] = {}

    def begin(self, cluster: str, statistics: ClusterCounts | None) -> None:
        """Count from now on."""
        if statistics is not None:
            self._begun[cluster] = Counts.of(statistics)

    def counted(self, cluster: str, statistics: ClusterCounts | None) -> Counts:
        """What was counted since; nothing of a cluster that is not served."""
        if statistics is None:
            return Counts()
        return Counts.of(statistics).since(self._begun.get(cluster, Counts()))
