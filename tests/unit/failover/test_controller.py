"""Which of several proxies leads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import trio
import trio.testing

from shardproxy.failover.chores import Chores
from shardproxy.failover.controller import Inputs, run_controller, run_watch
from shardproxy.failover.setup import ShardSetup, record_new
from shardproxy.failover.shard.task import news_of
from shardproxy.health.monitor import Boards
from shardproxy.model import Hold, SlotRange
from shardproxy.model.board import LATER, Board, News
from shardproxy.model.replication import ShardKey
from shardproxy.store.member import Finding, Member, Vote
from shardproxy.store.record import ShardRecord, ShardState
from tests.unit.coordination.make import MemberStore, no_acks
from tests.unit.failover.make import KEY, A, B, primary, setup
from tests.unit.failover.make import health as health_of

CLUSTER = "main"

Records = Board[ShardKey, ShardRecord]


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


async def test_a_shards_task_hears_of_slots_when_nobody_waits_any_more_and_of_its_nodes_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store, health, setups = MemberStore(no_acks()), Boards().health, Board[ShardKey, ShardSetup]()
    shared = cast("Any", SimpleNamespace(store=store, health=health, setups=setups, chores=Chores()))
    held = replace(record_new(setup(A, B)), hold=Hold((SlotRange(0, 99),)), changed=2)

    async def took(news: News) -> float:
        began = trio.current_time()
        await news.wait()
        return round(trio.current_time() - began, 3)

    with news_of(shared, KEY) as news:
        store.records.show(KEY, held)
        store.acks.show(("self", KEY), 2)
        assert await took(news) == LATER
        health.show((KEY, A), health_of(primary()))
        assert await took(news) == 0
        store.records.show(KEY, replace(held, hold=None, changed=3))
        store.votes.show(("other", KEY), Vote(str(A), Finding.SUSPECT))
        assert await took(news) == 0


async def test_who_watches_nodes_hears_of_other_roles_and_of_no_slots() -> None:
    setups, records, watched = Board[ShardKey, ShardSetup](), Records(), Records()
    of = setup(A, B)
    stored = replace(record_new(of), primary=A, state=ShardState.OK, revision=1, changed=1)
    setups.show(KEY, of)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_watch, setups, records, watched)
        assert watched[KEY] == record_new(of)
        records.show(KEY, stored)
        await trio.testing.wait_all_tasks_blocked()
        seen = watched.version
        slots = (SlotRange(0, 99),)
        held = replace(stored, slots=slots, hold=Hold(slots), generation=1, revision=2, changed=2)
        for other in (held, replace(held, is_mixed=True, slots=(), revision=3, changed=3)):
            records.show(KEY, other)
            await trio.testing.wait_all_tasks_blocked()
        assert watched.version == seen
        fenced = replace(held.fenced(), revision=4, changed=4)
        records.show(KEY, fenced)
        await trio.testing.wait_all_tasks_blocked()
        assert (watched[KEY].epoch, watched[KEY].primary) == (fenced.epoch, None)
        records.show(KEY, replace(fenced, floor=7, revision=5))
        await trio.testing.wait_all_tasks_blocked()
        assert watched[KEY].floor == 7
        setups.hide(KEY)
        await trio.testing.wait_all_tasks_blocked()
        assert not watched
        setups.show(KEY, of)
        await trio.testing.wait_all_tasks_blocked()
        assert watched[KEY].epoch == fenced.epoch
        nursery.cancel_scope.cancel()
