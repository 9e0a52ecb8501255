"""Numbers for what is served of a cluster without a controller: they grow, also beyond this process's end.

Noted are numbers to come, many at once: no change has to wait for a disk, or for a store that is away.
"""

from __future__ import annotations

from typing import Protocol

import trio

from shardproxy.store.interface import StoreUnavailableError

AHEAD = 1000  # numbers noted at once; a restart leaves out those that were not used
RETRY = 1.0  # seconds until a store that could not be reached is tried again


class EpochLedger(Protocol):
    """The part of the store that is used; the only place that knows it."""

    def last_epoch(self, cluster: str) -> int:
        """The highest number noted for a cluster; 0 = none."""

    async def note_epoch(self, cluster: str, epoch: int) -> None:
        """It is durable when this returns; raise StoreUnavailableError."""


class Epochs:
    """Gives a cluster's numbers."""

    def __init__(self, ledger: EpochLedger, cluster: str, above: int = 0) -> None:
        """All are above that, and above all that was noted."""
        self._ledger = ledger
        self._cluster = cluster
        self._last = max(above, ledger.last_epoch(cluster))
        self._noted = self._last
        self._is_low = trio.Event()

    def next(self, floor: int = 0) -> int:
        """A number above all before, and no less than the decider's own."""
        self._last = max(self._last + 1, floor)
        if self._noted - self._last < AHEAD // 2:
            self._is_low.set()
        return self._last

    async def run(self) -> None:
        """Note numbers before they are used, until cancelled."""
        while True:
            wanted = self._last + AHEAD
            try:
                await self._ledger.note_epoch(self._cluster, wanted)
            except StoreUnavailableError:
                await trio.sleep(RETRY)  # what the decider says is followed meanwhile
                continue
            self._noted = wanted
            if self._noted - self._last >= AHEAD // 2:
                self._is_low = trio.Event()
            await self._is_low.wait()
