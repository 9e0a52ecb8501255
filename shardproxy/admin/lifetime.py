"""How long an HTTP connection may live: longer while its client takes what a page streams to it."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import trio

MAX_AGE = 60.0  # seconds; of a page that streams, from the last line that its client has taken
LIFETIME = "shardproxy.lifetime"  # in the scope of a request: its connection's


class Lifetime:
    """One connection's."""

    def __init__(self) -> None:
        self._ends = trio.current_time() + MAX_AGE

    def extend(self) -> None:
        self._ends = trio.current_time() + MAX_AGE

    async def wait_over(self) -> None:
        while (ends := self._ends) > trio.current_time():  # noqa: ASYNC110  # no event tells the time
            await trio.sleep_until(ends)


def extend(scope: MutableMapping[str, Any]) -> None:
    """A request's client has just taken something of what is streamed to it."""
    lifetime = scope.get(LIFETIME)
    if lifetime is not None:
        lifetime.extend()
