"""The other process on this machine that has the same state file, while one takes over from the other.

One of them has the lock, and leads. It tells the other one of each change ("look"), waits for its acks as for
those of any member, and counts it out when it was silent for longer than its lease. The other one follows the
file, and knows by the answers to its beats until when it is waited for.

    beat n ─>          <─ heard n       both ways, twice a second
    look ─>            the file is written
    ack [cluster, shard, changed] ─>          changed null: it serves the shard no more
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import trio

from shardproxy.model.replication import ShardKey
from shardproxy.store.local.link import Link

TTL = 3.0  # seconds
BEAT = 0.5  # seconds


class Twin:
    """Keeps up a lease at the other process, and what that one says of itself."""

    def __init__(
        self,
        link: Link,
        name: str,
        *,
        look: Callable[[], None],
        acked: Callable[[ShardKey, int | None], None],
        gone: Callable[[], None],
        renewed: Callable[[float], None],
    ) -> None:
        self._link = link
        self.name = name
        self._gone = gone
        self._renewed = renewed
        self._beats: dict[int, float] = {}  # when each was sent that has not been heard
        self._last = 0
        self._heard = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.until = self._heard + TTL  # how long it waits for this process
        link.on("beat", self._beaten)
        link.on("heard", self._answered)
        link.on("look", lambda _: look())
        link.on("ack", lambda said: acked(*_ack_of(said)))

    def look(self) -> None:
        self._link.say("look", True)

    def ack(self, key: ShardKey, changed: int | None) -> None:
        self._link.say("ack", [key.cluster, key.index, changed])

    async def run(self) -> None:
        """Until it has gone, or was silent for longer than its lease."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_link, nursery.cancel_scope)
                while _now() < self._heard + TTL:
                    self._last += 1
                    self._beats[self._last] = _now()
                    self._link.say("beat", self._last)
                    await trio.sleep(BEAT)
                nursery.cancel_scope.cancel()
        finally:
            self.until = min(self.until, _now())  # it may count us out as soon as it notices
            self._gone()

    async def _run_link(self, scope: trio.CancelScope) -> None:
        await self._link.run()
        scope.cancel()

    def _beaten(self, number: Any) -> None:
        self._heard = _now()
        self._link.say("heard", number)

    def _answered(self, number: Any) -> None:
        sent = self._beats.pop(int(number), None)
        if sent is not None:
            self.until = max(self.until, sent + TTL)
            self._renewed(self.until)


def _ack_of(said: Any) -> tuple[ShardKey, int | None]:
    cluster, index, changed = said
    return ShardKey(str(cluster), int(index)), int(changed) if changed is not None else None


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
