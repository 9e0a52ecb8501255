"""How the topology of a cluster that has no records is numbered. Pure: no clock, no I/O."""

from __future__ import annotations

from dataclasses import replace

from shardproxy.model import Topology

FIRST_EPOCH = 1


def topology_number(current: Topology | None, wanted: Topology, last: int = 0) -> Topology:
    """Number a topology: the same shards as now keep their epoch, for an epoch is a change.

    `last` is the highest the cluster ever had, also before this process.
    """
    if current is None:
        return wanted.with_epoch(max(FIRST_EPOCH, last + 1))
    if replace(wanted, epoch=current.epoch) == current:
        return current
    return wanted.with_epoch(max(current.epoch, last) + 1)
