"""What the proxy routes by: clusters of shards of nodes, numbered by epochs."""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass, field, replace

from shardproxy.model.address import Address
from shardproxy.model.replication import ShardKey

SLOT_COUNT = 16384  # Redis Cluster specification: HASH_SLOT = CRC16(key) mod 16384


class Engine(enum.Enum):
    REDIS = "redis"
    MEMCACHED = "memcached"


class EndpointKind(enum.Enum):
    CONFIGURATION = "configuration"
    PRIMARY = "primary"
    READER = "reader"


@dataclass(frozen=True, slots=True, order=True)
class SlotRange:
    """Slots first to last, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Hold:
    """Requests for these slots of a shard wait at every proxy, or those that may write."""

    slots: tuple[SlotRange, ...]
    only_writes: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """One engine process."""

    address: Address
    zone: str | None = None
    name: str | None = None
    weight: int = 1

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Shard:
    """The owner of some slots: one primary and its replicas."""

    index: int  # its place in `Topology.shards`: what answers and cursors go by within one topology
    slots: tuple[SlotRange, ...]
    primary: Node | None
    replicas: tuple[Node, ...] = ()
    name: str | None = None
    number: int = field(kw_only=True)  # what it is known by for good, whatever its place
    why_not: str | None = None  # why it has no primary, where that is no failover
    is_refused: bool = False  # nobody serves it before that is mended: nobody need wait for it
    is_mixed: bool = False  # its nodes may have keys of slots that are another's: clients do not see them

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, the primary first."""
        return ((self.primary,) if self.primary else ()) + self.replicas

    @property
    def label(self) -> str:
        """What people call it."""
        return self.name if self.name is not None else str(self.number)


@dataclass(frozen=True, slots=True)
class Topology:
    """Who owns which slots in one cluster, as of one epoch."""

    cluster: str
    engine: Engine
    epoch: int
    shards: tuple[Shard, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(node for shard in self.shards for node in shard.nodes)

    def shard_of(self, slot: int) -> Shard | None:
        """The shard that owns the slot."""
        for shard in self.shards:
            if any(r.first <= slot <= r.last for r in shard.slots):
                return shard
        return None

    def key_of(self, shard: Shard) -> ShardKey:
        """What one of its shards is known by elsewhere."""
        return ShardKey(self.cluster, shard.number)

    def shard_numbered(self, number: int) -> Shard | None:
        """The shard of that number, whatever its place."""
        return next((shard for shard in self.shards if shard.number == number), None)

    def with_epoch(self, epoch: int) -> Topology:
        return replace(self, epoch=epoch)


def split_evenly(shards: int) -> tuple[SlotRange, ...]:
    """Cut the slots into that many ranges, none more than one slot longer than another."""
    bounds = [i * SLOT_COUNT // shards for i in range(shards + 1)]
    return tuple(SlotRange(a, b - 1) for a, b in itertools.pairwise(bounds))
