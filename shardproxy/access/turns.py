"""Whose turn it is to ask a service: so many at once, and few of these for clients from one place.

Whoever waits does so behind those of its own origin first: an origin has but its few in the common line.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import trio

MAX_CALLS = 16  # at once to one service
MAX_CALLS_FROM = 4  # of these, for one origin
MAX_LINE = 256  # logins of one origin that wait or ask
MAX_LOGINS = 384  # of all origins: each holds a place that others need who ask nobody


class NoTurnError(Exception):
    """It did not come in time, or too many wait for theirs."""


@dataclass(slots=True)
class _Line:
    turns: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(MAX_CALLS_FROM))
    logins: int = 0  # that wait or ask


@dataclass(slots=True)
class Turns:
    """The lines of one service. One of an origin is there as long as somebody stands in it."""

    _all: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(MAX_CALLS))
    _lines: dict[str, _Line] = field(default_factory=dict)

    @asynccontextmanager
    async def take(self, origin: str, wait: float) -> AsyncIterator[None]:
        """Hold a turn; raise NoTurnError when none came within so many seconds."""
        line = self._lines.get(origin) or _Line()
        if line.logins >= MAX_LINE or sum(each.logins for each in self._lines.values()) >= MAX_LOGINS:
            raise NoTurnError
        self._lines[origin] = line
        line.logins += 1
        try:
            async with AsyncExitStack() as held:
                try:
                    with trio.fail_after(wait):
                        await held.enter_async_context(line.turns)
                        await held.enter_async_context(self._all)
                except trio.TooSlowError:
                    raise NoTurnError from None
                yield
        finally:
            line.logins -= 1
            if not line.logins:
                del self._lines[origin]

    def __len__(self) -> int:
        return len(self._lines)
