"""Which of several proxies leads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import trio
import trio.testing

from shardproxy.failover.controller import Inputs, run_controller
from shardproxy.failover.setup import ShardSetup
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.member import Finding, Member, Vote
from tests.unit.coordination.make import MemberStore, no_acks

CLUSTER = "main"


@dataclass
class Leading:
    """Leads until it resigns."""

    store: MemberStore
    cluster: str
    revision: int = 1

    def covers(self, seconds: float) -> bool:
        return True

    async def resign(self) -> None:
        self.store.leaders.hide(self.cluster)


class Store(MemberStore):
    leaders: Board[str, str]

    async def claim(self, cluster: str) -> Any:
        await trio.lowlevel.checkpoint()
        self.leaders.show(cluster, self.member)
        return Leading(self, cluster)


async def test_who_has_failover_off_leads_only_while_nobody_else_has_it_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = Store(no_acks())
    store.leaders = Board()
    unused = cast("Any", None)  # no shard is tended: only who leads matters here
    inputs = Inputs(Board(), Board(), cast("Any", store), unused, unused)
    decides = frozenset({CLUSTER})
    store.members.show("other", Member("other", automatic=decides))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_controller, CLUSTER, inputs)
        await trio.sleep(5)
        assert CLUSTER not in store.leaders
        store.members.hide("other")
        await trio.sleep(1)
        assert store.leaders[CLUSTER] == store.member
        store.members.show("other", Member("other", automatic=decides))
        await trio.sleep(1)
        assert CLUSTER not in store.leaders
        store.members.show("other", Member("other", is_draining=True, automatic=decides))
        await trio.sleep(2)
        assert store.leaders[CLUSTER] == store.member
        nursery.cancel_scope.cancel()


async def test_whose_config_has_fewer_shards_leaves_leading_to_who_watches_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = Store(no_acks())
    store.leaders = Board()
    unused = cast("Any", None)
    setups: Board[ShardKey, ShardSetup] = Board()
    inputs = Inputs(setups, Board(), cast("Any", store), unused, unused)
    ours, theirs = ShardKey(CLUSTER, 0), ShardKey(CLUSTER, 1)
    setups.show(ours, ShardSetup(ours, (), is_automatic=False))
    store.members.show("other", Member("other"))
    for key in (ours, theirs):
        store.votes.show(("other", key), Vote("10.0.0.1:6379", Finding.REACHES))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_controller, CLUSTER, inputs)
        await trio.sleep(5)
        assert CLUSTER not in store.leaders
        setups.hide(ours)
        store.votes.hide(("other", ours))
        store.votes.hide(("other", theirs))  # it does not watch more any longer
        await trio.sleep(1)
        assert CLUSTER in store.leaders
        nursery.cancel_scope.cancel()
