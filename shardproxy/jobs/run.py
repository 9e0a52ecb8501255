"""The leader's service: does a cluster's jobs one after the other, and goes on with what another one began.

    note ─> take (by, running) ─> worker.run ─> done | failed | aborted
                                     └ crashed, store away: again, from its last memo

Ends with the leadership; what is not over then is gone on with by the next leader.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
import trio

from shardproxy.failover.event_log import EventLog
from shardproxy.failover.events import EventName
from shardproxy.failover.interfaces import SlotDesk
from shardproxy.jobs.interface import JobError, Worker
from shardproxy.jobs.job import Job, JobState
from shardproxy.jobs.notes import job_decode, job_encode, job_key, job_under_way, jobs_of, jobs_to_drop
from shardproxy.jobs.states import state_ended, state_taken
from shardproxy.jobs.statistics import JobStatistics
from shardproxy.jobs.work import JobWork
from shardproxy.model.board import News
from shardproxy.model.replication import ShardKey
from shardproxy.store.changing import note_change
from shardproxy.store.interface import LeadershipLostError, Notebook, StoreError, StoreUnavailableError
from shardproxy.store.notes import NoteKind

AGAIN = 1.0  # seconds until what could not go on is tried again
CRASHES = 3  # of one job in one process; then it has failed
MAX_WHY = 1000  # characters
MAX_RESULT = 2 << 10  # bytes of JSON: twenty of them are kept, in one object of Kubernetes
COMPLETE = "complete"  # in a result: all was done, although it was given up

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class JobTools:
    """What the service needs of its process."""

    notebook: Notebook
    member: str
    workers: Callable[[], Mapping[str, Worker]]  # by kind
    events: EventLog = field(default_factory=EventLog)
    statistics: JobStatistics = field(default_factory=JobStatistics)
    now: Callable[[], float] = time.time  # seconds since 1970


async def run_jobs(desk: SlotDesk, tools: JobTools) -> None:
    """Do the jobs of the desk's cluster, until cancelled; raise LeadershipLostError."""
    news, notes, topic = News(), tools.notebook.notes, (desk.cluster, NoteKind.JOB)
    notes.subscribe(news, topic)
    try:
        while True:
            job = job_under_way(notes, desk.cluster)
            if job is None:
                await _drop_old(tools, desk.cluster)
                await news.wait()
                continue
            try:
                await _do(desk, tools, job)
            except StoreUnavailableError as error:
                log.warning("a job waits for the store", cluster=desk.cluster, job=job.id, why=str(error))
                await trio.sleep(AGAIN)
    finally:
        notes.unsubscribe(news, topic)


async def _do(desk: SlotDesk, tools: JobTools, job: Job) -> None:
    """Take one, and see it through; raise StoreUnavailableError: it is still to be done."""
    taken = await _take(tools, job)
    if taken is None:
        return
    if not job.by:
        _tell(tools, EventName.JOB_STARTED, taken, "")
    elif job.by != tools.member:
        log.info("going on with a job", cluster=job.cluster, job=job.id, kind=job.kind, was_by=job.by)
    work = JobWork(tools.notebook, taken)
    why, result = await _work(desk, tools, work)
    while True:
        try:
            await _end(tools, work, why, result)
        except StoreUnavailableError as error:
            log.warning("the end of a job waits for the store", job=job.id, why=str(error))
            await trio.sleep(AGAIN)  # not done again: what it did, it has done
        else:
            return


async def _take(tools: JobTools, job: Job) -> Job | None:
    """Say that this process does it; None when it is over, given up before anybody began."""
    key = job_key(job.cluster, job.id)

    def take(value: Any) -> Any:
        now = job_decode(key, value)
        if now is None or now.state.is_over:
            return value
        began_at = now.began_at or tools.now()
        return job_encode(replace(now, state=state_taken(now.state), by=tools.member, began_at=began_at))

    taken = job_decode(key, await note_change(tools.notebook, key, take))
    return taken if taken is not None and not taken.state.is_over else None


