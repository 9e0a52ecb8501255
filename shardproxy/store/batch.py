"""Changes that wait while one is being written are written together. Knows nothing of what they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Batches(Generic[T]):
    """Hands what waits to `write`, all of it at once, one batch after the other.

    A batch that has begun is finished whoever is cancelled, so `write` has to end by itself. What it
    raises is raised to all of the batch.
    """

    def __init__(self, write: Callable[[list[T]], Awaitable[None]]) -> None:
        self._write = write
        self._turn = trio.Lock()
        self._waiting: list[T] = []
        self._done: dict[int, Exception | None] = {}  # and why it may not have been written

    async def add(self, change: T) -> None:
        """Return when it was written, with others or alone."""
        mark = id(change)
        self._waiting.append(change)
        try:
            async with self._turn:
                if mark not in self._done:
                    batch, self._waiting = self._waiting, []
                    error: Exception | None = None
                    with trio.CancelScope(shield=True):
                        try:
                            await self._write(batch)
                        except Exception as why:  # noqa: BLE001 - raised below
                            error = why
                    self._done.update((id(each), error) for each in batch)
            if (failed := self._done[mark]) is not None:
                raise failed
        finally:
            self._done.pop(mark, None)
            if any(other is change for other in self._waiting):  # cancelled before anybody began
                self._waiting = [other for other in self._waiting if other is not change]
