"""Which state follows which. Pure.

    asked ──> running <──> paused          an operator pauses, resumes and gives up,
      │          │            │            whoever leads begins and ends
      │          ├──> aborting <┘         (finishing is running, towards an end that was asked for)
      └> aborted <──────┤ done | failed

What is over stays as it is.
"""

from __future__ import annotations

import enum

from shardproxy.jobs.job import Job, JobState


class Wish(enum.Enum):
    """What an operator asks of a job."""

    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    FINISH = "finish"


WISHES = {
    (JobState.ASKED, Wish.PAUSE): JobState.PAUSED,
    (JobState.RUNNING, Wish.PAUSE): JobState.PAUSED,
    (JobState.PAUSED, Wish.PAUSE): JobState.PAUSED,
    (JobState.ASKED, Wish.RESUME): JobState.ASKED,
    (JobState.RUNNING, Wish.RESUME): JobState.RUNNING,
    (JobState.PAUSED, Wish.RESUME): JobState.RUNNING,
    (JobState.ASKED, Wish.ABORT): JobState.ABORTED,  # nobody has begun: there is nothing to undo
    (JobState.RUNNING, Wish.ABORT): JobState.ABORTING,
    (JobState.PAUSED, Wish.ABORT): JobState.ABORTING,
    (JobState.ABORTING, Wish.ABORT): JobState.ABORTING,
    (JobState.RUNNING, Wish.FINISH): JobState.FINISHING,
    (JobState.FINISHING, Wish.FINISH): JobState.FINISHING,
    (JobState.FINISHING, Wish.RESUME): JobState.RUNNING,
    (JobState.FINISHING, Wish.ABORT): JobState.ABORTING,
}


class WishError(Exception):
    """The job is not one of which that can be asked; the text says why."""


def state_wished(job: Job, wish: Wish) -> JobState:
    """The job's state after the wish; raise WishError."""
    try:
        return WISHES[job.state, wish]
    except KeyError:
        how = f"is {job.state.value}" + (" already" if job.state.is_over else "")
        raise WishError(f"{job.kind} {job.id} of {job.cluster} {how}: it cannot {wish.value}") from None


def state_taken(state: JobState) -> JobState:
    """The state of a job that a leader begins with, or goes on with."""
    return JobState.RUNNING if state is JobState.ASKED else state


def state_ended(state: JobState, *, is_failed: bool, is_complete: bool) -> JobState:
    """What became of it. `is_complete`: all of it is done, although it was given up too late."""
    if is_failed:
        return JobState.FAILED
    return JobState.ABORTED if state is JobState.ABORTING and not is_complete else JobState.DONE
