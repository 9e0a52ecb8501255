"""What operators ask of long work: plan it, have it done, pause it, go on, give it up.

Any proxy may be asked. It writes the job's note, the cluster's leader does the work (run.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import trio

from shardproxy.failover.controls import Desk, why_not_here
from shardproxy.failover.setup import ShardSetup
from shardproxy.jobs.interface import JobError, Worker
from shardproxy.jobs.job import Job, JobState
from shardproxy.jobs.notes import job_decode, job_encode, job_key, job_under_way, jobs_of, next_number
from shardproxy.jobs.states import Wish, WishError, state_wished
from shardproxy.jobs.wanted import kept_as
from shardproxy.model.replication import ShardKey
from shardproxy.store.changing import note_change
from shardproxy.store.interface import ConflictError, StoreUnavailableError
from shardproxy.store.record import ShardRecord

PLAN_WITHIN = 35.0  # seconds; who asks over HTTP waits 45
TRIES = 5  # against others that ask at the same moment
NEWS_WITHIN = 1.0  # seconds


class JobDesk:
    """One process's desk for long work."""

    def __init__(
        self,
        desk: Desk,
        workers: Callable[[], Mapping[str, Worker]],
        setups: Mapping[ShardKey, ShardSetup],
        records: Mapping[ShardKey, ShardRecord],
        *,
        kinds: Iterable[str] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`workers`: those there are, by kind; `kinds`: theirs, where they need not be made to say so.

        `now`: seconds since 1970.
        """
        self._desk = desk
        self._workers = workers
        self._setups = setups
        self._records = records
        self._kinds = tuple(kinds) if kinds is not None else None
        self._now = now

    @property
    def kinds(self) -> tuple[str, ...]:
        """What can be asked for."""
        return tuple(sorted(self._kinds if self._kinds is not None else self._workers()))

    def jobs(self, cluster: str | None = None) -> tuple[Job, ...]:
        """Those that are kept, of one cluster or of all, the oldest first."""
        names = [cluster] if cluster is not None else self._clusters()
        found = [job for name in names for job in jobs_of(self._desk.notes, name)]
        return tuple(sorted(found, key=lambda job: (job.asked_at, int(job.id))))

    async def plan(self, cluster: str, kind: str, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        """What would be done, with `lines` for people; raise JobError. Nothing is changed."""
        worker = self._worker(cluster, kind)
        wants = kept_as(worker.check(cluster, wants))
        onlooker = Onlooker(cluster, self._setups, self._records)
        try:
            with trio.fail_after(PLAN_WITHIN):
                return await worker.plan(onlooker, wants)
        except trio.TooSlowError:
            raise JobError(
                f"no plan within {PLAN_WITHIN:g} s: nodes answer too slowly; nothing was done"
            ) from None

    async def start(self, cluster: str, kind: str, wants: Mapping[str, Any]) -> Job:
        """Have it done; raise JobError, or StoreUnavailableError: it was not asked for."""
        kept = kept_as(self._worker(cluster, kind).check(cluster, wants))
        if (why := why_not_here(self._desk)) is not None:
            raise JobError(why)
        for _ in range(TRIES):
            notes, seen = self._desk.notes, self._desk.notes.version
            if (other := job_under_way(notes, cluster)) is not None:
                raise JobError(
                    f"{other.kind} {other.id} of {cluster} is {other.state.value}: one at a time; "
                    f"shardproxy jobs {cluster} shows it"
                )
            number = next_number(notes, cluster)
            job = Job(number, cluster, kind, kept, asked_at=self._now())
            try:
                await self._desk.note(job_key(cluster, number), job_encode(job), expected=0)
            except ConflictError:
                with trio.move_on_after(NEWS_WITHIN):
                    while notes.get(job_key(cluster, number)) is None:
                        seen = await notes.wait_changed(seen)
                continue
            except ValueError as error:
                raise JobError(f"nothing was done: what was asked for {error}") from error
            return job
        raise StoreUnavailableError(f"others ask for work on {cluster} all the time")

    async def wish(self, cluster: str, wish: Wish, number: str | None = None) -> Job:
        """Pause, resume or give up a job, or the one that is not over; return it as it is then.

        Raise JobError or StoreUnavailableError.
        """
        if (why := why_not_here(self._desk)) is not None:
            raise JobError(why)
        if number is None:
            under_way = job_under_way(self._desk.notes, cluster)
            if under_way is None:
                raise JobError(f"nothing is under way on {cluster}")
            number = under_way.id
        try:
            key = job_key(cluster, number)
        except ValueError as error:
            raise JobError(str(error)) from error

        def change(value: Any) -> dict[str, Any]:
            job = job_decode(key, value)
            if job is None:
                raise JobError(f"{cluster} has no job {number}")
            state = state_wished(job, wish)
            if wish is Wish.FINISH and not self._can_finish(job):
                raise JobError(f"{job.kind} {job.id} of {cluster} ends by itself: there is nothing to finish")
            ended = self._now() if state.is_over and not job.state.is_over else job.ended_at
            if state is JobState.RUNNING and not job.by:
                state = JobState.ASKED  # it was paused before anybody began
            return job_encode(replace(job, state=state, ended_at=ended))

        try:
            changed = job_decode(key, await note_change(self._desk, key, change))
        except WishError as error:
            raise JobError(str(error)) from error
        assert changed is not None
        return changed

    def _worker(self, cluster: str, kind: str) -> Worker:
        if cluster not in self._clusters():
            there = ", ".join(self._clusters()) or "none"
            raise JobError(f"no cluster {cluster!r} with shards here; there is: {there}")
        deciders = {setup.decider for key, setup in self._setups.items() if key.cluster == cluster}
        if (decider := next(iter(deciders - {None}), None)) is not None:
            raise JobError(
                f"{decider} decides about {cluster}: its slots and data are not ours to move, only to read"
            )
        worker = self._workers().get(kind)
        if worker is None:
            raise JobError(f"no work called {kind!r}; there is: {', '.join(self.kinds) or 'none'}")
        return worker

    def _can_finish(self, job: Job) -> bool:
        worker = self._workers().get(job.kind)
        return worker is not None and worker.can_finish(job.wants)

    def _clusters(self) -> list[str]:
        return sorted({key.cluster for key in self._setups})


@dataclass(frozen=True, slots=True)
class Onlooker:
    """A SlotDesk for who only plans: it shows what is, and changes nothing."""

    cluster: str
    all_setups: Mapping[ShardKey, ShardSetup]
    all_records: Mapping[ShardKey, ShardRecord]
    lingers: float = 0.0  # it waits for nobody
    wrote_in: float = 0.0

    term = 0

    @property
    def setups(self) -> Mapping[ShardKey, ShardSetup]:
        return {key: setup for key, setup in self.all_setups.items() if key.cluster == self.cluster}

    @property
    def records(self) -> Mapping[ShardKey, ShardRecord]:
        return {key: record for key, record in self.all_records.items() if key.cluster == self.cluster}

    def covers(self, seconds: float) -> bool:
        return False

    def seals(self, record: ShardRecord, latest: int = 1) -> tuple[str, ...]:
        return ()

    async def change(self, changes: Mapping[ShardKey, Callable[[ShardRecord], ShardRecord]]) -> None:
        raise RuntimeError("a plan changes nothing")

    async def wait_served(self, keys: Iterable[ShardKey], *, within: float) -> None:
        raise RuntimeError("a plan waits for nobody")
