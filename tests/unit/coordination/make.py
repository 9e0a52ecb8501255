"""A store in memory, as its members see it."""

from __future__ import annotations

from operator import itemgetter

import trio

from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import Leadership, MemberKey, StoreUnavailableError
from shardproxy.store.record import ShardRecord

Acks = Board[MemberKey, int]


def no_acks() -> Acks:
    return Board(topic_of=itemgetter(1))


class MemberStore:
    """One member's view. `is_down`: nothing can be written."""

    group = "group"

    def __init__(self, acks: Acks, member: str = "self") -> None:
        self.records: Board[ShardKey, ShardRecord] = Board()
        self.acks = acks
        self.member = member
        self.is_down = False
        self.tries = 0

    async def claim(self) -> Leadership:
        raise NotImplementedError

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        raise NotImplementedError

    async def ack(self, key: ShardKey, changed: int) -> None:
        self.tries += 1
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise StoreUnavailableError("no quorum")
        self.acks.show((self.member, key), changed)
