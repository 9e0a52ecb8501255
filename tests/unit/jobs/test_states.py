"""States of a job: whoever wishes what in which order, what is over stays as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.jobs.job import Job, JobState, Progress
from shardproxy.jobs.notes import KEPT, job_decode, job_encode, job_key, jobs_to_drop
from shardproxy.jobs.states import WISHES, Wish, WishError, state_ended, state_taken, state_wished

JOB = Job("7", "sessions", "toy", {"shards": 4})


@given(st.lists(st.one_of(st.sampled_from(list(Wish)), st.just("take"), st.just("end"), st.just("fail"))))
def test_what_is_over_stays_as_it_is(steps: list[Wish | str]) -> None:
    job, is_taken = JOB, False
    for step in steps:
        before = job.state
        if isinstance(step, Wish):
            try:
                job = replace(job, state=state_wished(job, step))
            except WishError:
                assert (before, step) not in WISHES
        elif step == "take" and not before.is_over:
            job, is_taken = replace(job, state=state_taken(before)), True
        elif step in ("end", "fail") and is_taken and not before.is_over:
            job = replace(job, state=state_ended(before, is_failed=step == "fail", is_complete=False))
        if before.is_over:
            assert job.state is before
        if before is JobState.ABORTING and not job.state.is_over:
            assert job.state is JobState.ABORTING, "who gave it up cannot have it go on half undone"


@pytest.mark.parametrize(
    ("state", "is_failed", "is_complete", "expected"),
    [
        (JobState.RUNNING, False, False, JobState.DONE),
        (JobState.PAUSED, False, False, JobState.DONE),
        (JobState.ABORTING, False, False, JobState.ABORTED),
        (JobState.ABORTING, False, True, JobState.DONE),
        (JobState.ABORTING, True, False, JobState.FAILED),
        (JobState.RUNNING, True, False, JobState.FAILED),
    ],
)
def test_what_becomes_of_it(state: JobState, is_failed: bool, is_complete: bool, expected: JobState) -> None:
    assert state_ended(state, is_failed=is_failed, is_complete=is_complete) is expected


@pytest.mark.parametrize("state", list(JobState))
def test_a_job_is_read_as_it_was_written(state: JobState) -> None:
    job = replace(
        JOB,
        state=state,
        by="p1",
        asked_at=1.5,
        began_at=2.5,
        ended_at=3.5,
        progress=Progress("copying", "keys", 3, 9, "three of nine"),
        why="no room",
        memo={"step": "COPY", "pairs": [[0, 1]]},
        result={"moved": 12},
    )
    assert job_decode(job_key("sessions", "7"), job_encode(job)) == job


@pytest.mark.parametrize("value", [None, 7, {}, {"kind": "toy"}, {**job_encode(JOB), "state": "unheard"}])
def test_what_another_version_wrote_is_no_job(value: object) -> None:
    assert job_decode(job_key("sessions", "7"), value) is None


def test_names_sort_by_number() -> None:
    assert sorted(job_key("s", str(n)).name for n in (10, 9, 1, 100)) == [
        job_key("s", str(n)).name for n in (1, 9, 10, 100)
    ]
    for name in ("", "-1", "x", "1.5", "\u0661"):
        with pytest.raises(ValueError, match="no number"):
            job_key("s", name)


def test_the_newest_are_kept_and_the_last_of_each_kind() -> None:
    jobs = [replace(JOB, id=str(n), state=JobState.DONE) for n in range(1, KEPT + 5)]
    jobs[1] = replace(jobs[1], kind="backup")
    jobs[2] = replace(jobs[2], kind="backup", state=JobState.FAILED)
    under_way = replace(JOB, id="99", state=JobState.RUNNING)
    assert [job.id for job in jobs_to_drop([*jobs, under_way])] == ["1", "3", "4"]
