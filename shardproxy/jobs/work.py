"""A job as its worker sees it: reads what operators wish, writes what has to outlive this process.

Operators and the worker write the same note. Each owns other fields of it, and changes it by compare-and-set;
who does not do the job any more is found out by its `by`, and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog
import trio

from shardproxy.jobs.interface import JobError
from shardproxy.jobs.job import Job, JobState, Progress
from shardproxy.jobs.notes import job_decode, job_encode, job_key
from shardproxy.model.board import News
from shardproxy.store.changing import note_change
from shardproxy.store.interface import LeadershipLostError, Notebook, StoreUnavailableError

SHOW_EVERY = 1.0  # seconds between writes of progress
MAX_MEMO = 160 << 10  # bytes of JSON, whatever other jobs take
MAX_TEXT = 500  # characters of a line for people

log = structlog.get_logger()


class JobWork:
    """One job of this process; see Work."""

    def __init__(self, notebook: Notebook, job: Job) -> None:
        self._notebook = notebook
        self._key = job_key(job.cluster, job.id)
        self._job = job
        self._progress = job.progress  # not written yet, perhaps
        self.why_kept_on = ""
        self._shown = trio.Event()
        self._turned = trio.Event()  # an operator has wished something

    @property
    def job(self) -> Job:
        return replace(self._job, progress=self._progress)

    @property
    def is_paused(self) -> bool:
        return self._job.state is JobState.PAUSED

    @property
    def is_aborted(self) -> bool:
        return self._job.state is JobState.ABORTING

    @property
    def is_finishing(self) -> bool:
        return self._job.state is JobState.FINISHING

    async def keep_on(self, why: str) -> None:
        self.why_kept_on = why
        self.show(self._progress.stage, text=why)

        def kept_on(job: Job) -> Job:
            state = JobState.RUNNING if job.state is JobState.FINISHING else job.state
            return replace(job, state=state, progress=self._progress)

        await self.change(kept_on)

    async def wait_resumed(self) -> None:
        await trio.lowlevel.checkpoint()
        while self.is_paused:
            await self._turned.wait()

    async def wait_aborted(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self.is_aborted:
            await self._turned.wait()

    async def save(self, memo: Mapping[str, Any]) -> None:
        if (size := len(json.dumps(dict(memo)))) > MAX_MEMO:
            raise JobError(f"what has to be remembered of it has {size} bytes, {MAX_MEMO} at most are kept")
        try:
            await self.change(lambda job: replace(job, memo=dict(memo), progress=self._progress))
        except ValueError as error:
            raise JobError(f"what has to be remembered of it {error}") from error

    def show(self, stage: str, *, what: str = "", done: int = 0, total: int = 0, text: str = "") -> None:
        progress = Progress(stage, what, done, total, text[:MAX_TEXT])
        if progress != self._progress:
            self._progress = progress
            self._shown.set()

    async def change(self, change: Callable[[Job], Job]) -> None:
        """Write the job changed, durably.

        Raise LeadershipLostError when it is another's now, StoreUnavailableError or ValueError.
        """
        mine = self._job.by

        def changed(value: Any) -> dict[str, Any]:
            job = job_decode(self._key, value)
            if job is None or job.by != mine or job.state.is_over:
                whose = f"is done by {job.by or 'nobody'}" if job is not None else "is gone"
                raise LeadershipLostError(f"{self._job.kind} {self._job.id} of {self._job.cluster} {whose}")
            return job_encode(change(job))

        value = await note_change(self._notebook, self._key, changed)
        self._take(job_decode(self._key, value))

    def look(self) -> None:
        """Take the job as it is on the board: a write whose answer was lost may be there."""
        note = self._notebook.notes.get(self._key)
        job = job_decode(self._key, note.value) if note is not None else None
        if job is not None and job.by == self._job.by:
            self._take(job)

    async def run(self) -> None:
        """Hear of wishes, and write progress now and then, until cancelled; raise LeadershipLostError."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear)
            nursery.start_soon(self._write)

    async def _hear(self) -> None:
        news, notes = News(), self._notebook.notes
        notes.subscribe(news, self._key.topic)
        try:
            while True:
                self.look()
                await news.wait()
        finally:
            notes.unsubscribe(news, self._key.topic)

    async def _write(self) -> None:
        is_down = False
        while True:
            await self._shown.wait()
            self._shown = trio.Event()
            try:
                await self.change(lambda job: replace(job, progress=self._progress))
                is_down = False
            except StoreUnavailableError as error:
                if not is_down:
                    log.warning("progress waits for the store", cluster=self._job.cluster, why=str(error))
                is_down = True
                self._shown.set()
            await trio.sleep(SHOW_EVERY)

    def _take(self, job: Job | None) -> None:
        if job is None:
            return
        is_turned = job.state is not self._job.state
        self._job = job
        if is_turned:
            self._turned.set()
            self._turned = trio.Event()
