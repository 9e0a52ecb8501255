"""What the data plane tells of logins and refusals, given to whoever listens.

    data plane ─> run_access_feed ─> AccessFeed ─┬─> ACL LOG
                                                 └─> the audit log

Holds nothing back for anybody: who is slow loses events, and can see how many.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Protocol

import trio

WAITING = 4096  # events one listener has not taken yet


class AccessEvent(Protocol):
    """Somebody came in or was kept out. Holds no secret."""

    @property
    def cluster(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def client_id(self) -> int: ...
    @property
    def address(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def object(self) -> bytes: ...
    @property
    def context(self) -> str: ...


@dataclass(slots=True, eq=False)
class Listener:
    """One who listens."""

    _send: trio.MemorySendChannel[AccessEvent]
    events: trio.MemoryReceiveChannel[AccessEvent]
    lost: int = 0  # that it was too slow for

    def tell(self, event: AccessEvent) -> None:
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            self.lost += 1


class AccessFeed:
    """Who listens; from then on it is told everything."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, waiting: int = WAITING) -> Listener:
        """Take part in what happens from now on, as long as the process runs."""
        listener = Listener(*trio.open_memory_channel[AccessEvent](waiting))
        self._listeners.append(listener)
        return listener

    def tell(self, event: AccessEvent) -> None:
        for listener in self._listeners:
            listener.tell(event)


async def run_access_feed(events: AsyncIterable[AccessEvent], feed: AccessFeed) -> None:
    """Tell all who listen, until there are no more events."""
    async for event in events:
        feed.tell(event)
