"""Changes that wait while one is being written are written together. Knows nothing of what they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Batches(Generic[T]):
    """Hands what waits to `write`, all of it at once, one batch after the other.

    A batch that has begun is finished whoever is cancelled, so `write` has to end by itself.
    """

    def __init__(self, write: Callable[[list[T]], Awaitable[None]]) -> None:
        self._write = write
        self._turn = trio.Lock()
        self._waiting: list[T] = []
        self._done: set[int] = set()

    async def add(self, change: T) -> None:
        """Return when it was written, with others or alone."""
        mark = id(change)
        self._waiting.append(change)
        try:
            async with self._turn:
                if mark not in self._done:
                    batch, self._waiting = self._waiting, []
                    self._done.update(map(id, batch))
                    with trio.CancelScope(shield=True):
                        await self._write(batch)
        finally:
            self._done.discard(mark)
            if any(other is change for other in self._waiting):  # cancelled before anybody began
                self._waiting = [other for other in self._waiting if other is not change]
