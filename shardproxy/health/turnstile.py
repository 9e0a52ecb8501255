"""How many connections are opened at a time: when we are short of CPU, more at once would all be too late.

To open one and to ask all that is asked then takes us milliseconds. Who takes longer waits for its node, and
gives up its place: nodes that do not answer hold up nobody for long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

PLACES = 16
HOLD = 0.1  # seconds a place is held at most


class Turnstile:
    """Lets so many pass at a time, in the order in which they came."""

    def __init__(self, places: int = PLACES, hold: float = HOLD) -> None:
        self._free = trio.Semaphore(places)
        self._hold = hold

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Hold a place within the block, but not for long."""
        await self._free.acquire()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._free_later)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def _free_later(self) -> None:
        try:
            await trio.sleep(self._hold)
        finally:
            self._free.release()
