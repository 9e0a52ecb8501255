"""Which part of a shard's keys is its own while slots move, found out for all clients at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from shardproxy.model import SlotRange
from shardproxy.model.replication import ShardKey

KEPT = 1.0  # seconds for which what was found stands
ASKING = 2  # shards that are looked through at once
REMEMBERED = 1024  # shards and databases; then all are forgotten

Place = tuple[ShardKey, int]  # a shard's database


@dataclass(frozen=True, slots=True)
class _Found:
    slots: tuple[SlotRange, ...]
    part: float
    at: float  # trio's clock


@dataclass(slots=True)
class Shares:
    """One client looks; who asks meanwhile waits for what it finds."""

    looking: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(ASKING))
    _found: dict[Place, _Found] = field(default_factory=dict)
    _turns: dict[Place, trio.Lock] = field(default_factory=dict)

    async def part(
        self, place: Place, slots: tuple[SlotRange, ...], look: Callable[[], Awaitable[float]]
    ) -> float:
        """What `look` returned a moment ago, or returns now; raise what it raises."""
        if len(self._turns) >= REMEMBERED:
            self._turns, self._found = {}, {}
        async with self._turns.setdefault(place, trio.Lock()):
            found = self._found.get(place)
            if found is None or found.slots != slots or trio.current_time() - found.at >= KEPT:
                async with self.looking:
                    found = _Found(slots, await look(), trio.current_time())
                self._found[place] = found
            return found.part
