"""What is held is acknowledged when nothing of it is under way any more, and holds up nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import trio
from trio.testing import MockClock

from shardproxy.model import Hold, SlotRange
from shardproxy.model.seal import seal_of
from shardproxy.store.record import ShardState
from tests.unit.topology.make import KEY, OTHER, A, B, C, following, record, redis

HOLD = Hold((SlotRange(0, 99),))


async def test_what_is_held_is_acknowledged_when_it_has_drained(autojump_clock: MockClock) -> None:
    async with following(main=redis((A, B), (C,))) as site:
        site.put(record(changed=5), record(primary=C, nodes=(C,), key=OTHER, changed=6))
        await site.settle()
        assert site.follower.applied == {KEY: 5, OTHER: 6}
        site.plane.under_way = {"main"}
        held = record(changed=7, hold=HOLD)
        site.put(held)
        await trio.sleep(1)
        assert site.plane.specs["main"]["shards"][0]["hold"] == {"slots": [(0, 99)], "only_writes": False}
        assert site.follower.applied == {KEY: 5, OTHER: 6}
        site.put(record(primary=C, nodes=(C,), key=OTHER, changed=8))
        await trio.sleep(1)
        assert site.follower.applied == {KEY: 5, OTHER: 8}
        site.plane.under_way = set()
        await trio.sleep(1)
        assert site.follower.applied == {KEY: 7, OTHER: 8}


async def test_what_is_not_under_way_is_acknowledged_with_what_is_served() -> None:
    async with following(main=redis((A, B), (C,))) as site:
        site.put(record(changed=5, hold=HOLD), record(primary=C, nodes=(C,), key=OTHER, changed=6))
        await site.settle()
        assert site.follower.applied == {KEY: 5, OTHER: 6}
        assert (site.plane.settles, site.plane.settles_at_once) == (1, 1)
        site.put(record(primary=C, nodes=(C,), key=OTHER, changed=7))
        await site.settle()
        assert site.follower.applied == {KEY: 5, OTHER: 7}
        assert site.plane.settles == 1, "what is held is acknowledged already"


async def test_a_worker_that_is_late_does_not_make_what_is_held_settled(autojump_clock: MockClock) -> None:
    async with following(main=redis((A, B))) as site:
        site.plane.late_until = trio.current_time() + 0.05
        site.put(record(changed=5, hold=HOLD))
        await site.settle()
        assert site.follower.applied == {}
        assert site.plane.settles == 0
        await trio.sleep(1)
        assert site.follower.applied == {KEY: 5}


async def test_who_lets_go_again_is_acknowledged_at_once(autojump_clock: MockClock) -> None:
    async with following(main=redis((A, B))) as site:
        site.plane.under_way = {"main"}
        site.put(record(changed=5, hold=HOLD))
        await trio.sleep(1)
        assert site.follower.applied == {}
        site.put(record(changed=6))
        await trio.sleep(0.01)
        assert site.follower.applied == {KEY: 6}
        site.plane.under_way = set()
        await trio.sleep(1)
        assert site.follower.applied == {KEY: 6}


async def test_a_failover_is_not_held_up_by_what_is_held(autojump_clock: MockClock) -> None:
    async with following(main=redis((A, B))) as site:
        site.plane.under_way = {"main"}
        held = record(changed=5, hold=HOLD)
        site.put(held)
        await trio.sleep(1)
        fenced = replace(held.fenced(), changed=6)
        assert (fenced.state, fenced.hold) == (ShardState.FENCING, HOLD)
        site.put(fenced)
        await trio.sleep(0.01)
        assert site.follower.applied == {KEY: 6}


async def test_who_may_not_hear_that_slots_move_asks_for_their_seal(autojump_clock: MockClock) -> None:
    async with following(main=redis((A, B))) as site:

        def served() -> Any:
            return site.plane.specs["main"]["shards"][0]

        site.follower.group = lambda: "us"
        site.put(record(changed=5, generation=7))
        await site.settle()
        assert "seal" not in served()
        site.follower.synced.show("main", False)
        await site.settle()
        assert served()["seal"] == seal_of("us", KEY, 7)
        site.follower.unsealed.show(KEY, "slots have left it")
        await site.settle()
        assert served()["read_only"] == "slots have left it"
        site.follower.synced.show("main", True)
        await site.settle()
        assert served().keys() & {"seal", "read_only"} == set()


async def test_who_only_follows_asks_while_slots_move(autojump_clock: MockClock) -> None:
    async with following(main=redis((A, B))) as site:
        site.follower.is_waited_for = False
        site.put(record(changed=6, generation=2, is_mixed=True))
        await site.settle()
        assert site.plane.specs["main"]["shards"][0]["seal"] == seal_of("", KEY, 2)
        assert site.follower.seals() == {KEY: seal_of("", KEY, 2)}
        site.put(record(changed=7))
        await site.settle()
        assert "seal" not in site.plane.specs["main"]["shards"][0]
