"""A store in memory, a cluster of two shards, and workers that do what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from shardproxy.failover.event_log import EventLog
from shardproxy.failover.interfaces import SlotDesk
from shardproxy.failover.setup import ShardSetup
from shardproxy.jobs.desk import JobDesk, Onlooker
from shardproxy.jobs.interface import JobError, Work, Worker
from shardproxy.jobs.job import Job
from shardproxy.jobs.run import JobTools, run_jobs
from shardproxy.model import Address, Node
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.memory import MemoryDesk
from shardproxy.store.notes import Note, NoteKey

CLUSTER = "sessions"
SETUPS = {
    key: ShardSetup(key, (Node(Address("10.0.0.1", 7001 + key.index)),))
    for key in (ShardKey(CLUSTER, 0), ShardKey(CLUSTER, 1))
}


class Desk(MemoryDesk):
    """`is_down`: nothing can be written."""

    is_down = False

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        if self.is_down:
            await trio.lowlevel.checkpoint()
            raise StoreUnavailableError("no quorum")
        return await super().note(key, value, expected=expected)


Run = Callable[[Work], Awaitable[Mapping[str, Any]]]


@dataclass
class Toy:
    """Runs what it is given, and remembers with which memos it was called."""

    does: Run
    kind: str = "toy"

    def __post_init__(self) -> None:
        self.memos: list[Mapping[str, Any]] = []

    def check(self, cluster: str, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        if "secret" in wants:
            raise JobError("toy knows no secret")
        return {**wants, **({"fine": True} if "rough" in wants else {})}

    def can_finish(self, wants: Mapping[str, Any]) -> bool:
        return not wants.get("ends", False)

    async def plan(self, desk: SlotDesk, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"lines": [f"{len(desk.setups)} shards of {desk.cluster}"], "wants": dict(wants)}

    async def run(self, desk: SlotDesk, work: Work) -> Mapping[str, Any]:
        self.memos.append(work.job.memo)
        return await self.does(work)


def job_desk(desk: MemoryDesk, worker: Worker | None = None) -> JobDesk:
    workers = {worker.kind: worker} if worker is not None else {}
    return JobDesk(desk, lambda: workers, SETUPS, {}, now=lambda: 1000.0)


def tools(desk: MemoryDesk, worker: Worker, events: EventLog | None = None) -> JobTools:
    return JobTools(
        desk, desk.member, lambda: {worker.kind: worker}, events or EventLog(), now=lambda: 2000.0
    )


@asynccontextmanager
async def led(using: JobTools) -> AsyncIterator[trio.Nursery]:
    """This member leads meanwhile."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_jobs, Onlooker(CLUSTER, SETUPS, {}), using)
        yield nursery
        nursery.cancel_scope.cancel()


async def wait_job(jobs: JobDesk, desk: MemoryDesk, is_it: Callable[[Job], bool], number: str = "1") -> Job:
    while True:
        seen = desk.notes.version
        found = next((job for job in jobs.jobs(CLUSTER) if job.id == number), None)
        if found is not None and is_it(found):
            return found
        await desk.notes.wait_changed(seen)


async def wait_over(jobs: JobDesk, desk: MemoryDesk, number: str = "1") -> Job:
    return await wait_job(jobs, desk, lambda job: job.state.is_over, number)
