"""How a proposal becomes an epoch. Pure: no clock, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shardproxy.model import Topology

FIRST_EPOCH = 1


@dataclass(frozen=True, slots=True)
class Stale:
    """The proposal was worked out from an older topology than the one that is served."""

    base: int
    current: int

    def __str__(self) -> str:
        return f"worked out from epoch {self.base}, but epoch {self.current} is served"


def topology_number(current: Topology | None, proposed: Topology, last: int = 0) -> Topology | Stale:
    """Number a proposal, whose own epoch is the one it was worked out from.

    The same shards as now keep their epoch: an epoch is a change. `last` is the highest the cluster ever had,
    also before this process.
    """
    if current is None:
        return proposed.with_epoch(max(FIRST_EPOCH, proposed.epoch, last + 1))
    if proposed.epoch < current.epoch:
        return Stale(proposed.epoch, current.epoch)
    if replace(proposed, epoch=current.epoch) == current:
        return current
    return proposed.with_epoch(current.epoch + 1)
