"""Two processes with one state file, while one takes over: one leads, and the other one follows."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
import trio.testing

from shardproxy.coordination.fencer import AckFencer
from shardproxy.failover.interfaces import FenceError
from shardproxy.failover.requests import paused_key
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import LeadershipLostError, StoreUnavailableError
from shardproxy.store.local import LocalStore
from shardproxy.store.local import twin as twin_module
from shardproxy.store.local.link import Link
from shardproxy.store.member import Member
from shardproxy.store.record import ShardRecord, ShardState

KEY = ShardKey("main", 0)
A = Address("10.0.0.1", 7001)
RECORD = ShardRecord(KEY, 1, ShardState.OK, A, (A,), joined=(A,))
PATIENCE = 5.0  # seconds


@dataclass
class Pair:
    old: LocalStore
    new: LocalStore
    nursery: trio.Nursery
    links: tuple[Link, Link]


@asynccontextmanager
async def pair(path: Path) -> AsyncIterator[Pair]:
    """The old one leads and has a record; the new one has just come."""
    one, other = (Link(own) for own in socket.socketpair())
    with LocalStore(path, "old") as old:
        await old.put(RECORD, await old.claim("main"))
        with LocalStore(path, "new", before=other, twin="old") as new:
            async with trio.open_nursery() as nursery:
                old.join(one, "new")
                for store in (old, new):
                    await nursery.start(store.run)
                    await store.follow(["main"])
                await until(lambda: "new" in old.members and "old" in new.members)
                yield Pair(old, new, nursery, (one, other))
                nursery.cancel_scope.cancel()
    one.close()
    other.close()


async def until(is_so) -> None:  # type: ignore[no-untyped-def]
    with trio.fail_after(PATIENCE):
        while not is_so():  # noqa: ASYNC110  # what two processes tell each other
            await trio.sleep(0.005)


async def let_go(store: LocalStore) -> None:
    await store.announce(Member(store.member, is_draining=True))


async def test_the_next_one_follows_and_leads_when_the_lock_is_let_go(tmp_path: Path) -> None:
    async with pair(tmp_path / "state.json") as both:
        lead = await both.old.claim("main")
        changed = await both.old.put(replace(both.old.records[KEY], epoch=5), lead)
        await until(lambda: both.new.records[KEY] == changed)
        with pytest.raises(StoreUnavailableError, match="taken over from"):
            await both.new.note(paused_key("main"), True)
        claimed = []

        async def claim() -> None:
            claimed.append(await both.new.claim("main"))

        both.nursery.start_soon(claim)
        await trio.testing.wait_all_tasks_blocked()
        assert claimed == []
        await let_go(both.old)
        await until(lambda: claimed)
        assert claimed[0].revision > lead.revision
        with pytest.raises(LeadershipLostError):
            await both.old.put(replace(changed, epoch=6), lead)
        last = await both.new.put(replace(both.new.records[KEY], epoch=7), claimed[0])
        await until(lambda: both.old.records[KEY] == last)  # now the old one follows


async def test_a_promotion_waits_for_the_other_one(tmp_path: Path) -> None:
    async with pair(tmp_path / "state.json") as both:
        await let_go(both.old)
        stored = await both.new.put(replace(both.new.records[KEY], epoch=2), await both.new.claim("main"))
        await both.new.ack(KEY, stored.changed)
        fencer = AckFencer(both.new, applied(stored), {}, served_within=0.05)
        with pytest.raises(FenceError, match="old"):
            await fencer.wait_served(stored)
        await both.old.ack(KEY, stored.changed)
        await AckFencer(both.new, applied(stored), {}).wait_served(stored)


async def test_the_next_one_is_waited_for_before_it_has_said_what_it_serves(tmp_path: Path) -> None:
    async with pair(tmp_path / "state.json") as both:
        stored = await both.old.put(replace(both.old.records[KEY], epoch=2), await both.old.claim("main"))
        waiting = AckFencer(both.old, applied(stored), {}, served_within=0.05)
        with pytest.raises(FenceError, match="new"):
            await waiting.wait_served(stored)
        both.links[1].close()
        await until(lambda: "new" not in both.old.members)
        await waiting.wait_served(stored)


async def test_a_third_process_is_refused_until_the_second_has_gone(tmp_path: Path) -> None:
    async with pair(tmp_path / "state.json") as both:
        own, other = socket.socketpair()
        third = Link(own)
        with pytest.raises(ValueError, match="new has the same state file until it ends"):
            both.old.join(third, "third")
        assert both.old.members.keys() == {"old", "new"}
        both.links[1].close()
        await until(lambda: both.old.why_no_twin is None)
        both.old.join(third, "third")
        assert both.old.members.keys() == {"old", "third"}
        other.close()
        await until(lambda: both.old.members.keys() == {"old"})


async def test_one_that_is_silent_is_waited_for_no_longer_than_it_believes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twin_module, "TTL", 0.3)
    monkeypatch.setattr(twin_module, "BEAT", 0.05)
    async with pair(tmp_path / "state.json") as both:
        await let_go(both.old)
        stored = await both.new.put(replace(both.new.records[KEY], epoch=2), await both.new.claim("main"))
        await both.new.ack(KEY, stored.changed)
        await until(lambda: both.old.leases.get("main", 0.0) > now() + 0.2)
        assert "main" not in both.new.leases, "nobody is above who leads"
        monkeypatch.setattr(both.links[0], "say", lambda kind, value: None)  # it is heard no more
        with trio.fail_after(PATIENCE):
            await AckFencer(both.new, applied(stored), {}).wait_served(stored)
        assert both.old.leases["main"] <= now()
        assert "old" not in both.new.members


async def test_if_the_next_one_ends_the_old_one_goes_on(tmp_path: Path) -> None:
    async with pair(tmp_path / "state.json") as both:
        both.links[1].close()
        await until(lambda: "new" not in both.old.members)
        stored = await both.old.put(replace(both.old.records[KEY], epoch=2), await both.old.claim("main"))
        await both.old.ack(KEY, stored.changed)
        await AckFencer(both.old, applied(stored), {}).wait_served(stored)
        assert "main" not in both.old.leases


def applied(record: ShardRecord) -> Board[ShardKey, int]:
    """What the own data plane serves: that record."""
    board: Board[ShardKey, int] = Board()
    board.show(record.key, record.changed)
    return board


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
