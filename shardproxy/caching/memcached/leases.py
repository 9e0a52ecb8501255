"""Who loads a key, by marks in its own place: as caching.leases, without scripts.

none ── claim ──> LOADING ── fill ──> the value
                     │  └── missing ─> MISSING, for a while
                     └── any write ──> another cas: the fill is refused
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from shardproxy.caching.leases import Claim, Command, Held, Kind
from shardproxy.caching.memcached.items import (
    FOREVER,
    LONGEST_RELATIVE,
    Item,
    Items,
    Mark,
    lease_seconds,
    lifetime,
    request,
)

CLOCK = 1 << 24  # seconds, by which the time in a mark goes round


class MarkLeases:
    """Asks for leases of keys in memcached. All raise EngineDownError and EngineRefusedError."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self._cas: dict[bytes, int] = {}  # of the marks of those who load here, by their tokens

    async def claim(self, held: Held, kind: Kind, milliseconds: int, deadline: float) -> Claim:
        """Loads of what is there are never asked for: memcached keeps no old values."""
        cluster, key, seconds = held.names.cluster, held.key, lease_seconds(milliseconds)
        item, is_ours = await self._items.mark(cluster, key, Mark.LOADING, seconds, deadline, b"ME")
        if not is_ours and item is not None and is_over(item, seconds):
            when = b"C%d" % item.cas
            item, is_ours = await self._items.mark(cluster, key, Mark.LOADING, seconds, deadline, when)
        if is_ours and item is not None:
            self._cas[held.token] = item.cas
            return Claim.MINE
        if item is not None and item.is_value:
            return Claim.THERE
        return Claim.MISSING if item is not None and item.mark is Mark.MISSING else Claim.BUSY

    async def fill(
        self, held: Held, kind: Kind, commands: Sequence[Command], milliseconds: int, deadline: float
    ) -> bool:
        """Whether the value was stored: not where the lease has ended or a write has cancelled it."""
        value = commands[0][2]
        assert isinstance(value, bytes), "json and strings alone are loaded into memcached"
        return await self._end(held, deadline, b"T%d" % lifetime(milliseconds), value)

    async def missing(self, held: Held, kind: Kind, milliseconds: int, deadline: float) -> bool:
        """Remember that there is no row; whether the lease was ours still."""
        if milliseconds <= 0:
            return await self._give_up(held, deadline)
        seconds = min(lease_seconds(milliseconds), LONGEST_RELATIVE)
        flags = Mark.MISSING << 24 | (int(time.time()) + seconds) % CLOCK
        return await self._end(held, deadline, b"F%d" % flags, b"T%d" % seconds, b"")

    async def release(self, held: Held, deadline: float) -> None:
        """Give it back."""
        await self._give_up(held, deadline)

    async def _end(self, held: Held, deadline: float, *rest: bytes) -> bool:
        if (cas := self._cas.pop(held.token, None)) is None:
            return False
        *flags, data = rest
        words = request(b"ms", held.key, b"C%d" % cas, *flags, data=data)
        return (await self._items.change(held.names.cluster, held.key, words, deadline))[0] == b"HD"

    async def _give_up(self, held: Held, deadline: float) -> bool:
        if (cas := self._cas.pop(held.token, None)) is None:
            return False
        words = request(b"md", held.key, b"C%d" % cas)
        return (await self._items.change(held.names.cluster, held.key, words, deadline))[0] == b"HD"


def is_over(item: Item, seconds: int) -> bool:
    """Whether what stands in place of a value is of no use: a client's own, or one that lives too long.

    Clients touch what they do not see. A lease ends after so many seconds; that there is no row is known up
    to a time that the mark says.
    """
    if item.is_place:
        return True
    if item.mark is Mark.MISSING:
        return (int(time.time()) - item.flags) % CLOCK < CLOCK // 2
    return item.mark is not None and (item.left == FOREVER or item.left > seconds)
