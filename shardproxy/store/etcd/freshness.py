"""Since when a process does not know whether others have changed something, and until when they wait for it.

last contact ── 0.6 of its time to live ─> not synced ── the rest ─> nobody waits any more
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from shardproxy.model.board import Board
from shardproxy.store.etcd.clock import boottime

SYNCED = 0.6  # of the time to live since the last contact
LOOK = 0.25  # seconds: timers do not count suspension, the clock of leases does
HEARD_WITHIN = 3.0  # seconds: the watch was last known to tell of everything
LINGERS = HEARD_WITHIN / SYNCED  # seconds from then on until who holds no lease is cut off


@dataclass(frozen=True, slots=True)
class Contact:
    """The last one, by the clock of leases."""

    beat: float | None  # when the request went out that last prolonged the lease; None = none is ever held
    ttl: float  # of the lease
    heard: float  # when what is shown was known to be all there is

    @property
    def synced_until(self) -> float:
        if self.beat is None:
            return self.heard + HEARD_WITHIN
        within = min(max(HEARD_WITHIN, SYNCED * self.ttl), self.ttl)
        return min(self.heard + within, self.beat + SYNCED * self.ttl)

    @property
    def leased_until(self) -> float:
        """Nobody goes on before that; who holds no lease is not waited for, and is past it a while later."""
        return self.heard + LINGERS if self.beat is None else self.beat + self.ttl


class Freshness:
    """Shows it for each followed cluster."""

    def __init__(self, contact: Callable[[], Contact], *, clock: Callable[[], float] = boottime) -> None:
        self._contact = contact
        self._clock = clock
        self._followed: frozenset[str] = frozenset()
        self._news = trio.Event()
        self.synced: Board[str, bool] = Board()
        self.leases: Board[str, float] = Board()

    def follow(self, clusters: frozenset[str]) -> None:
        for cluster in self._followed - clusters:
            self.synced.hide(cluster)
            self.leases.hide(cluster)
        self._followed = clusters
        self.look()

    def look(self) -> None:
        """There was contact, or there may have been none for long."""
        contact = self._contact()
        is_synced, until = self._clock() < contact.synced_until, contact.leased_until
        for cluster in self._followed:
            if until > 0:
                self.leases.show(cluster, until)
            self.synced.show(cluster, is_synced)
        self._news.set()

    async def run(self) -> None:
        """Say that it is too long ago when it is, until cancelled."""
        while True:
            self._news = trio.Event()
            left = self._contact().synced_until - self._clock()
            with trio.move_on_after(min(left, LOOK) if left > 0 else float("inf")):
                await self._news.wait()
                continue
            self.look()
