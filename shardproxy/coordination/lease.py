"""Until when the data plane may take a primary's replies, where other proxies share the store.

    store: leases, synced ────────────────────────┐
    follower: served carefully, served as stored ─┴─> DataPlane.lease(cluster, deadline | None)

A proxy that is out of touch serves carefully before its lease ends, and is then disarmed: only one that stood
still meanwhile finds its lease over when it wakes up, and cuts its connections before it reads from them. It
is believed again once it serves what is stored: what is true comes first, then the lease.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import trio

from shardproxy.model.board import Board, News
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord


class Leased(Protocol):
    """The part of the data plane that is bound by a lease."""

    def lease(self, cluster: str, deadline: float | None) -> None:
        """Cut a cluster's connections to primaries past that moment (CLOCK_BOOTTIME); None = never."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a cluster is served."""

    deadline: float | None  # of the store's lease; None = nobody else can change anything
    is_synced: bool  # what is stored is known
    is_careful: bool  # it is served as behoves one that does not know it
    is_current: bool  # it is served as is known


def deadline_wanted(standing: Standing, armed: float | None, now: float) -> float | None:
    """Until when a cluster's primaries may be believed; None = for ever."""
    if standing.deadline is None:
        return None
    if standing.is_careful and not standing.is_synced:
        return None
    is_over = armed is None or now >= armed
    is_true = standing.is_synced and standing.is_current and not standing.is_careful
    return armed if is_over and not is_true else standing.deadline


def boottime() -> float:
    """Also while the machine is suspended time passes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True)
class Lessor:
    """Binds one process's data plane by its store's leases."""

    leases: Board[str, float]
    synced: Board[str, bool]
    records: Board[ShardKey, ShardRecord]
    careful: Board[str, bool]  # clusters served carefully, by all workers
    applied: Board[ShardKey, int]
    dataplane: Leased
    clock: Callable[[], float] = boottime
    is_ours: Callable[[str], bool] = lambda cluster: True  # else something beyond the store decides about it

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the data plane's deadlines as they should be until cancelled, and take them back then."""
        news = News()
        heard: tuple[Board[Any, Any], ...] = (
            self.leases,
            self.synced,
            self.records,
            self.careful,
            self.applied,
        )
        for board in heard:
            board.subscribe(news)
        armed: dict[str, float | None] = {}
        try:
            task_status.started()
            while True:
                self._arm(armed)
                await news.wait()
        finally:
            for board in heard:
                board.unsubscribe(news)
            for cluster, deadline in armed.items():
                if deadline is not None:
                    self.dataplane.lease(cluster, None)

    def _arm(self, armed: dict[str, float | None]) -> None:
        clusters = {*self.leases, *armed}
        behind = _behind(self.records, self.applied) if clusters else set()
        for cluster in clusters:
            standing = Standing(
                self.leases.get(cluster) if self.is_ours(cluster) else None,
                self.synced.get(cluster, True),
                cluster in self.careful,
                cluster not in behind,
            )
            before = armed.get(cluster)
            deadline = deadline_wanted(standing, before, self.clock())
            if deadline != before:
                self.dataplane.lease(cluster, deadline)
                armed[cluster] = deadline


def _behind(records: Mapping[ShardKey, ShardRecord], applied: Mapping[ShardKey, int]) -> set[str]:
    """Clusters of which something stored is not served yet."""
    return {key.cluster for key, record in records.items() if applied.get(key, 0) < record.changed}
