"""Writes are held only as long as it takes, whatever happens meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from shardproxy.archive import Cut
from shardproxy.backup.fence import BACKOFF, BUDGET, Fence
from shardproxy.backup.making import sources_of
from shardproxy.failover.interfaces import FenceError, NotSettledError
from shardproxy.model import Hold, SlotRange, split_evenly
from shardproxy.replication.interface import CopyError, SnapshotPhase, SnapshotStatus
from shardproxy.store.interface import LeadershipLostError, StoreUnavailableError
from tests.unit.backup.fakes import FakeNodes, Site, never_served, primary, replica

HELD = [Hold((slots,), only_writes=True) for slots in split_evenly(2)]
FREE = [None, None]


class Start:
    """Asks for the RDBs, and sees what is held meanwhile."""

    def __init__(self, site: Site, forks_in: float = 0.01) -> None:
        self._site, self._forks_in = site, forks_in
        self.held: list[list[Hold | None]] = []
        self.offset = 200  # at which all fork

    def start(self) -> None:
        self.held.append(self._site.desk.holds)

    async def forked(self) -> list[SnapshotStatus]:
        await trio.sleep(self._forks_in)
        shards = len(self._site.desk.records)
        return [SnapshotStatus(SnapshotPhase.FORKED, offset=self.offset)] * shards


async def cut(site: Site, start: Start, store: float = 0.001) -> Cut:
    """`store`: seconds that a write to it takes."""

    async def write() -> None:
        await trio.sleep(store)

    sources = await sources_of(site.desk, site.nodes)
    return await Fence(site.desk, site.nodes, sources, write).cut(start.start, start.forked)


async def test_all_shards_are_held_while_they_fork(autojump_clock: trio.abc.Clock) -> None:
    site = Site(2)
    start = Start(site)
    made = await cut(site, start)
    assert made.is_fenced
    assert made.why == ""
    assert 0.01 <= made.held < 0.1
    assert start.held == [HELD]
    assert site.desk.history == [HELD, FREE]


async def test_more_shards_than_a_store_changes_together(autojump_clock: trio.abc.Clock) -> None:
    site = Site(250, replicas=False)
    start = Start(site)
    made = await cut(site, start)
    assert made.is_fenced, made.why
    assert start.held == [[Hold((slots,), only_writes=True) for slots in split_evenly(250)]]
    assert [sum(hold is not None for hold in holds) for holds in site.desk.history] == [
        100,
        200,
        250,
        150,
        50,
        0,
    ]


async def test_shards_that_cannot_be_let_go_hold_up_no_others(autojump_clock: trio.abc.Clock) -> None:
    site = Site(250, replicas=False)

    class Refusing(Start):
        async def forked(self) -> list[SnapshotStatus]:
            site.desk.refusals = [NotSettledError("failover")]
            return await super().forked()

    assert (await cut(site, Refusing(site))).is_fenced
    held = [sum(hold is not None for hold in holds) for holds in site.desk.history]
    assert held[3:] == [150, 100, 0], "the first hundred are the last"


async def test_replicas_have_all_of_it_first(autojump_clock: trio.abc.Clock) -> None:
    site = Site(2)
    site.engines[primary(1)].offset = 150
    start = Start(site)
    async with trio.open_nursery() as nursery:

        async def catch_up() -> None:
            await trio.sleep(0.1)
            assert start.held == []
            site.engines[replica(1)].offset = 150

        nursery.start_soon(catch_up)
        made = await cut(site, start)
    assert made.is_fenced
    assert made.held >= 0.1


async def test_a_fork_that_takes_too_long_is_not_waited_for(autojump_clock: trio.abc.Clock) -> None:
    site = Site(2)
    start = Start(site, forks_in=60.0)
    made = await cut(site, start)
    assert not made.is_fenced
    assert made.why == "not all nodes had forked within 500 ms of held writes"
    assert made.held == pytest.approx(BUDGET, abs=0.05)
    assert start.held == [HELD], "asked once"
    assert site.desk.holds == FREE


async def test_proxies_that_do_not_hold_are_asked_again(autojump_clock: trio.abc.Clock) -> None:
    site = Site(2)
    errors = [FenceError("proxy b does not hold yet"), None]
    site.desk.served = lambda: errors.pop(0)
    start = Start(site)
    made = await cut(site, start)
    assert made.is_fenced
    assert start.held == [HELD]
    assert site.desk.history == [HELD, FREE, HELD, FREE]


async def test_proxies_that_never_hold_are_left_alone(autojump_clock: trio.abc.Clock) -> None:
    site = Site(2)
    site.desk.served = never_served
    start = Start(site)
    made = await cut(site, start)
    assert not made.is_fenced
    assert made.why == "proxy b does not hold yet"
    assert start.held == [FREE], "read all the same, and nothing waits"
    assert site.desk.history == [HELD, FREE] * (1 + len(BACKOFF))


@pytest.mark.parametrize("error", [NotSettledError("failover"), StoreUnavailableError("away")])
async def test_letting_go_is_tried_until_it_is_done(error: Exception, autojump_clock: trio.abc.Clock) -> None:
    site = Site(2)

    class Refusing(Start):
        async def forked(self) -> list[SnapshotStatus]:
            moments = await super().forked()
            site.desk.refusals = [error] * 200
            return moments

    made = await cut(site, Refusing(site))
    assert made.is_fenced
    assert made.held > 9.0
    assert site.desk.holds == FREE


async def test_a_hold_that_could_not_be_written_is_taken_away_all_the_same(
    autojump_clock: trio.abc.Clock,
) -> None:
    site = Site(2)
    site.desk.refusals = [StoreUnavailableError("may be written")]
    with pytest.raises(StoreUnavailableError):
        await cut(site, Start(site))
    assert site.desk.history == [FREE]


async def test_who_leads_no_more_stops(autojump_clock: trio.abc.Clock) -> None:
    site = Site(2)

    class Losing(Start):
        async def forked(self) -> list[SnapshotStatus]:
            site.desk.refusals = [LeadershipLostError("another leads")]
            return await super().forked()

    with pytest.raises(LeadershipLostError):
        await cut(site, Losing(site))


async def test_a_node_that_fails_lets_go(autojump_clock: trio.abc.Clock) -> None:
    site = Site(2)

    class Failing(Start):
        async def forked(self) -> list[SnapshotStatus]:
            raise CopyError("it closed the connection")

    with pytest.raises(CopyError):
        await cut(site, Failing(site))
    assert site.desk.history == [HELD, FREE]

    sources = await sources_of(site.desk, site.nodes)
    site.engines[primary(0)].is_up = False
    made = await Fence(site.desk, FakeNodes(site.engines), sources, trio.lowlevel.checkpoint).cut(
        lambda: None, Start(site).forked
    )
    assert not made.is_fenced
    assert "refused" in made.why
    assert site.desk.holds == FREE


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"hold": None}, "shard 1 was let go before all nodes had forked"),
        ({"hold": Hold((SlotRange(8192, 9000),))}, "shard 1 was let go before all nodes had forked"),
        ({"epoch": 2}, "shard 1 failed over before all nodes had forked"),
        ({"primary": replica(1)}, "shard 1 failed over before all nodes had forked"),
    ],
)
async def test_a_fence_that_did_not_hold_is_none(
    changes: dict[str, Any], why: str, autojump_clock: trio.abc.Clock
) -> None:
    site = Site(2)

    class Changing(Start):
        async def forked(self) -> list[SnapshotStatus]:
            site.with_record(1, **changes)
            return await super().forked()

    made = await cut(site, Changing(site))
    assert (made.is_fenced, made.why) == (False, why)
    assert site.desk.holds == FREE


async def test_a_node_that_had_forked_before_is_of_another_moment(autojump_clock: trio.abc.Clock) -> None:
    """It joined us to what it was sending somebody else."""
    site = Site(2)
    start = Start(site)
    start.offset = 99
    made = await cut(site, start)
    assert not made.is_fenced
    assert made.why == (
        "10.0.0.2:7000 forked at 99 of its history, and shard 0 had 100 when its writes were held"
    )
    start.offset = 100
    assert (await cut(site, start)).is_fenced


async def test_who_is_given_up_lets_go(autojump_clock: trio.abc.Clock) -> None:
    site = Site(2)
    start = Start(site, forks_in=60.0)
    with trio.move_on_after(0.1):
        await cut(site, start)
    assert start.held == [HELD]
    assert site.desk.holds == FREE


def slow_desk(site: Site, seconds: float) -> None:
    change = site.desk.change

    async def slowly(changes: Any) -> None:
        await trio.sleep(seconds)
        await change(changes)

    site.desk.change = slowly  # type: ignore[method-assign]


async def test_nothing_is_held_while_the_store_is_slow(autojump_clock: trio.abc.Clock) -> None:
    site = Site(2)
    start = Start(site)
    made = await cut(site, start, store=0.2)
    assert not made.is_fenced
    assert made.why == ("the store takes 200 ms to write: writes might have waited for longer than 500 ms")
    assert site.desk.history == []
    assert start.held == [FREE], "read all the same"


async def test_a_store_that_becomes_slow_is_let_go_of_at_once(autojump_clock: trio.abc.Clock) -> None:
    site = Site(2)
    start = Start(site)
    slow_desk(site, 0.2)
    made = await cut(site, start)
    assert (made.is_fenced, "the store takes 200 ms" in made.why) == (False, True)
    assert start.held == [FREE], "nobody forks while writes wait for a slow store"
    assert site.desk.holds == FREE


async def test_letting_go_takes_from_the_same_time(autojump_clock: trio.abc.Clock) -> None:
    site = Site(2)
    slow_desk(site, 0.1)
    made = await cut(site, Start(site, forks_in=60.0))
    assert not made.is_fenced
    assert made.held == pytest.approx(BUDGET, abs=0.01)
    assert site.desk.holds == FREE
