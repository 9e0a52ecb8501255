"""Asking for long work: one at a time on a cluster, whichever proxy is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing

from shardproxy.jobs.desk import PLAN_WITHIN, JobDesk
from shardproxy.jobs.interface import JobError, Work
from shardproxy.jobs.job import JobState
from shardproxy.jobs.states import Wish
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.notes import MAX_NOTE
from tests.unit.jobs.make import CLUSTER, SETUPS, Desk, Toy, job_desk

Clock = trio.testing.MockClock


async def nothing(work: Work) -> dict[str, object]:
    return {}


async def test_one_at_a_time(autojump_clock: Clock) -> None:
    desk = Desk()
    jobs = job_desk(desk, Toy(nothing))
    job = await jobs.start(CLUSTER, "toy", {"shards": 4})
    assert (job.id, job.state, job.wants, job.asked_at) == ("1", JobState.ASKED, {"shards": 4}, 1000.0)
    with pytest.raises(JobError, match="toy 1 of sessions is asked: one at a time"):
        await jobs.start(CLUSTER, "toy", {})
    assert (await jobs.wish(CLUSTER, Wish.ABORT)).state is JobState.ABORTED
    assert (await jobs.start(CLUSTER, "toy", {})).id == "2"


async def test_of_two_who_ask_at_once_one_is_told_of_the_other(autojump_clock: Clock) -> None:
    desk = Desk()
    outcomes: list[str] = []

    async def ask(jobs: JobDesk) -> None:
        try:
            outcomes.append((await jobs.start(CLUSTER, "toy", {})).id)
        except JobError as error:
            outcomes.append(str(error)[:5])

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask, job_desk(desk, Toy(nothing)))
    assert sorted(outcomes) == ["1", *["toy 1"] * 4]
    assert len(desk.notes) == 1


async def test_a_plan_is_made_of_what_is_there_and_changes_nothing(autojump_clock: Clock) -> None:
    desk = Desk()
    plan = await job_desk(desk, Toy(nothing)).plan(CLUSTER, "toy", {"a": 1})
    assert plan == {"lines": ["2 shards of sessions"], "wants": {"a": 1}}
    assert not desk.notes


async def test_a_plan_that_takes_too_long_is_given_up(autojump_clock: Clock) -> None:
    class Slow(Toy):
        async def plan(self, desk: object, wants: object) -> dict[str, object]:
            await trio.sleep(PLAN_WITHIN + 1)
            return {}

    with pytest.raises(JobError, match="no plan within 35 s"):
        await job_desk(Desk(), Slow(nothing)).plan(CLUSTER, "toy", {})


async def test_refusals_say_what_there_is(autojump_clock: Clock) -> None:
    desk = Desk()
    jobs = job_desk(desk, Toy(nothing))
    with pytest.raises(JobError, match="no cluster 'other' with shards here; there is: sessions"):
        await jobs.start("other", "toy", {})
    with pytest.raises(JobError, match="no work called 'fly'; there is: toy"):
        await jobs.start(CLUSTER, "fly", {})
    with pytest.raises(JobError, match="nothing was done: what was asked for has"):
        await jobs.start(CLUSTER, "toy", {"x": "x" * MAX_NOTE})
    with pytest.raises(JobError, match="nothing is under way on sessions"):
        await jobs.wish(CLUSTER, Wish.PAUSE)
    with pytest.raises(JobError, match="sessions has no job 9"):
        await jobs.wish(CLUSTER, Wish.PAUSE, "9")
    with pytest.raises(JobError, match="'9x' is no number"):
        await jobs.wish(CLUSTER, Wish.PAUSE, "9x")
    desk.is_down = True
    with pytest.raises(StoreUnavailableError):
        await jobs.start(CLUSTER, "toy", {})
    desk.members.hide(desk.member)
    with pytest.raises(JobError, match="no member of its store"):
        await jobs.start(CLUSTER, "toy", {})
    assert not desk.notes


async def test_what_another_one_decides_about_is_left_alone(autojump_clock: Clock) -> None:
    key = ShardKey(CLUSTER, 0)
    setups = {key: replace(SETUPS[key], decider="sentinel")}
    jobs = JobDesk(Desk(), lambda: {"toy": Toy(nothing)}, setups, {})
    with pytest.raises(JobError, match="sentinel decides about sessions"):
        await jobs.plan(CLUSTER, "toy", {})


async def test_what_is_paused_before_anybody_began_can_begin(autojump_clock: Clock) -> None:
    jobs = job_desk(Desk(), Toy(nothing))
    await jobs.start(CLUSTER, "toy", {})
    assert (await jobs.wish(CLUSTER, Wish.PAUSE)).state is JobState.PAUSED
    assert (await jobs.wish(CLUSTER, Wish.RESUME, "1")).state is JobState.ASKED
    assert (await jobs.wish(CLUSTER, Wish.ABORT)).ended_at == 1000.0
    with pytest.raises(JobError, match="toy 1 of sessions is aborted already: it cannot resume"):
        await jobs.wish(CLUSTER, Wish.RESUME, "1")


async def test_what_is_not_known_is_never_written_down(autojump_clock: Clock) -> None:
    desk = Desk()
    jobs = job_desk(desk, Toy(nothing))
    for ask in (jobs.start, jobs.plan):
        with pytest.raises(JobError, match="toy knows no secret"):
            await ask(CLUSTER, "toy", {"secret": "hunter2"})
        with pytest.raises(JobError, match="no JSON that can be shown"):
            await ask(CLUSTER, "toy", {"rate": float("nan")})
        with pytest.raises(JobError, match="no JSON that can be shown"):
            await ask(CLUSTER, "toy", {"match": "\ud800"})
    assert not desk.notes


async def test_what_is_kept_is_what_was_understood(autojump_clock: Clock) -> None:
    job = await job_desk(Desk(), Toy(nothing)).start(CLUSTER, "toy", {"rough": 1})
    assert job.wants == {"rough": 1, "fine": True}
