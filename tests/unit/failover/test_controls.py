"""What operators ask for: taken once, answered, and never done later by surprise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
import trio
import trio.testing

from shardproxy.failover.controls import DEADLINE, PATIENCE, UNDER_WAY, Controls
from shardproxy.failover.requests import STOPPED, Request, request_decode, request_encode, request_key
from shardproxy.failover.shard import asked
from shardproxy.failover.shard.tended import Tended
from shardproxy.model import Address
from shardproxy.model.board import News
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import ConflictError, StoreUnavailableError
from shardproxy.store.member import Member
from shardproxy.store.memory import MemoryDesk
from shardproxy.store.notes import Note, NoteKey, is_paused

KEY, OTHER = ShardKey("sessions", 3), ShardKey("sessions", 4)
A = Address("10.0.0.1", 1)
NAME = request_key(KEY)
Clock = trio.testing.MockClock


class Desk(MemoryDesk):
    """`is_down`: nothing can be written."""

    is_down = False

    async def note(self, key: NoteKey, value: object, *, expected: int | None = None) -> Note:
        self._check()
        return await super().note(key, value, expected=expected)

    async def drop(self, key: NoteKey, *, expected: int | None = None) -> None:
        self._check()
        await super().drop(key, expected=expected)

    def _check(self) -> None:
        if self.is_down:
            raise StoreUnavailableError("no quorum")


async def lead(desk: Desk, why_not: str | None, *, after: float = 0.0, answers: bool = True) -> Request:
    """Take the next request of this process as a leader does, and answer it; return it."""
    while True:
        note = desk.notes.get(NAME)
        request = request_decode(note.value) if note is not None else None
        if note is not None and request is not None and request.by == desk.member:
            break
        await desk.notes.wait_changed(desk.notes.version)
    note = await desk.note(NAME, request_encode(request.taken_by("leader")), expected=note.revision)
    await trio.sleep(after)
    if answers:
        done = request.taken_by("leader").answered(why_not)
        await desk.note(NAME, request_encode(done), expected=note.revision)
    return request


async def ask(desk: Desk, why_not: str | None, *, after: float = 0.0, answers: bool = True) -> str | None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: lead(desk, why_not, after=after, answers=answers))
        return await Controls(desk).switch_over(KEY, Address("10.0.0.1", 1))


async def test_whoever_leads_answers(autojump_clock: Clock) -> None:
    desk = Desk()
    assert await ask(desk, None) is None
    assert await ask(desk, "no replica", after=PATIENCE + 1) == "no replica"
    assert not desk.notes, "an answer that was read is gone"


async def test_a_request_says_what_is_wanted(autojump_clock: Clock) -> None:
    wanted = Request("1", "me", Address("10.0.0.1", 1), is_forced=True, is_test=True)
    for request in (wanted, wanted.taken_by("leader"), wanted.answered(None), wanted.answered("no")):
        assert request_decode(request_encode(request)) == request
    assert request_decode({"id": "1"}) is None


async def test_a_request_that_nobody_takes_is_withdrawn_and_says_who_leads(autojump_clock: Clock) -> None:
    desk = Desk()
    answer = await Controls(desk).switch_over(KEY) or ""
    assert "nothing was done: nobody leads" in answer
    assert not desk.notes
    desk.leaders.show("sessions", "cache-1-01234567")
    assert "cache-1-01234567 leads the cluster" in (await Controls(desk).switch_over(KEY) or "")


async def test_one_that_is_taken_is_not_withdrawn(autojump_clock: Clock) -> None:
    desk, began = Desk(), trio.current_time()
    assert "still under way" in (await ask(desk, None, answers=False) or "")
    assert trio.current_time() - began == DEADLINE
    assert NAME in desk.notes
    assert await Controls(desk).switch_over(KEY) == UNDER_WAY


class LateDesk(Desk):
    """Whatever is asked for is written, and the writer hears of it once a leader has taken it."""

    async def note(self, key: NoteKey, value: object, *, expected: int | None = None) -> Note:
        note = await super().note(key, value, expected=expected)
        request = request_decode(value)
        if request is not None and request.taken is None:
            while self.notes[key] == note:
                await self.notes.wait_changed(self.notes.version)
            raise ConflictError("not as it was read")
        return note


async def test_one_that_was_taken_before_its_writer_heard_of_it_is_waited_for(autojump_clock: Clock) -> None:
    desk = LateDesk()
    assert await ask(desk, None, after=2.0) is None
    assert await ask(desk, "no replica", after=2.0) == "no replica"
    assert not desk.notes


async def test_an_outcome_that_could_not_be_told_is_told_later(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()

    async def change(*_given: object) -> str | None:
        desk.is_down = True
        return outcomes.pop()

    monkeypatch.setattr(asked, "_change_primary", change)
    shard = cast(
        Tended,
        SimpleNamespace(key=KEY, outcome=None, shared=SimpleNamespace(store=desk), say=lambda *_said: None),
    )
    for outcome in ("no replica", None):
        outcomes = [outcome]
        request = Request("of " + str(outcome), desk.member)
        await desk.note(NAME, request_encode(request))
        assert await asked.serve_asked(shard, News())
        assert request_decode(desk.notes[NAME].value) == request.taken_by(desk.member)
        desk.is_down = False
        assert await asked.serve_asked(shard, News())
        told = request_decode(desk.notes[NAME].value)
        assert told == request.taken_by(desk.member).answered(outcome)
    other = Request("of who led before", desk.member).taken_by("gone")
    await desk.note(NAME, request_encode(other))
    assert await asked.serve_asked(shard, News())
    assert request_decode(desk.notes[NAME].value) == other.answered(STOPPED)


async def test_there_is_one_request_at_a_time(autojump_clock: Clock) -> None:
    desk = Desk()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Controls(desk).switch_over, KEY)
        await trio.testing.wait_all_tasks_blocked()
        assert await Controls(desk).promote(KEY, Address("10.0.0.1", 1)) == UNDER_WAY
        nursery.cancel_scope.cancel()
    assert not desk.notes, "an asker that goes away withdraws it"


async def test_what_a_proxy_asked_that_is_gone_is_replaced(autojump_clock: Clock) -> None:
    desk = Desk()
    await desk.note(NAME, request_encode(Request("1", "gone")))
    assert await ask(desk, None) is None
    desk.members.show("there", Member("there"))
    await desk.note(NAME, request_encode(Request("1", "there")))
    assert await Controls(desk).switch_over(KEY) == UNDER_WAY


async def test_what_cannot_be_withdrawn_at_once_is_withdrawn_later(autojump_clock: Clock) -> None:
    desk = Desk()
    controls = Controls(desk)

    async def fail() -> None:
        await trio.sleep(1)
        desk.is_down = True
        await trio.sleep(60)
        assert NAME in desk.notes
        desk.is_down = False

    async with trio.open_nursery() as nursery:
        await nursery.start(controls.run)
        nursery.start_soon(fail)
        assert "may still be done: it cannot be withdrawn now: no quorum" in (
            await controls.switch_over(KEY) or ""
        )
        assert "nothing was done, the store is not" in (await controls.promote(OTHER, A) or "")
        await trio.sleep(70)
        assert not desk.notes
        nursery.cancel_scope.cancel()


async def test_a_taker_that_comes_with_the_withdrawal_is_waited_for(autojump_clock: Clock) -> None:
    desk = Desk()

    class Late(Desk):
        async def drop(self, key: NoteKey, *, expected: int | None = None) -> None:
            request = request_decode(self.notes[key].value)
            if request is not None and request.taken is None:  # somebody was faster
                await desk.note(key, request_encode(request.taken_by("leader")))
                nursery.start_soon(answer, request.taken_by("leader"))
                raise ConflictError("changed")
            await desk.drop(key, expected=expected)

        async def note(self, key: NoteKey, value: object, *, expected: int | None = None) -> Note:
            return await desk.note(key, value, expected=expected)

    async def answer(request: Request) -> None:
        await trio.sleep(5)
        await desk.note(NAME, request_encode(request.answered(None)))

    late = Late()
    late.notes = desk.notes
    async with trio.open_nursery() as nursery:
        assert await Controls(late).switch_over(KEY) is None


async def test_who_is_no_member_says_whom_to_ask() -> None:
    desk = Desk("follower")
    desk.members.hide("follower")
    desk.members.show("cache-1-01234567", Member("cache-1-01234567", admin="10.0.0.1:9700"))
    assert "ask one that is: 10.0.0.1:9700" in (await Controls(desk).switch_over(KEY) or "")


async def test_pauses_and_acknowledgements_are_notes() -> None:
    desk = Desk()
    controls = Controls(desk)
    await controls.pause("sessions")
    assert is_paused(desk.notes, "sessions")
    assert not is_paused(desk.notes, "pages")
    await controls.resume("sessions")
    assert not is_paused(desk.notes, "sessions")
    for _ in range(2):
        await controls.acknowledge(KEY)
    assert [note.value for note in desk.notes.values()] == [2]
