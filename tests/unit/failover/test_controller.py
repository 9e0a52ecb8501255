"""Which of several proxies leads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import trio
import trio.testing

from shardproxy.failover.controller import Inputs, run_controller
from shardproxy.model.board import Board
from shardproxy.store.member import Member
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
