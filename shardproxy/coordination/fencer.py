"""Whether every proxy does what a record says: its claim is the fence, and their acks tell that it holds.

    record in the store ─> each member's follower ─> its data plane ─> ack ─> fencer

A member that does not serve a shard has nothing to stop, and acknowledges each of its records as it comes.
"""

from __future__ import annotations

import trio

from shardproxy.failover.interfaces import FenceError
from shardproxy.model.board import News
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import Store
from shardproxy.store.record import ShardRecord

NOTHING = -1  # older than any record
SERVED_WITHIN = 5.0  # seconds; a caller that cannot wait as long has a deadline of its own


class AckFencer:
    """Waits for the acks of all members that are alive.

    A member is one from before it serves until nobody can be served by it any more: it has left, or its
    lease has ended.
    """

    def __init__(self, store: Store, *, served_within: float = SERVED_WITHIN) -> None:
        self._acks = store.acks
        self._members = store.members
        self._served_within = served_within

    async def wait_served(self, record: ShardRecord) -> None:
        """Return when every member serves this record or a later one; raise FenceError naming who does not.

        A member that leaves, or whose lease ends, is waited for no more.
        """
        news = News()
        self._acks.subscribe(news, record.key)
        self._members.subscribe(news)
        try:
            with trio.move_on_after(self._served_within):
                while self._behind(record):
                    await news.wait()
        finally:
            self._acks.unsubscribe(news, record.key)
            self._members.unsubscribe(news)
        if behind := self._behind(record):
            who = ", ".join(behind)
            raise FenceError(f"{record.key}: epoch {record.epoch} is not served by {who} yet")
        await trio.lowlevel.checkpoint()

    def served(self, key: ShardKey) -> int:
        """The latest change of the shard's record that all members serve; 0 = none."""
        return min((self._acks.get((member, key), 0) for member in self._members), default=0)

    def _behind(self, record: ShardRecord) -> list[str]:
        return sorted(
            member
            for member in self._members
            if self._acks.get((member, record.key), NOTHING) < record.changed
        )
