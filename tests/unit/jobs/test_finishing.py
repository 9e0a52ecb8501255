"""Work that would go on for ever is brought to its end when an operator asks, or goes on and says why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio

from shardproxy.jobs.interface import JobError, Work
from shardproxy.jobs.job import JobState
from shardproxy.jobs.states import Wish
from tests.unit.jobs.make import CLUSTER, Desk, Toy, job_desk, led, tools, wait_job, wait_over


async def test_work_is_finished_once_it_can_be(autojump_clock: Any) -> None:
    ready: list[bool] = []

    async def follows(work: Work) -> Mapping[str, Any]:
        while True:
            if work.is_finishing:
                if ready:
                    return {"text": work.why_kept_on}
                await work.keep_on("not yet")
            await trio.sleep(0.1)

    desk = Desk()
    toy = Toy(follows)
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {})
    async with led(tools(desk, toy)):
        await wait_job(jobs, desk, lambda job: job.state is JobState.RUNNING)
        assert (await jobs.wish(CLUSTER, Wish.FINISH)).state is JobState.FINISHING
        job = await wait_job(jobs, desk, lambda job: job.state is JobState.RUNNING)
        assert job.progress.text == "not yet"
        ready.append(True)
        await jobs.wish(CLUSTER, Wish.FINISH)
        job = await wait_over(jobs, desk)
    assert (job.state, job.result) == (JobState.DONE, {"text": "not yet"})


async def test_work_that_is_being_finished_can_be_given_up(autojump_clock: Any) -> None:
    async def follows(work: Work) -> Mapping[str, Any]:
        await work.wait_aborted()
        return {}

    desk = Desk()
    toy = Toy(follows)
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {})
    async with led(tools(desk, toy)):
        await wait_job(jobs, desk, lambda job: job.state is JobState.RUNNING)
        await jobs.wish(CLUSTER, Wish.FINISH)
        with pytest.raises(JobError, match="is finishing: it cannot pause"):
            await jobs.wish(CLUSTER, Wish.PAUSE)
        await jobs.wish(CLUSTER, Wish.ABORT)
        job = await wait_over(jobs, desk)
    assert job.state is JobState.ABORTED


async def test_what_ends_by_itself_cannot_be_finished(autojump_clock: Any) -> None:
    async def works(work: Work) -> Mapping[str, Any]:
        await work.wait_aborted()
        return {}

    desk = Desk()
    toy = Toy(works)
    jobs = job_desk(desk, toy)
    await jobs.start(CLUSTER, "toy", {"ends": True})
    async with led(tools(desk, toy)):
        await wait_job(jobs, desk, lambda job: job.state is JobState.RUNNING)
        with pytest.raises(JobError, match="toy 1 of sessions ends by itself: there is nothing to finish"):
            await jobs.wish(CLUSTER, Wish.FINISH)
        assert jobs.jobs(CLUSTER)[-1].state is JobState.RUNNING
