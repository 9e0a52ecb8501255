"""Intervals and limits of health checks, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace

MAX_STRETCH = 2.0  # times as long between two questions, however many nodes there are


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """Defaults find a dead process within milliseconds, and a frozen one in about 1.4 s."""

    ping_interval: float = 0.2  # of primaries
    replica_interval: float = 1.0  # of replicas, at most; the fewer there are, the more often
    info_interval: float = 1.0  # INFO replication, and 0.2 when suspect
    suspect_interval: float = 0.2
    refused_interval: float = 0.02  # after a refused connection; two make a dead process
    slow_interval: float = 10.0  # who else manages a node
    probe_timeout: float = 0.5
    down_after: float = 1.0
    slow_after: float = 10.0  # the same of one that was sent what may take long
    witness_grace: float = 1.5  # replicas notice a silent primary by pings that are a second apart
    loading_grace: float = 5.0
    unwritable_grace: float = 5.0
    sample_interval: float = 0.1  # offsets, where reads from replicas have a bound on staleness
    max_rate: float = 2000.0  # samples per second of all nodes together; the same of those that are suspect
    primary_rate: float = 1000.0  # and questions to primaries
    replica_rate: float = 400.0  # and questions to replicas

    def for_many(self, shards: int, nodes: int) -> HealthSettings:
        """The same for so many: each is asked less often, but primaries often enough to be found in time."""
        ping_interval = max(
            self.ping_interval, min(shards / self.primary_rate, MAX_STRETCH * self.ping_interval)
        )
        replica_interval = max(
            self.replica_interval, min(nodes / self.replica_rate, MAX_STRETCH * self.replica_interval)
        )
        return replace(self, ping_interval=ping_interval, replica_interval=replica_interval)

    @property
    def suspect_after(self) -> float:
        """A primary that missed this much silence has its replicas asked."""
        return 2 * self.ping_interval

    @property
    def stall_after(self) -> float:
        """Our own loop came late by this much: what we saw meanwhile says nothing of the nodes."""
        return 0.5 * self.down_after
