"""Waits until those whom nobody waits for cannot act by what they knew before.

A proxy that only follows the store says nothing of what it serves. It hears of a change within moments, or
notices in time that it is out of touch, and writes nothing to shards that it does not know to be unmoved.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from shardproxy.failover.interfaces import SlotDesk

MARGIN = 1.0  # seconds beside: clocks of two machines do not run alike, and a worker has to be told


@dataclass(slots=True)
class Lingering:
    """From one change, which stands since, on."""

    desk: SlotDesk
    _since: float | None = None

    def served(self) -> None:
        """All who are waited for serve the change; the first time counts."""
        if self._since is None:
            self._since = trio.current_time()

    @property
    def left(self) -> float:
        """Seconds, all of them before it was served at all."""
        lingers = self.desk.lingers
        if not lingers:
            return 0.0
        since = self._since if self._since is not None else trio.current_time()
        return max(0.0, since + lingers + MARGIN - trio.current_time())

    async def wait(self) -> None:
        """Return when nobody can know less."""
        await trio.sleep(self.left)
