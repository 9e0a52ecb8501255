"""Commits that were not answered, and may come yet: once they can come no more, their keys are forgotten.

Whoever writes next waits at the lock of the key in the database, and so does what looks here: `wait` is a
statement that does nothing but that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
import trio

from shardproxy.caching.loading import FIRST_PAUSE
from shardproxy.caching.plan import Plan
from shardproxy.caching.sources.interface import SourceError

LONGEST_PAUSE = 1.0  # seconds between looks at it
MOST = 1024  # such commits at once; of more, keys are forgotten by whoever writes them next
WITHIN = 600.0  # seconds for a database to come back that has not answered a COMMIT

log = structlog.get_logger()


class Settling:
    """Those of one way to write."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._count = 0

    def begin(self, plan: Plan, key: bytes, forget: Callable[[], Awaitable[None]]) -> None:
        """Have what was loaded beside that commit gone, by `forget`, as soon as it is over."""
        if self._count < MOST:
            self._count += 1
            self._nursery.start_soon(self._settle, plan, key, forget)

    async def _settle(self, plan: Plan, key: bytes, forget: Callable[[], Awaitable[None]]) -> None:
        pause, is_over = FIRST_PAUSE, False
        with trio.move_on_after(WITHIN) as late:
            while not is_over:
                await trio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                try:
                    async with plan.writing(key, "wait", {}):
                        is_over = True
                except SourceError:
                    pass
                except Exception:  # a bug in one source must not end all caching
                    log.exception("a commit cannot be waited for", cluster=plan.cluster, rule=plan.match)
                    pause = LONGEST_PAUSE
        self._count -= 1
        if late.cancelled_caught:
            log.warning(
                "it is not known whether a write was committed", cluster=plan.cluster, rule=plan.match
            )
        await forget()
