"""Says in the store what this process is: where it is reached, what it serves, whether it drains.

What matters to others is said at once, counts some seconds later. What the store has forgotten is said again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import structlog
import trio

from shardproxy.model.board import News
from shardproxy.store.interface import Store, StoreUnavailableError
from shardproxy.store.member import Member

PAUSE = 1.0  # seconds between announcements
COUNTED = 5.0  # seconds until another number of clients is said

log = structlog.get_logger()


class Announcer:
    """One process's; `describe` tells what it is now."""

    def __init__(self, store: Store, describe: Callable[[], Member]) -> None:
        self._store = store
        self._describe = describe
        self._news = News()
        self._counted_at = float("-inf")

    def ring(self) -> None:
        """Something of it has changed."""
        self._news.ring()

    async def announce(self) -> None:
        """Say it now; raise StoreUnavailableError."""
        await self._store.announce(self._describe())
        self._counted_at = trio.current_time()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep what is said as it is, until cancelled."""
        is_down = False
        self._store.members.subscribe(self._news, self._store.member)
        try:
            task_status.started()
            while True:
                try:
                    if self._is_due():
                        await self.announce()
                    is_down = False
                except StoreUnavailableError as error:
                    if not is_down:
                        log.warning("other proxies do not hear of this one", why=str(error))
                    is_down = True
                await trio.sleep(PAUSE)
                with trio.move_on_after(COUNTED - PAUSE if not is_down else 0):
                    await self._news.wait()
        finally:
            self._store.members.unsubscribe(self._news, self._store.member)

    def _is_due(self) -> bool:
        said, now = self._store.members.get(self._store.member), self._describe()
        if said is None or replace(said, clients=now.clients) != now:
            return True
        return said.clients != now.clients and trio.current_time() >= self._counted_at + COUNTED
