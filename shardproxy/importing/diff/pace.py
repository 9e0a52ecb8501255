"""How fast others are asked."""

from __future__ import annotations

import trio

ELEMENTS = 50  # of a large value that count as one key


class Pace:
    """Lets through so many keys a second, however they come; never more than one second's worth at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = float("-inf")

    async def take(self, keys: float) -> None:
        """Return when that many may be asked for."""
        now = trio.current_time()
        due = max(self._next, now)
        self._next = due + keys / self._rate
        if due > now:
            await trio.sleep_until(due)
        else:
            await trio.lowlevel.checkpoint()
