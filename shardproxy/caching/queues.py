"""Who writes a key first: each key has a queue, and a request has its place in all of its keys' at once.

As places are taken together, in one step, no two requests wait for each other. Knows nothing of engines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable

import trio


class Places:
    """One request's places, a key each."""

    def __init__(
        self, events: dict[Hashable, trio.Event], leave: Callable[[Hashable, trio.Event], None]
    ) -> None:
        self._events = events
        self._leave = leave

    def has_turn(self, key: Hashable) -> bool:
        return self._events[key].is_set()

    async def wait_turn(self, key: Hashable) -> None:
        """Return when every request before this one is done with the key."""
        await self._events[key].wait()

    def leave(self, key: Hashable) -> None:
        """Be done with a key; the next one has its turn. Idempotent."""
        if key in self._events:
            self._leave(key, self._events.pop(key))

    def leave_all(self) -> None:
        for key in list(self._events):
            self.leave(key)


class KeyQueues:
    """The queues of all keys that anybody writes now; at most `most` requests stand in them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[Hashable, deque[trio.Event]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Places that are taken."""
        return self._count

    def enter(self, keys: Iterable[Hashable]) -> Places | None:
        """Stand in line for these keys; None where there are too many."""
        events = {key: trio.Event() for key in keys}
        if self._count + len(events) > self._most:
            return None
        for key, event in events.items():
            queue = self._waiting.setdefault(key, deque())
            queue.append(event)
            if len(queue) == 1:
                event.set()
            self._count += 1
        return Places(events, self._leave)

    def is_busy(self, key: Hashable) -> bool:
        return key in self._waiting

    def _leave(self, key: Hashable, event: trio.Event) -> None:
        queue = self._waiting[key]
        queue.remove(event)
        self._count -= 1
        if queue:
            queue[0].set()
        else:
            del self._waiting[key]
