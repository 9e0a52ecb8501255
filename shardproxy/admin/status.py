"""What the admin pages may know of the process. Frozen: the composition root replaces it whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shardproxy.dataplane import BoundEndpoint
from shardproxy.dataplane.statistics import Statistics
from shardproxy.model import Topology
from shardproxy.model.health import NodeDown, PoolKey
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord
from shardproxy.store.statistics import StoreStatistics
from shardproxy.topology.supervisor import Desk


@dataclass(frozen=True, slots=True)
class Status:
    """The process at one moment."""

    clusters: tuple[str, ...] = ()  # as configured, served or not yet
    endpoints: Mapping[str, tuple[BoundEndpoint, ...]] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # by which the admin API may be asked, beside localhost and IP addresses
    starting: bool = False  # it listens, and finds out which nodes are primaries
    draining: bool = False
    reloads: int = 0
    reloads_refused: int = 0


async def _note_nothing(cluster: str, is_paused: bool) -> None:
    """Nothing outlives the process."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the pages read; each is asked anew for every request."""

    status: Callable[[], Status]
    statistics: Callable[[], Statistics]
    clients: Callable[[], Awaitable[tuple[Mapping[str, Any], ...]]]
    board: Mapping[str, Topology]
    desk: Desk = field(default_factory=Desk)
    records: Mapping[ShardKey, ShardRecord] = field(default_factory=dict)
    note_paused: Callable[[str, bool], Awaitable[None]] = _note_nothing  # raises StoreUnavailableError
    down: Mapping[PoolKey, NodeDown] = field(default_factory=dict)
    store: StoreStatistics = field(default_factory=StoreStatistics)
