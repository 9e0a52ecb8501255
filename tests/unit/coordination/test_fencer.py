"""A fence holds once every member that is alive serves the record, or one after it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from shardproxy.coordination.fencer import AckFencer
from shardproxy.failover.interfaces import FenceError
from shardproxy.failover.setup import ShardSetup
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.member import Member
from tests.unit.coordination.make import Acks, MemberStore, no_acks
from tests.unit.topology.make import KEY, OTHER, record

FENCED = record(changed=7)
Members = Board[str, Member]


def members(*names: str, serving: str = KEY.cluster) -> Members:
    board: Members = Board()
    for name in names:
        board.show(name, Member(name, endpoints={serving: ()}))
    return board


def applied(changed: int | None) -> Board[ShardKey, int]:
    """By our own data plane."""
    board: Board[ShardKey, int] = Board()
    if changed is not None:
        board.show(KEY, changed)
    return board


def fencer(
    acks: Acks, alive: Members, own: Board[ShardKey, int] | None = None, *, is_strict: bool = True
) -> AckFencer:
    setups = {KEY: ShardSetup(KEY, (), is_strict=is_strict)}
    own = applied(7) if own is None else own
    return AckFencer(MemberStore(acks, members=alive), own, setups, served_within=3.0)


async def is_served(fencer: AckFencer) -> bool:
    """Within no time."""
    with trio.move_on_after(0.001):
        await fencer.wait_served(FENCED)
        return True
    return False


@pytest.mark.parametrize(
    ("own", "other", "holds", "holds_fast"),
    [
        pytest.param(None, None, False, False, id="nobody serves it"),
        pytest.param(7, None, False, True, id="the other one has said nothing"),
        pytest.param(7, 6, False, True, id="the other one serves what was before"),
        pytest.param(6, 7, False, False, id="our own is behind"),
        pytest.param(7, 7, True, True, id="all do"),
        pytest.param(7, 9, True, True, id="one is further"),
    ],
)
async def test_all_who_are_alive_have_to_serve_it_or_only_we(
    own: int | None,
    other: int | None,
    holds: bool,
    holds_fast: bool,
    autojump_clock: trio.testing.MockClock,
) -> None:
    board = no_acks()
    if other is not None:
        board.show(("other", KEY), other)
    board.show(("other", OTHER), 99)
    for is_strict, wanted in ((True, holds), (False, holds_fast)):
        waiting = fencer(board, members("self", "other"), applied(own), is_strict=is_strict)
        assert await is_served(waiting) == wanted
        assert waiting.served(KEY) == min(own or 0, other or 0)  # what others acknowledge counts in any case


async def test_who_serves_other_clusters_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    board, alive = no_acks(), members("other", serving="pages")
    waiting = fencer(board, alive)
    assert await is_served(waiting)
    assert waiting.served(KEY) == 7
    board.show(("other", KEY), 6)  # it begins to, and did not say so yet
    assert not await is_served(waiting)


async def test_it_ends_with_the_last_ack(autojump_clock: trio.testing.MockClock) -> None:
    board = no_acks()
    waiting = fencer(board, members("self", "other"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.wait_served, FENCED)
        await trio.sleep(1.0)
        assert nursery.child_tasks
        board.show(("other", KEY), 7)
    assert trio.current_time() < 3.0


async def test_who_is_gone_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    board, alive = no_acks(), members("self", "other")
    waiting = fencer(board, alive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.wait_served, FENCED)
        await trio.sleep(1.0)
        alive.hide("other")  # its lease ended
    assert trio.current_time() < 3.0
    assert waiting.served(KEY) == 7


async def test_who_does_not_serve_it_in_time_is_named(autojump_clock: trio.testing.MockClock) -> None:
    board = no_acks()
    started = trio.current_time()
    with pytest.raises(FenceError, match=r"main/0: epoch 3 is not served by p2, p3 yet"):
        await fencer(board, members("self", "p2", "p3")).wait_served(FENCED)
    assert trio.current_time() - started == 3.0


async def test_a_record_of_before_there_were_acks_has_to_be_served_as_well(
    autojump_clock: trio.testing.MockClock,
) -> None:
    own = applied(None)
    waiting = fencer(no_acks(), members("self"), own)
    with pytest.raises(FenceError):
        await waiting.wait_served(record(changed=0))
    own.show(KEY, 0)
    await waiting.wait_served(record(changed=0))


async def test_nobody_who_waited_is_rung_any_more(autojump_clock: trio.testing.MockClock) -> None:
    board, alive = no_acks(), members("self", "other")
    with pytest.raises(FenceError):
        await fencer(board, alive).wait_served(FENCED)
    assert not board._subscribers
    assert not alive._subscribers
