"""The leader does jobs to their end, whatever ails it, and goes on with what another one began."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from shardproxy.failover.event_log import EventLog
from shardproxy.failover.events import EventName
from shardproxy.jobs.interface import JobError, Work
from shardproxy.jobs.job import Job, JobState, Progress
from shardproxy.jobs.notes import KEPT, job_encode, job_key, jobs_to_drop
from shardproxy.jobs.run import CRASHES, MAX_RESULT, results_to_keep
from shardproxy.jobs.states import Wish
from shardproxy.store.interface import LeadershipLostError, StoreUnavailableError
from shardproxy.store.notes import MAX_NOTE, MAX_NOTES, Note, NoteKey, notes_fit, value_encode
from tests.unit.jobs.make import CLUSTER, Desk, Toy, job_desk, led, tools, wait_job, wait_over

Clock = trio.testing.MockClock


async def forever(work: Work) -> Mapping[str, Any]:
    await work.wait_aborted()
    return {"text": "undone"}


async def test_a_job_is_done_and_told_of(autojump_clock: Clock) -> None:
    async def does(work: Work) -> Mapping[str, Any]:
        work.show("copying", what="keys", done=3, total=9)
        await work.save({"step": 1})
        return {"text": "nine keys", "keys": 9}

    desk, toy, events = Desk(), Toy(does), EventLog()
    jobs, using = job_desk(desk, toy), tools(desk, toy, events)
    await jobs.start(CLUSTER, "toy", {})
    async with led(using):
        job = await wait_over(jobs, desk)
    assert (job.state, job.by, job.why) == (JobState.DONE, "self", "")
    assert job.result == {"text": "nine keys", "keys": 9}
    assert job.progress == Progress("copying", "keys", 3, 9)
    assert job.memo == {}, "of no use any more"
    assert [event.name for event in events.latest()] == [EventName.JOB_STARTED, EventName.JOB_DONE]
    assert using.statistics.ended == {(CLUSTER, "toy", "done"): 1}


async def test_a_refusal_fails_it_with_the_reason(autojump_clock: Clock) -> None:
    async def does(work: Work) -> Mapping[str, Any]:
        async with trio.open_nursery():
            raise JobError("shard-3 has no room: 2 GiB are missing")

    desk, toy, events = Desk(), Toy(does), EventLog()
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {})
    async with led(tools(desk, toy, events)):
        job = await wait_over(jobs, desk)
    assert (job.state, job.why) == (JobState.FAILED, "shard-3 has no room: 2 GiB are missing")
    assert events.latest()[-1].name is EventName.JOB_FAILED
    assert len(toy.memos) == 1, "a reason is no bug: it is not tried again"


async def test_the_next_leader_goes_on_from_the_last_memo(autojump_clock: Clock) -> None:
    async def first(work: Work) -> Mapping[str, Any]:
        await work.save({"step": "COPY"})
        await trio.sleep_forever()

    async def second(work: Work) -> Mapping[str, Any]:
        return {"from": work.job.memo["step"]}

    desk = Desk("p1")
    toy = Toy(first)
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {})
    async with led(tools(desk, toy)):
        await wait_job(jobs, desk, lambda job: bool(job.memo))
    desk.member, toy.does = "p2", second
    async with led(tools(desk, toy)):
        job = await wait_over(jobs, desk)
    assert (job.by, job.state, job.result) == ("p2", JobState.DONE, {"from": "COPY"})


async def test_who_does_it_no_more_writes_nothing(autojump_clock: Clock) -> None:
    """A leader that hangs, and comes back when another one has gone on, must not undo what that one did."""
    goes_on = trio.Event()

    async def hangs(work: Work) -> Mapping[str, Any]:
        await goes_on.wait()
        await work.save({"step": "of yesterday"})
        return {}

    async def other(work: Work) -> Mapping[str, Any]:
        await work.save({"step": "of today"})
        await trio.sleep_forever()

    desk = Desk("p1")
    old, new = Toy(hangs), Toy(other)
    jobs = job_desk(desk, old)
    await jobs.start(CLUSTER, "toy", {})
    using = tools(desk, old)

    async def take_over() -> None:
        await wait_job(jobs, desk, lambda job: job.by == "p1")
        desk.member = "p2"
        async with led(tools(desk, new)):
            await wait_job(jobs, desk, lambda job: bool(job.memo))
            goes_on.set()
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as raised:
        async with led(using):
            await take_over()
    assert raised.value.subgroup(LeadershipLostError) is not None
    assert (jobs.jobs()[0].by, jobs.jobs()[0].memo) == ("p2", {"step": "of today"})


async def test_a_pause_and_its_end_are_seen(autojump_clock: Clock) -> None:
    steps: list[str] = []
    is_held = trio.Event()

    async def does(work: Work) -> Mapping[str, Any]:
        while not work.is_paused:  # noqa: ASYNC110  # as a worker looks between two steps
            await trio.sleep(0.1)
        steps.append("paused")
        is_held.set()
        await work.wait_resumed()
        steps.append("resumed")
        return {}

    desk, toy = Desk(), Toy(does)
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {})
    async with led(tools(desk, toy)):
        await wait_job(jobs, desk, lambda job: job.state is JobState.RUNNING)
        await jobs.wish(CLUSTER, Wish.PAUSE)
        await is_held.wait()
        await trio.sleep(100)
        assert steps == ["paused"]
        await jobs.wish(CLUSTER, Wish.RESUME)
        job = await wait_over(jobs, desk)
    assert (steps, job.state) == (["paused", "resumed"], JobState.DONE)


async def test_given_up_it_is_undone(autojump_clock: Clock) -> None:
    desk, toy = Desk(), Toy(forever)
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {})
    async with led(tools(desk, toy)):
        await wait_job(jobs, desk, lambda job: job.state is JobState.RUNNING)
        await jobs.wish(CLUSTER, Wish.PAUSE)
        assert (await jobs.wish(CLUSTER, Wish.ABORT)).state is JobState.ABORTING
        job = await wait_over(jobs, desk)
    assert (job.state, job.result) == (JobState.ABORTED, {"text": "undone"})


async def test_given_up_while_nobody_leads_it_is_undone_by_the_next(autojump_clock: Clock) -> None:
    desk, toy = Desk(), Toy(forever)
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {})
    async with led(tools(desk, toy)):
        await wait_job(jobs, desk, lambda job: job.state is JobState.RUNNING)
    await jobs.wish(CLUSTER, Wish.ABORT)
    async with led(tools(desk, toy)):
        assert (await wait_over(jobs, desk)).state is JobState.ABORTED
    assert len(toy.memos) == 2


async def test_given_up_too_late_it_is_done(autojump_clock: Clock) -> None:
    async def does(work: Work) -> Mapping[str, Any]:
        await work.wait_aborted()
        return {"complete": True}

    desk, toy = Desk(), Toy(does)
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {})
    async with led(tools(desk, toy)):
        await wait_job(jobs, desk, lambda job: job.state is JobState.RUNNING)
        await jobs.wish(CLUSTER, Wish.ABORT)
        assert (await wait_over(jobs, desk)).state is JobState.DONE


async def test_a_bug_ends_the_job_and_not_the_leader(autojump_clock: Clock) -> None:
    async def does(work: Work) -> Mapping[str, Any]:
        await work.save({"n": work.job.memo.get("n", 0) + 1})
        raise KeyError("bug")

    desk, toy = Desk(), Toy(does)
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {})
    async with led(tools(desk, toy)):
        job = await wait_over(jobs, desk)
        assert job.state is JobState.FAILED
        assert "KeyError('bug')" in job.why
        assert toy.memos == [{}, *({"n": n} for n in range(1, CRASHES))], "each time from its last memo"
        toy.does = forever
        await jobs.start(CLUSTER, "toy", {})
        await wait_job(jobs, desk, lambda job: job.state is JobState.RUNNING, "2")


async def test_a_store_that_is_away_is_waited_for(autojump_clock: Clock) -> None:
    async def does(work: Work) -> Mapping[str, Any]:
        if not work.job.memo:
            await work.save({"step": 1})
            desk.is_down = True
            work.show("copying")  # cannot be written, and keeps nobody
        await work.save({"step": 2})
        return {}

    async def mend() -> None:
        await trio.sleep(30)
        desk.is_down = False

    desk, toy = Desk(), Toy(does)
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {})
    async with led(tools(desk, toy)) as nursery:
        nursery.start_soon(mend)
        job = await wait_over(jobs, desk)
    assert job.state is JobState.DONE
    assert toy.memos[0] == {}
    assert set(map(str, toy.memos[1:])) == {"{'step': 1}"}
    assert trio.current_time() >= 30


async def test_a_job_is_not_done_twice_when_its_end_cannot_be_written(autojump_clock: Clock) -> None:
    async def does(work: Work) -> Mapping[str, Any]:
        desk.is_down = True
        return {"keys": 9}

    async def mend() -> None:
        await trio.sleep(30)
        desk.is_down = False

    desk, toy = Desk(), Toy(does)
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {})
    async with led(tools(desk, toy)) as nursery:
        nursery.start_soon(mend)
        job = await wait_over(jobs, desk)
    assert (job.state, job.result, len(toy.memos)) == (JobState.DONE, {"keys": 9}, 1)


async def test_what_is_too_large_is_said_or_left_out(autojump_clock: Clock) -> None:
    async def remembers(work: Work) -> Mapping[str, Any]:
        await work.save({"x": "x" * MAX_NOTE})
        return {}

    async def returns(work: Work) -> Mapping[str, Any]:
        return {"x": "x" * MAX_RESULT, "text": "all of it"}

    desk, toy = Desk(), Toy(remembers)
    jobs = job_desk(desk, toy)
    async with led(tools(desk, toy)):
        await jobs.start(CLUSTER, "toy", {})
        failed = await wait_over(jobs, desk)
        toy.does = returns
        await jobs.start(CLUSTER, "toy", {})
        done = await wait_over(jobs, desk, "2")
    assert failed.state is JobState.FAILED
    assert "what has to be remembered of it has" in failed.why
    assert (done.state, done.result) == (JobState.DONE, {"text": "all of it"})


async def test_work_of_another_version_fails(autojump_clock: Clock) -> None:
    desk, toy = Desk(), Toy(forever)
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {})
    async with led(tools(desk, Toy(forever, kind="other"))):
        job = await wait_over(jobs, desk)
    assert (job.state, "knows no work called toy" in job.why) == (JobState.FAILED, True)


async def test_old_jobs_are_forgotten(autojump_clock: Clock) -> None:
    async def does(work: Work) -> Mapping[str, Any]:
        return {}

    desk, toy = Desk(), Toy(does)
    jobs = job_desk(desk, toy)
    async with led(tools(desk, toy)):
        for number in range(1, KEPT + 4):
            await jobs.start(CLUSTER, "toy", {})
            await wait_over(jobs, desk, str(number))
        await trio.testing.wait_all_tasks_blocked()
    assert [job.id for job in jobs.jobs()] == [str(n) for n in range(4, KEPT + 4)]


async def test_progress_is_written_now_and_then(autojump_clock: Clock) -> None:
    async def does(work: Work) -> Mapping[str, Any]:
        for done in range(1000):
            work.show("copying", what="keys", done=done, total=1000)
            await trio.sleep(0.01)
        return {}

    desk, toy = Desk(), Toy(does)
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {})
    writes = 0
    original = desk.note

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal writes
        writes += 1
        return await original(*args, **kwargs)

    desk.note = counted  # type: ignore[method-assign]
    async with led(tools(desk, toy)):
        await wait_over(jobs, desk)
    assert 8 <= writes <= 15, "ten seconds: one a second, and the first and last"


class Faulty(Desk):
    """Writes as a plan of faults says: `away`: not written; `lost`: written, and the answer lost."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__()
        self.faults = faults
        self.is_faulty = False

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        fault = self.faults.pop(0) if self.is_faulty and self.faults else ""
        if fault == "away":
            await trio.lowlevel.checkpoint()
            raise StoreUnavailableError("no quorum")
        note = await super().note(key, value, expected=expected)
        if fault == "lost":
            raise StoreUnavailableError("no answer")
        return note


