"""How many may ask a source at once, how many may wait for that, and until when."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from shardproxy.caching.sources.interface import SourceBusyError, SourceSlowError


class Turns:
    """Turns at a source, given in the order in which they are asked for."""

    def __init__(self, most: int, waiting: int) -> None:
        self._free = trio.Semaphore(most, max_value=most)
        self.most = most
        self._most_waiting = waiting
        self._waiting = 0

    @property
    def taken(self) -> int:
        return self.most - self._free.value

    @property
    def waiting(self) -> int:
        return self._waiting

    @asynccontextmanager
    async def turn(self, deadline: float) -> AsyncIterator[None]:
        """Hold a turn; raise SourceBusyError when too many wait, or none is free before the deadline."""
        await self._take(deadline)
        try:
            yield
        finally:
            self._free.release()

    async def _take(self, deadline: float) -> None:
        try:
            self._free.acquire_nowait()
            return
        except trio.WouldBlock:
            if self._waiting >= self._most_waiting:
                raise SourceBusyError("too many wait for the source") from None
        self._waiting += 1
        try:
            with trio.fail_at(deadline):
                await self._free.acquire()
        except trio.TooSlowError:
            raise SourceBusyError("the source had no connection free in time") from None
        finally:
            self._waiting -= 1


@contextmanager
def in_time(deadline: float) -> Iterator[None]:
    """Give up at the deadline; raise SourceSlowError."""
    try:
        with trio.fail_at(deadline):
            yield
    except trio.TooSlowError:
        raise SourceSlowError("the source did not answer in time") from None
