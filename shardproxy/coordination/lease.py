"""Until when the data plane may take a primary's replies, where other proxies share the store.

    store.leases, synced ─┐
    served carefully ─────┴─> DataPlane.lease(cluster, deadline | None)

A proxy that is out of touch serves carefully before its lease ends, and is then disarmed: only one that stood
still meanwhile finds its lease over when it wakes up, and cuts its connections before it reads from them.
"""

from __future__ import annotations

from typing import Any, Protocol

import trio

from shardproxy.model.board import Board, News


class Leased(Protocol):
    """The part of the data plane that is bound by a lease."""

    def lease(self, cluster: str, deadline: float | None) -> None:
        """Cut a cluster's connections to primaries once that moment (CLOCK_BOOTTIME) is past; None = never."""


def deadline_of(deadline: float | None, *, is_synced: bool, is_careful: bool) -> float | None:
    """Until when a cluster's primaries may be believed; None = for ever."""
    return None if is_careful and not is_synced else deadline


async def run_leases(
    leases: Board[str, float],
    synced: Board[str, bool],
    unsynced: Board[str, bool],
    dataplane: Leased,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Bind the data plane by the store's leases until cancelled; `unsynced`: what it serves carefully."""
    news, heard = News(), (leases, synced, unsynced)
    boards: tuple[Board[str, Any], ...] = heard
    for board in boards:
        board.subscribe(news)
    armed: dict[str, float | None] = {}
    try:
        task_status.started()
        while True:
            for cluster in {*leases, *armed}:
                is_synced, is_careful = synced.get(cluster, True), cluster in unsynced
                deadline = deadline_of(leases.get(cluster), is_synced=is_synced, is_careful=is_careful)
                if armed.get(cluster) != deadline:
                    dataplane.lease(cluster, deadline)
                    armed[cluster] = deadline
            await news.wait()
    finally:
        for board in boards:
            board.unsubscribe(news)
        for cluster, deadline in armed.items():
            if deadline is not None:
                dataplane.lease(cluster, None)
