"""A store in memory, as its members see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

import trio

from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import Leadership, MemberKey, StoreUnavailableError, votes_show
from shardproxy.store.member import Member, Vote
from shardproxy.store.memory import MemoryDesk
from shardproxy.store.record import ShardRecord
from shardproxy.store.statistics import StoreStatistics

Acks = Board[MemberKey, int]


def no_acks() -> Acks:
    return Board(topic_of=itemgetter(1))


class MemberStore(MemoryDesk):
    """One member's view. `is_down`: nothing can be written."""

    group = "group"
    lingers = 0.0

    def __init__(
        self, acks: Acks, member: str = "self", *, members: Board[str, Member] | None = None
    ) -> None:
        super().__init__(member)
        self.statistics = StoreStatistics()
        self.records: Board[ShardKey, ShardRecord] = Board()
        self.synced: Board[str, bool] = Board()
        self.leases: Board[str, float] = Board()
        self.votes: Board[MemberKey, Vote] = Board(topic_of=itemgetter(1))
        self.acks = acks
        if members is not None:
            self.members = members
        self.is_down = False
        self.tries = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        raise NotImplementedError

    async def follow(self, clusters: Iterable[str]) -> None:
        raise NotImplementedError

    async def claim(self, cluster: str) -> Leadership:
        raise NotImplementedError

    async def announce(self, member: Member) -> None:
        self.tries += 1
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise StoreUnavailableError("no quorum")
        self.members.show(member.name, member)

    async def leave(self) -> None:
        raise NotImplementedError

    async def vote(self, votes: Mapping[ShardKey, Vote | None]) -> None:
        self.tries += 1
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise StoreUnavailableError("no quorum")
        votes_show(self.votes, self.member, votes)

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        raise NotImplementedError

    async def put_all(
        self, records: Sequence[ShardRecord], leadership: Leadership
    ) -> tuple[ShardRecord, ...]:
        raise NotImplementedError

    async def ack(self, key: ShardKey, changed: int | None) -> None:
        self.tries += 1
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise StoreUnavailableError("no quorum")
        if changed is None:
            self.acks.hide((self.member, key))
        else:
            self.acks.show((self.member, key), changed)
