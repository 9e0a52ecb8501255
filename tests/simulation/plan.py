"""What is simulated: shards, who serves and decides, and what strikes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.simulation.faults import At, CrashAll, FillDisk, Freeze, Kill, Replace, Restart, Stop, Stray, Work
from tests.simulation.meddling import Point, PromoteByHand
from tests.simulation.world import PATIENCE


@dataclass(frozen=True)
class Plan:
    """A run: its shards, its faults."""

    faults: Sequence[At] = ()
    nodes: int = 3
    wait: int = 1
    lasts: float = 6.0  # seconds from the first fault until everything is put right
    is_safe: bool = True  # nodes that come back at the end come back frozen
    keeps_data: bool = True  # and with their data
    standbys: int = 0  # more processes that could lead
    shards: int = 1
    moves: bool = False  # a slot moves between them all the time
    proxies: int = 1  # data planes that follow the store, the later the slower
    members: int = 0  # processes that serve and may lead, each with a lease: then there are no others
    followers: int = 0  # processes that serve and only follow the store
    is_strict: bool = True  # a promotion waits for all members
    observers: int = 0  # processes with failover off, each with a proxy and a store of its own
    spares: int = 0  # empty nodes that the config does not name
    strangers: int = 0  # replicas attached to each primary that the config does not name
    priorities: Sequence[int] = ()  # of the first nodes of each shard; 100 of the others
    starts_frozen: bool = False  # all nodes are nobody's replicas, as managed ones start
    is_managed: bool = True  # else replication is only followed

    @property
    def loses_data(self) -> bool:
        """Waiting for an operator may be right."""
        faults = [at.fault for at in self.faults]
        return not self.keeps_data or any(
            isinstance(fault, Stray) or (isinstance(fault, Restart | Replace) and not fault.keeps_data)
            for fault in faults
        )

    @property
    def is_meddled(self) -> bool:
        """Others change roles as well."""
        return any(isinstance(at.fault, PromoteByHand | Point) for at in self.faults)

    @property
    def must_settle(self) -> bool:
        """No operator has to do anything.

        A process that ended vouches no more for what it acknowledged: where one is lost after the other,
        perhaps nobody does.
        """
        faults = [at.fault for at in self.faults]
        losses = sum(
            isinstance(fault, Kill | Replace | Freeze | FillDisk)
            or (isinstance(fault, CrashAll) and fault.with_primary)
            or (isinstance(fault, Work) and fault.seconds > PATIENCE)
            for fault in faults
        )
        return self.is_managed and losses <= 1 and not (self.loses_data or self.is_meddled)

    @property
    def has_gaps(self) -> bool:
        """For a while nobody may lead: what is known then is what was put on record before."""
        return any(isinstance(at.fault, CrashAll | Stop) for at in self.faults)
