"""Long work beside failover: done by whoever leads, gone on with by the next, over real engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

from shardproxy.failover.controller import Inputs
from shardproxy.failover.interfaces import LeaderService, SlotDesk
from shardproxy.fleet import RedisNode
from shardproxy.jobs.desk import JobDesk
from shardproxy.jobs.interface import Work
from shardproxy.jobs.job import Job, JobState
from shardproxy.jobs.run import JobTools, run_jobs
from shardproxy.jobs.states import Wish
from shardproxy.model import Hold, SlotRange
from shardproxy.store.interface import Store
from shardproxy.store.record import ShardRecord
from tests.failover.controller.plane import KEY, Plane, open_plane, setup_of
from tests.fixtures.engines import StartFleet

SLOTS = (SlotRange(0, 99),)


@dataclass
class Holder:
    """Holds some slots until it is told to go on; and remembers what it found when it began."""

    kind: str = "holder"
    goes_on: trio.Event = field(default_factory=trio.Event)
    found: list[tuple[Mapping[str, Any], Hold | None]] = field(default_factory=list)

    def check(self, cluster: str, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        return wants

    def can_finish(self, wants: Mapping[str, Any]) -> bool:
        """See Worker."""
        return False

    async def plan(self, desk: SlotDesk, wants: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"lines": [f"{len(desk.records)} shards on record"]}

    async def run(self, desk: SlotDesk, work: Work) -> Mapping[str, Any]:
        self.found.append((work.job.memo, desk.records[KEY].hold))
        await desk.change({KEY: partial(held, hold=Hold(SLOTS))})
        await desk.wait_served([KEY], within=1.0)
        await work.save({"step": "held"})
        await self.goes_on.wait()
        await desk.change({KEY: partial(held, hold=None)})
        return {"text": "let go"}


def held(record: ShardRecord, hold: Hold | None) -> ShardRecord:
    return replace(record, hold=hold)


def services(holder: Holder, inputs: Inputs) -> tuple[LeaderService, ...]:
    store: Store = inputs.store
    tools = JobTools(store, store.member, lambda: {holder.kind: holder}, inputs.events)
    return (lambda desk: run_jobs(desk, tools),)


def desk_of(plane: Plane, holder: Holder) -> JobDesk:
    inputs = plane.inputs
    return JobDesk(inputs.store, lambda: {holder.kind: holder}, inputs.setups, inputs.store.records)


def nodes_of(start_fleet: StartFleet) -> list[RedisNode]:
    fleet = start_fleet(shards=1, replicas=1, managed=True)
    return [node for node in fleet.shards[0].nodes if isinstance(node, RedisNode)]


async def wait_state(plane: Plane, jobs: JobDesk, state: JobState) -> Job:
    await plane.wait(f"it is {state.value}", lambda: jobs.jobs(KEY.cluster)[-1].state is state)
    return jobs.jobs(KEY.cluster)[-1]


async def test_the_next_leader_goes_on_and_what_was_held_was_let_go(
    start_fleet: StartFleet, tmp_path: Path
) -> None:
    nodes, holder = nodes_of(start_fleet), Holder()
    setup, state = setup_of(*nodes, slots=(SlotRange(0, 16383),)), tmp_path / "state.json"
    async with open_plane(state, setup, services=partial(services, holder)) as plane:
        await plane.wait_joined(*nodes)
        jobs = desk_of(plane, holder)
        assert await jobs.plan(KEY.cluster, "holder", {}) == {"lines": ["1 shards on record"]}
        await jobs.start(KEY.cluster, "holder", {})
        await plane.wait("it holds", lambda: jobs.jobs()[0].memo == {"step": "held"})
        assert plane.record.hold == Hold(SLOTS)
    holder.goes_on.set()
    async with open_plane(state, setup, services=partial(services, holder)) as plane:
        jobs = desk_of(plane, holder)
        job = await wait_state(plane, jobs, JobState.DONE)
        assert job.result == {"text": "let go"}
        assert plane.record.hold is None
    assert holder.found == [({}, None), ({"step": "held"}, None)], "the hold of a leader that died is gone"


async def test_a_job_and_a_switchover_do_not_disturb_each_other(
    start_fleet: StartFleet, tmp_path: Path
) -> None:
    nodes, holder = nodes_of(start_fleet), Holder()
    setup = setup_of(*nodes, slots=(SlotRange(0, 16383),))
    async with open_plane(tmp_path / "state.json", setup, services=partial(services, holder)) as plane:
        await plane.wait_joined(*nodes)
        jobs = desk_of(plane, holder)
        await jobs.start(KEY.cluster, "holder", {})
        await plane.wait("it holds", lambda: plane.record.hold is not None)
        before = plane.record.primary
        assert await plane.controls.switch_over(KEY) is None
        assert plane.record.primary != before
        holder.goes_on.set()
        await wait_state(plane, jobs, JobState.DONE)
        assert plane.record.hold is None


async def test_a_job_that_is_given_up_before_it_began_is_not_done(
    start_fleet: StartFleet, tmp_path: Path
) -> None:
    nodes, holder = nodes_of(start_fleet), Holder()
    setup, state = setup_of(*nodes, slots=(SlotRange(0, 16383),)), tmp_path / "state.json"
    async with open_plane(state, setup) as plane:
        await plane.wait_joined(*nodes)
        jobs = desk_of(plane, holder)
        await jobs.start(KEY.cluster, "holder", {})
        await jobs.wish(KEY.cluster, Wish.ABORT)
    async with open_plane(state, setup, services=partial(services, holder)) as plane:
        await plane.wait_joined(*nodes)
        assert [job.state for job in desk_of(plane, holder).jobs()] == [JobState.ABORTED]
        assert holder.found == []
