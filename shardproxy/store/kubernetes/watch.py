"""Keeps a mirror as the objects are: lists them, watches what comes after, and begins anew where that ends.

list ─> watch ─┬─ ended, lost ──> watch from the last version seen
        ^      ├─ silent ───────> the same: `is_silent` says whether there should have been news
        │      └─ 410 Gone ─────> list
        └────────────────────────────┘
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import cast

import structlog
import trio

from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.kubernetes.api import Api, Event
from shardproxy.store.kubernetes.errors import GoneError
from shardproxy.store.kubernetes.mirror import Mirror
from shardproxy.store.kubernetes.objects import Stored, stored_of

log = structlog.get_logger()

WAIT_FIRST = 0.1  # seconds before it is tried again, doubling
WAIT_MOST = 5.0


class Watcher:
    """Runs for ever. `heard` is called at each sign of life: with the object that it showed, and whether it
    was listed."""

    def __init__(
        self,
        api: Api,
        path: str,
        selector: str,
        mirror: Mirror,
        *,
        heard: Callable[[Stored | None, bool], None],
    ) -> None:
        self._api = api
        self._path = path
        self._selector = selector
        self._mirror = mirror
        self._heard = heard
        self._scope = trio.CancelScope()
        self.is_listed = trio.Event()
        self._version: str | None = None  # what was seen last; None = list
        self._was_lost = False

    def restart(self) -> None:
        """There should have been news: give up this connection, and watch on another one."""
        log.debug("kubernetes: watch is silent, beginning anew")
        self._scope.cancel()

    def list_again(self) -> None:
        """What comes by this connection may be old."""
        self._version = None
        self._scope.cancel()

    async def run(self) -> None:
        wait = WAIT_FIRST
        while True:
            began = trio.current_time()
            try:
                if self._version is None:
                    await self._list()
                await self._watch()
                self._back()
            except GoneError:
                self._version = None
                log.debug("kubernetes: watch is too old, listing again")
            except StoreUnavailableError as error:
                self._lost(str(error))
            if trio.current_time() - began > WAIT_MOST:
                wait = WAIT_FIRST
            # Spread, so that many do not come back in the same moment.
            await trio.sleep(wait * random.uniform(0.5, 1))
            wait = min(WAIT_MOST, 2 * wait)

    async def _list(self) -> None:
        listed = await self._api.get(self._path, {"labelSelector": self._selector})
        self._version = str(listed["metadata"]["resourceVersion"])
        if int(self._version) < self._mirror.version:
            log.error(
                "kubernetes: the API server has gone back, and what it lost is served as it was",
                version=self._version,
                was=self._mirror.version,
                why="was its etcd restored? Restart the proxies one by one: their kept files hold epochs up",
            )
        found = [seen for item in listed["items"] if (seen := _stored(item)) is not None]
        self._mirror.take_all(found, int(self._version))
        self._heard(None, True)
        for seen in found:
            self._heard(seen, True)
        self.is_listed.set()
        self._back()

    async def _watch(self) -> None:
        """See what comes after the version, which grows with it, until the watch ends."""
        if self._version is None:
            return
        query = {"labelSelector": self._selector, "resourceVersion": self._version}
        with trio.CancelScope() as self._scope:
            await self._api.watch(self._path, query, self._see)

    def _see(self, event: Event) -> None:
        if self._version is None:  # what comes is too old
            return
        self._version = str(event.object["metadata"]["resourceVersion"])
        self._show(event)
        self._mirror.complete_to(int(self._version))

    def _show(self, event: Event) -> None:
        if event.kind == "BOOKMARK":
            self._heard(None, False)
            return
        seen = _stored(event.object)
        if seen is None:
            return
        if event.kind == "DELETED":
            self._mirror.drop(seen.name, seen.version)
            self._heard(None, False)
        else:
            self._mirror.take(seen)
            self._heard(seen, False)

    def _lost(self, why: str) -> None:
        if not self._was_lost:
            log.warning("kubernetes: API server is lost", why=why)
        self._was_lost = True

    def _back(self) -> None:
        if self._was_lost:
            log.info("kubernetes: API server is back")
        self._was_lost = False


def _stored(value: object) -> Stored | None:
    """None for what is not ours, though it has our labels."""
    try:
        return stored_of(cast(dict[str, object], value))
    except ValueError:
        return None