@given(st.lists(st.sampled_from(["", "away", "lost"]), max_size=12), st.integers(1, 4))
@settings(max_examples=60)
def test_whatever_the_store_does_steps_are_done_in_order_and_never_twice(
    faults: list[str], steps: int
) -> None:
    begun: list[int] = []

    async def does(work: Work) -> Mapping[str, Any]:
        for step in range(work.job.memo.get("step", 0), steps):
            begun.append(step)
            await work.save({"step": step + 1})
        return {"steps": steps}

    async def play() -> None:
        desk, toy = Faulty(faults), Toy(does)
        jobs = job_desk(desk, toy)
        await jobs.start(CLUSTER, "toy", {})
        desk.is_faulty = True
        async with led(tools(desk, toy)):
            job = await wait_over(jobs, desk)
        assert (job.state, job.result) == (JobState.DONE, {"steps": steps})

    lost = faults.count("away")
    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    assert begun == sorted(begun), "never back before what was remembered"
    assert set(begun) == set(range(steps))
    assert len(begun) - steps <= lost, "a step is done again only where nobody could remember it"


async def test_a_job_that_is_done_is_not_done_again_for_want_of_room(autojump_clock: Clock) -> None:
    """Others took the room while it ran: the oldest that are over go, and the end is written."""

    class Small(Desk):
        """As stores are; what others wrote is there."""

        async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
            if expected is not None:
                others = (len(value_encode(note.value)) for other, note in self.notes.items() if other != key)
                notes_fit(others, len(value_encode(value)), key)
            return await super().note(key, value, expected=expected)

    desk, ran = Small(), 0

    async def returns(work: Work) -> Mapping[str, Any]:
        nonlocal ran
        ran += 1
        for number in (1, 2):
            other = replace(work.job, id=str(number), state=JobState.DONE, result={"x": "x" * (250 << 10)})
            await desk.note(job_key(CLUSTER, str(number)), job_encode(other))
        return {"text": "all of it", "more": "m" * (MAX_RESULT - 100)}

    toy = Toy(returns)
    jobs = job_desk(desk, toy)
    await desk.note(job_key(CLUSTER, "2"), job_encode(Job("2", CLUSTER, "toy", {}, JobState.DONE)))
    await jobs.start(CLUSTER, "toy", {"x": "x" * (14 << 10)})
    async with led(tools(desk, toy)):
        done = await wait_over(jobs, desk, "3")
    assert (ran, done.state, done.result["text"]) == (1, JobState.DONE, "all of it")
    assert [job.id for job in jobs.jobs(CLUSTER)][-1] == "3"


def test_jobs_that_are_over_leave_room_for_one_under_way() -> None:
    large = [Job(str(n), CLUSTER, "toy", {"x": "x" * (40 << 10)}, JobState.DONE) for n in range(1, 15)]
    dropped = jobs_to_drop(large)
    kept = [job for job in large if job not in dropped]
    assert [job.id for job in dropped] == [str(n) for n in range(1, 9)]
    assert sum(len(value_encode(job_encode(job))) for job in kept) <= MAX_NOTES // 2


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=3 * MAX_RESULT), max_size=3), st.text())
def test_a_result_that_is_kept_is_small(result: dict[str, str], text: str) -> None:
    for kept in results_to_keep({**result, "text": text}):
        assert len(kept["text"]) <= len(text)
        assert len(json.dumps(dict(kept))) <= MAX_RESULT or set(kept) == {"text"}
