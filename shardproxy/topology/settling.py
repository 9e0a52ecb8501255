"""Acknowledges what is served: what is held only once nothing of it is under way any more.

    follower ─ served ─┬─ not held, or drained at once ─> applied
                       └─ held ─> asks the data plane until it has drained ─> applied

It holds up nothing else: what is served later is acknowledged at once, and takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import trio

from shardproxy.model.board import Board, News
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord, ShardState

ASKED_FOR = 0.25  # seconds that the data plane is asked for at a time; what was served later is seen then
PAUSE = 0.01  # seconds between, where it says at once that it has not


class Settles(Protocol):
    """The part of the data plane that knows what is under way."""

    async def settle(self, cluster: str, within: float) -> bool:
        """Whether, within so many seconds, nothing is under way any more that the cluster holds."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A shard as it is served now."""

    key: ShardKey
    changed: int
    is_held: bool = False


def applied_of(record: ShardRecord) -> Applied:
    """While a shard fails over nobody moves its slots, and what is under way there must not hold that up."""
    return Applied(record.key, record.changed, record.hold is not None and record.state is ShardState.OK)


@dataclass(slots=True)
class Settling:
    """One follower's. It alone writes `applied` for what is served here."""

    dataplane: Settles
    applied: Board[ShardKey, int]
    _held: dict[str, tuple[Applied, ...]] = field(default_factory=dict)  # by cluster, as served last
    _asking: set[str] = field(default_factory=set)
    _news: News = field(default_factory=News)

    def waits(self, shards: Sequence[Applied]) -> bool:
        """Whether some of these are only acknowledged once what is under way has drained."""
        return any(shard.is_held and self._is_new(shard) for shard in shards)

    def served(self, cluster: str, shards: Sequence[Applied], *, is_settled: bool = False) -> None:
        """All workers serve these shards of the cluster so; `is_settled`: and nothing held is under way."""
        held = tuple(shard for shard in shards if shard.is_held and self._is_new(shard) and not is_settled)
        for shard in shards:
            if not shard.is_held or is_settled:
                self.applied.show(shard.key, shard.changed)
        if held:
            self._held[cluster] = held
            self._news.ring()
        else:
            self._held.pop(cluster, None)

    def forget(self, cluster: str) -> None:
        """It is served no more, or not as was said."""
        self._held.pop(cluster, None)

    async def run(self) -> None:
        """Ask for all clusters that hold something, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                for cluster in self._held.keys() - self._asking:
                    self._asking.add(cluster)
                    nursery.start_soon(self._ask, cluster)
                await self._news.wait()

    async def _ask(self, cluster: str) -> None:
        try:
            while held := self._held.get(cluster):
                is_settled = await self.dataplane.settle(cluster, ASKED_FOR)
                if self._held.get(cluster) is not held:
                    continue  # it was asked of what was served before
                if is_settled:
                    del self._held[cluster]
                    for shard in held:
                        self.applied.show(shard.key, shard.changed)
                else:
                    await trio.sleep(PAUSE)
        finally:
            self._asking.discard(cluster)

    def _is_new(self, shard: Applied) -> bool:
        return self.applied.get(shard.key) != shard.changed
