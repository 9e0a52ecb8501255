"""What is held is acknowledged when nothing of it is under way any more, and holds up nothing else."""

from __future__ import annotations

from dataclasses import replace

import trio
from trio.testing import MockClock

from shardproxy.model import Hold, SlotRange
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


async def test_who_does_not_know_whether_slots_have_moved_writes_nothing_there(
    autojump_clock: MockClock,
) -> None:
    async with following(main=redis((A, B))) as site:
        site.put(record(changed=5, is_mixed=True))
        await site.settle()
        assert "read_only" not in site.plane.specs["main"]["shards"][0]
        site.follower.synced.show("main", False)
        await site.settle()
        assert "slots move" in site.plane.specs["main"]["shards"][0]["read_only"]
        site.follower.synced.show("main", True)
        await site.settle()
        assert "read_only" not in site.plane.specs["main"]["shards"][0]
        site.follower.is_waited_for = False
        site.put(record(changed=6, is_mixed=True))
        await site.settle()
        assert "slots move" in site.plane.specs["main"]["shards"][0]["read_only"]
        site.put(record(changed=7))
        await site.settle()
        assert "read_only" not in site.plane.specs["main"]["shards"][0]
