"""What moves need of the rest of the process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from shardproxy.failover.interfaces import Nodes
from shardproxy.model import Address
from shardproxy.replication.interface import Copier, CopyPlan, End
from shardproxy.store.record import ShardRecord


class Engines(Protocol):
    """The engines of one cluster, how they are spoken to, and where its keys go."""

    @property
    def nodes(self) -> Nodes: ...

    @property
    def families(self) -> tuple[tuple[str, str], ...]:
        """Key families: match and hash."""

    def end_of(self, address: Address) -> End: ...

    def slot_of(self, key: bytes) -> int:
        """As the data plane routes it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """`copier_start` begins a copy; `pause_note` is told how long a fence held requests, in seconds.

    `moved_note` is told of each leg once it is on record that it was published: slots, and keys copied.
    """

    engines: Callable[[str], AbstractAsyncContextManager[Engines]]  # of a cluster, with connections
    copier_start: Callable[[CopyPlan], Awaitable[Copier]]
    pause_note: Callable[[str, float], None] = lambda cluster, seconds: None
    moved_note: Callable[[str, int, int], None] = lambda cluster, slots, keys: None


def sources_of(record: ShardRecord, engines: Engines) -> tuple[End, ...]:
    """Nodes that have all of a shard: its replicas that are in sync, then the primary."""
    in_sync = tuple(engines.end_of(node) for node in record.replicas if node in record.promise.voters)
    return (*in_sync, primary_of(record, engines)) if record.primary is not None else in_sync


def primary_of(record: ShardRecord, engines: Engines) -> End:
    """A shard's primary, which it has, and no process that came to its address since."""
    assert record.primary is not None
    return replace(engines.end_of(record.primary), process=record.run_id or None)
