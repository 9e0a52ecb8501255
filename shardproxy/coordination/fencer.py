"""Whether every proxy does what a record says: its claim is the fence, and their acks tell that it holds.

    record in the store ─> each member's follower ─> its data plane ─> ack ─> fencer

`strict` waits for all live members that serve the cluster. `fast` waits for our own data plane alone: the
others hear of it as soon as they can. Who only follows the store is never waited for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import trio

from shardproxy.failover.interfaces import FenceError
from shardproxy.failover.setup import ShardSetup
from shardproxy.model.board import Board, News
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import Store
from shardproxy.store.record import ShardRecord

NOTHING = -1  # older than any record
SERVED_WITHIN = 5.0  # seconds; a caller that cannot wait as long has a deadline of its own


class AckFencer:
    """Waits for our own data plane, and for the acks of the other members that are alive."""

    def __init__(
        self,
        store: Store,
        applied: Board[ShardKey, int],
        setups: Mapping[ShardKey, ShardSetup],
        *,
        served_within: float = SERVED_WITHIN,
    ) -> None:
        self._store = store
        self._applied = applied
        self._setups = setups
        self._served_within = served_within

    async def wait_served(self, record: ShardRecord) -> None:
        """Return when all that are waited for serve this record, or a later one.

        Raise FenceError naming who does not. One that leaves, or whose lease ends, is waited for no more.
        """
        setup = self._setups.get(record.key)
        is_fast = setup is not None and not setup.is_strict
        await self._wait(record, self._served_within, with_others=not is_fast)

    async def wait_everywhere(self, record: ShardRecord, *, within: float) -> None:
        await self._wait(record, within, with_others=True)

    async def _wait(self, record: ShardRecord, within: float, *, with_others: bool) -> None:
        if not self._behind(record, with_others=with_others):
            await trio.lowlevel.checkpoint()
            return
        news, key, store = News(), record.key, self._store
        self._applied.subscribe(news, key)
        store.acks.subscribe(news, key)
        store.members.subscribe(news)
        try:
            with trio.move_on_after(within):
                while self._behind(record, with_others=with_others):
                    await news.wait()
        finally:
            self._applied.unsubscribe(news, key)
            store.acks.unsubscribe(news, key)
            store.members.unsubscribe(news)
        if behind := self._behind(record, with_others=with_others):
            who = ", ".join(behind)
            raise FenceError(f"{key}: epoch {record.epoch} is not served by {who} yet")

    def served(self, key: ShardKey) -> int:
        """The latest change of the shard's record that all live members serve; 0 = none.

        Also where a promotion waits for nobody: what a member acknowledges by an older record still counts.
        """
        others = (self._store.acks.get((member, key), 0) for member in self._others(key))
        return min([self._applied.get(key, 0), *others])

    def _others(self, key: ShardKey) -> Iterator[str]:
        """The live members beside this one that serve the shard's cluster, as they say or show."""
        store = self._store
        for name, member in store.members.items():
            if name != store.member and (key.cluster in member.endpoints or (name, key) in store.acks):
                yield name

    def _behind(self, record: ShardRecord, *, with_others: bool) -> list[str]:
        key, store = record.key, self._store
        behind = [store.member] if self._applied.get(key, NOTHING) < record.changed else []
        if not with_others:
            return behind
        acks = store.acks
        late = (name for name in self._others(key) if acks.get((name, key), NOTHING) < record.changed)
        return sorted([*behind, *late])
