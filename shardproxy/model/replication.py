"""What a node says of itself and of its part in replication."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from shardproxy.model.address import Address

# Nobody listens there. A replica told to follow it keeps its data and offset, takes no writes and gets none:
# it is frozen.
DEAD_END = Address("127.0.0.1", 1)


class Role(enum.Enum):
    PRIMARY = "primary"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True, order=True)
class ShardKey:
    """Names a shard for good: its cluster, and the number it got there when it was first on record."""

    cluster: str
    index: int

    def __str__(self) -> str:
        return f"{self.cluster}/{self.index}"


@dataclass(frozen=True, slots=True)
class Lineage:
    """Which history of writes a dataset belongs to.

    `replid` names it; before `second_offset` it is also the history named `replid2`, from which it branched
    off when its node was promoted.
    """

    replid: str
    replid2: str = ""
    second_offset: int = -1

    def has(self, replid: str, offset: int) -> bool:
        """Whether a dataset is this history up to some point: offsets of such datasets can be compared."""
        if replid == self.replid:
            return True
        return bool(self.replid2) and replid == self.replid2 and offset < self.second_offset


@dataclass(frozen=True, slots=True)
class AttachedReplica:
    """A replica as its primary sees it."""

    address: Address
    is_online: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Replication:
    """INFO replication of one node. What changes with every write does not count when two are compared."""

    role: Role
    lineage: Lineage
    offset: int = field(compare=False)  # bytes of the history that this node has
    follows: Address | None = None  # a replica's primary
    is_link_up: bool = False  # a replica's, to that primary
    is_syncing: bool = False  # a full sync is under way; the offset then says nothing
    last_io: int | None = field(default=None, compare=False)  # whole seconds since the primary was heard
    link_down_for: int | None = field(
        default=None, compare=False
    )  # whole seconds; None = never was up, or is
    priority: int = 100  # 0 is never promoted
    attached: tuple[AttachedReplica, ...] = field(default=(), compare=False)
    is_handing_over: bool = False  # FAILOVER is under way on this primary

    @property
    def is_frozen(self) -> bool:
        return self.follows == DEAD_END

    @property
    def has_replicas(self) -> bool:
        """Somebody who listens on a port is attached; who only reads the stream shows port 0."""
        return any(replica.address.port for replica in self.attached)


@dataclass(frozen=True, slots=True)
class Server:
    """INFO server of one node: who answers."""

    run_id: str
    version: str = ""
    mode: str = "standalone"  # standalone | cluster | sentinel

    @property
    def is_clustered(self) -> bool:
        """Whether it is a node of a Redis Cluster: with slots and a bus of its own, none of a shard."""
        return self.mode == "cluster"