async def _work(desk: SlotDesk, tools: JobTools, work: JobWork) -> tuple[str | None, Mapping[str, Any]]:
    """Why it failed, or None, and its result; raise LeadershipLostError."""
    worker = tools.workers().get(work.job.kind)
    if worker is None:
        return f"this proxy, which leads, knows no work called {work.job.kind}: another version asked", {}
    crashes = 0
    while True:
        try:
            return None, await _work_once(desk, worker, work)
        except Exception as error:  # a bug ends this job, not the leadership
            causes = tuple(_leaves(error))
            lost = next((cause for cause in causes if isinstance(cause, LeadershipLostError)), None)
            if lost is not None:
                raise lost from error
            said = [str(cause) for cause in causes if isinstance(cause, JobError)]
            if said:
                return "; ".join(said), {}
            if all(isinstance(cause, StoreError) for cause in causes):
                log.warning("a job waits for the store", job=work.job.id, why=str(causes[0]))
            else:
                crashes += 1
                log.error("a job crashed", cluster=work.job.cluster, job=work.job.id, exc_info=error)
                if crashes >= CRASHES:
                    return (
                        f"it crashed {crashes} times, the log of {tools.member} says more: {causes[0]!r}",
                        {},
                    )
        await trio.sleep(AGAIN)


async def _work_once(desk: SlotDesk, worker: Worker, work: JobWork) -> Mapping[str, Any]:
    work.look()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work.run)
        result = await worker.run(desk, work)
        nursery.cancel_scope.cancel()
    return result


async def _end(tools: JobTools, work: JobWork, why: str | None, result: Mapping[str, Any]) -> None:
    """Write down what became of it, whatever else has to go for that; raise StoreUnavailableError."""
    is_complete = bool(result.get(COMPLETE))
    for kept in results_to_keep(result):

        def end(job: Job, kept: Mapping[str, Any] = kept) -> Job:
            return replace(
                job,
                state=state_ended(job.state, is_failed=why is not None, is_complete=is_complete),
                ended_at=tools.now(),
                why=(why or "")[:MAX_WHY],
                memo={},
                result=dict(kept),
                progress=work.job.progress,
            )

        if await _written(tools, work, end):
            break
    else:
        raise StoreUnavailableError("there is no room for the end of a job")
    job = work.job
    tools.statistics.job_ended(job.cluster, job.kind, job.state.value)
    _tell(tools, ENDS[job.state], job, job.why or str(result.get("text", "")))


async def _written(tools: JobTools, work: JobWork, end: Callable[[Job], Job]) -> bool:
    """Write the job's end, in place of the oldest ones that are over where there is no room."""
    while True:
        try:
            await work.change(end)
        except ValueError as error:
            jobs = jobs_of(tools.notebook.notes, work.job.cluster)
            oldest = next((job for job in jobs if job.state.is_over), None)
            log.warning("no room for the end of a job", job=work.job.id, why=str(error))
            if oldest is None:
                return False
            await tools.notebook.drop(job_key(oldest.cluster, oldest.id))
        else:
            return True


def results_to_keep(result: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """As much of it as is kept, and less and less for when there is no room. Pure."""
    if len(json.dumps(dict(result))) <= MAX_RESULT:
        yield result
    text = str(result.get("text", ""))
    yield {"text": text[: MAX_WHY // 2]}
    yield {"text": text[:100]}


ENDS = {
    JobState.DONE: EventName.JOB_DONE,
    JobState.FAILED: EventName.JOB_FAILED,
    JobState.ABORTED: EventName.JOB_ABORTED,
}
BACKUP_ENDS = {JobState.DONE: EventName.SNAPSHOT_COMPLETE, JobState.FAILED: EventName.SNAPSHOT_FAILED}


def _tell(tools: JobTools, name: EventName, job: Job, text: str) -> None:
    if job.kind == "backup":
        name = BACKUP_ENDS.get(job.state, name)
    seconds = max(0.0, job.ended_at - job.began_at)
    said = f"{job.kind} {job.id}" + (f": {text}" if text else "")
    tools.events.add(name, ShardKey(job.cluster, 0), said, seconds=seconds)


async def _drop_old(tools: JobTools, cluster: str) -> None:
    for job in jobs_to_drop(jobs_of(tools.notebook.notes, cluster)):
        try:
            await tools.notebook.drop(job_key(cluster, job.id))
        except StoreUnavailableError:
            return  # after the next one


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
