"""A fence holds once every member that is alive serves the record, or one after it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from shardproxy.coordination.fencer import AckFencer
from shardproxy.failover.interfaces import FenceError
from shardproxy.model.board import Board
from shardproxy.store.member import Member
from tests.unit.coordination.make import Acks, MemberStore, no_acks
from tests.unit.topology.make import KEY, OTHER, record

FENCED = record(changed=7)
Members = Board[str, Member]


def members(*names: str) -> Members:
    board: Members = Board()
    for name in names:
        board.show(name, Member(name))
    return board


def fencer(acks: Acks, alive: Members) -> AckFencer:
    return AckFencer(MemberStore(acks, members=alive), served_within=3.0)


async def is_served(fencer: AckFencer) -> bool:
    """Within no time."""
    with trio.move_on_after(0.001):
        await fencer.wait_served(FENCED)
        return True
    return False


@pytest.mark.parametrize(
    ("acks", "holds"),
    [
        pytest.param({}, False, id="nobody has said anything"),
        pytest.param({"self": 7}, False, id="one has not"),
        pytest.param({"self": 7, "other": 6}, False, id="one serves what was before"),
        pytest.param({"self": 7, "other": 7}, True, id="all do"),
        pytest.param({"self": 7, "other": 9}, True, id="one is further"),
    ],
)
async def test_all_who_are_alive_have_to_serve_it(
    acks: dict[str, int], holds: bool, autojump_clock: trio.testing.MockClock
) -> None:
    board = no_acks()
    for member, changed in acks.items():
        board.show((member, KEY), changed)
        board.show((member, OTHER), 99)
    waiting = fencer(board, members("self", "other"))
    assert await is_served(waiting) == holds
    assert waiting.served(KEY) == (min(acks.values()) if len(acks) == 2 else 0)


async def test_it_ends_with_the_last_ack(autojump_clock: trio.testing.MockClock) -> None:
    board = no_acks()
    board.show(("self", KEY), 7)
    waiting = fencer(board, members("self", "other"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.wait_served, FENCED)
        await trio.sleep(1.0)
        assert nursery.child_tasks
        board.show(("other", KEY), 7)
    assert trio.current_time() < 3.0


async def test_who_is_gone_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    board, alive = no_acks(), members("self", "other")
    board.show(("self", KEY), 7)
    waiting = fencer(board, alive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.wait_served, FENCED)
        await trio.sleep(1.0)
        alive.hide("other")  # its lease ended
    assert trio.current_time() < 3.0
    assert waiting.served(KEY) == 7


async def test_who_does_not_serve_it_in_time_is_named(autojump_clock: trio.testing.MockClock) -> None:
    board = no_acks()
    board.show(("self", KEY), 7)
    started = trio.current_time()
    with pytest.raises(FenceError, match=r"main/0: epoch 3 is not served by p2, p3 yet"):
        await fencer(board, members("self", "p2", "p3")).wait_served(FENCED)
    assert trio.current_time() - started == 3.0


async def test_a_record_of_before_there_were_acks_has_to_be_served_as_well(
    autojump_clock: trio.testing.MockClock,
) -> None:
    board = no_acks()
    waiting = fencer(board, members("self"))
    with pytest.raises(FenceError):
        await waiting.wait_served(record(changed=0))
    board.show(("self", KEY), 0)
    await waiting.wait_served(record(changed=0))


async def test_nobody_who_waited_is_rung_any_more(autojump_clock: trio.testing.MockClock) -> None:
    board, alive = no_acks(), members("self")
    with pytest.raises(FenceError):
        await fencer(board, alive).wait_served(FENCED)
    assert not board._subscribers
    assert not alive._subscribers
