"""The shards of somebody else's Redis, as they were found. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from shardproxy.importing.facts import Facts
from shardproxy.model import Address, SlotRange
from shardproxy.model.slots import ALL


class Kind(enum.Enum):
    STANDALONE = "standalone"
    SENTINEL = "Sentinel"
    REDIS_CLUSTER = "Redis Cluster"
    PROXY = "shardproxy"  # one of ours, which is asked as one Redis


@dataclass(frozen=True, slots=True)
class FoundShard:
    """One primary, what follows it, and the slots it has: all of them where nobody speaks of slots."""

    primary: Address
    replicas: tuple[Address, ...] = ()  # that answer, and follow it
    slots: tuple[SlotRange, ...] = ALL

    @property
    def nodes(self) -> tuple[Address, ...]:
        """Those to read from, the first to be preferred: a replica, which its clients feel least."""
        return (*self.replicas, self.primary)


@dataclass(frozen=True, slots=True)
class Found:
    """All of it."""

    kind: Kind
    shards: tuple[FoundShard, ...]
    facts: Mapping[Address, Facts]  # of the primaries

    @property
    def versions(self) -> tuple[str, ...]:
        return tuple(sorted({f"{facts.engine} {facts.version}" for facts in self.facts.values()}))

    @property
    def keys(self) -> dict[int, int]:
        """By number of the database."""
        found: dict[int, int] = {}
        for facts in self.facts.values():
            for database, count in facts.keys.items():
                found[database] = found.get(database, 0) + count
        return found

    @property
    def used_memory(self) -> int:
        return sum(facts.used_memory for facts in self.facts.values())

    @property
    def layout(self) -> tuple[tuple[SlotRange, ...], ...]:
        """Which slots are together; a change of it is a resharding."""
        return tuple(sorted(shard.slots for shard in self.shards))
