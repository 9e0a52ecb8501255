"""What is served is said in the store, however often it has to be said."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from shardproxy.coordination.acks import RETRY, run_acks
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from tests.unit.coordination.make import MemberStore, no_acks
from tests.unit.topology.make import KEY, OTHER

ME = ("self", KEY)


async def test_acks_follow_what_is_applied() -> None:
    applied: Board[ShardKey, int] = Board()
    store = MemberStore(no_acks())
    applied.show(KEY, 5)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_acks, applied, store)
        await trio.testing.wait_all_tasks_blocked()
        assert store.acks == {ME: 5}
        applied.show(KEY, 6)
        applied.show(OTHER, 7)
        await trio.testing.wait_all_tasks_blocked()
        assert store.acks == {ME: 6, ("self", OTHER): 7}
        assert store.tries == 3
        store.acks.show(("other", KEY), 9)
        await trio.testing.wait_all_tasks_blocked()
        assert store.tries == 3, "what others serve is theirs to say"
        nursery.cancel_scope.cancel()


async def test_what_the_store_forgot_is_said_again() -> None:
    applied: Board[ShardKey, int] = Board()
    store = MemberStore(no_acks())
    applied.show(KEY, 5)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_acks, applied, store)
        await trio.testing.wait_all_tasks_blocked()
        store.acks.hide(ME)  # our lease ended, and we have another one
        await trio.testing.wait_all_tasks_blocked()
        assert store.acks == {ME: 5}
        nursery.cancel_scope.cancel()


async def test_what_is_served_no_more_is_taken_back() -> None:
    applied: Board[ShardKey, int] = Board()
    store = MemberStore(no_acks())
    store.acks.show(("other", OTHER), 9)
    for key in (KEY, OTHER):
        applied.show(key, 5)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_acks, applied, store)
        await trio.testing.wait_all_tasks_blocked()
        applied.hide(OTHER)
        await trio.testing.wait_all_tasks_blocked()
        assert store.acks == {ME: 5, ("other", OTHER): 9}
        nursery.cancel_scope.cancel()


async def test_a_store_that_is_down_is_tried_again_and_said_once(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    applied: Board[ShardKey, int] = Board()
    store = MemberStore(no_acks())
    store.is_down = True
    applied.show(KEY, 5)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_acks, applied, store)
        await trio.sleep(RETRY * 3.5)
        assert (store.tries, len(store.acks)) == (4, 0)
        store.is_down = False
        await trio.sleep(RETRY)
        assert store.acks == {ME: 5}
        nursery.cancel_scope.cancel()
    assert capsys.readouterr().out.count("no quorum") == 1
