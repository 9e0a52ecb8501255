"""The leader measures, advises, and asks for a job where shards are ready; one change at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing

from shardproxy.failover.event_log import EventLog
from shardproxy.failover.events import EventName
from shardproxy.failover.requests import paused_key
from shardproxy.jobs.desk import Onlooker
from shardproxy.jobs.interface import Work
from shardproxy.jobs.job import JobState
from shardproxy.jobs.notes import job_encode, job_key
from shardproxy.model import Address, SlotRange
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeUnreachable
from shardproxy.scaling.advice import Scaled
from shardproxy.scaling.decide import Rules
from shardproxy.scaling.run import KIND, LOOK, ScalingTools, run_scaling
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.wire.resp import Argument
from tests.unit.jobs.make import CLUSTER, SETUPS, Desk, Toy, job_desk

Clock = trio.testing.MockClock
RULES = Rules(min=1, max=4, cpu=0.6)
ONE, TWO = sorted(SETUPS)


class Engines:
    """Primaries that use so much of a core."""

    def __init__(self, cpu: float) -> None:
        self.cpu = cpu
        self.down: set[Address] = set()
        self._used, self._at = 0.0, 0.0

    async def request_many(
        self,
        address: Address,
        requests: Sequence[Sequence[Argument]],
        *,
        timeout: float,
        run_id: str | None = None,
    ) -> list[Any]:
        await trio.lowlevel.checkpoint()
        if address in self.down:
            raise NodeUnreachable(address, "refused", is_sent=False)
        now = trio.current_time()
        self._used, self._at = self._used + (now - self._at) * self.cpu, now
        return [
            b"run_id:a\r\n",
            f"used_cpu_user_main_thread:{self._used}\r\nused_cpu_sys_main_thread:0\r\n".encode(),
            b"used_memory:10\r\nmaxmemory:100\r\n",
        ]


def record(key: ShardKey, *slots: SlotRange) -> ShardRecord:
    node = SETUPS[key].addresses[0]
    return ShardRecord(key, 1, ShardState.OK, node, (node,), slots=slots)


class Site:
    """One shard has all slots, the other one is ready."""

    def __init__(self, cpu: float = 0.9, *, is_ready: bool = True) -> None:
        self.desk, self.events, self.engines = Desk(), EventLog(), Engines(cpu)
        self.toy = Toy(self._nothing, kind=KIND)
        self.jobs = job_desk(self.desk, self.toy)
        self.records = {ONE: record(ONE, SlotRange(0, 16383)), TWO: record(TWO)}
        if not is_ready:
            self.records[TWO] = replace(self.records[TWO], state=ShardState.FENCING, primary=None)
        self.rules: tuple[Rules, bool] | None = (RULES, True)
        self.scaled: dict[str, Scaled] = {}

    async def _nothing(self, work: Work) -> Mapping[str, Any]:
        return {}

    def said(self, name: EventName) -> list[str]:
        return [event.message for event in self.events.latest() if event.name is name]

    @asynccontextmanager
    async def led(self) -> AsyncIterator[None]:
        tools = ScalingTools(
            self.engines,
            self.jobs,
            self.desk.notes,
            self.events,
            lambda cluster: self.rules,
            self.scaled,
            lambda: 1_000_000.0 + trio.current_time(),
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_scaling, Onlooker(CLUSTER, SETUPS, self.records), tools)
            yield
            nursery.cancel_scope.cancel()

    async def end_job(self, state: JobState) -> None:
        (job,) = [job for job in self.jobs.jobs() if not job.state.is_over]
        ended = replace(job, state=state, ended_at=1_000_000.0 + trio.current_time())
        await self.desk.note(job_key(CLUSTER, job.id), job_encode(ended))


async def test_ready_shards_are_given_slots(autojump_clock: Clock) -> None:
    site = Site()
    async with site.led():
        await trio.sleep(180 + LOOK - 1)
        assert not site.jobs.jobs(), "the first sample has no CPU yet"
        await trio.sleep(LOOK)
        (job,) = site.jobs.jobs()
        assert (job.kind, job.wants) == (KIND, {"do": "scale", "shards": 2})
        (said,) = site.said(EventName.SCALING_ASKED)
        assert said == "1 shards have slots, 2 should: cpu was above 60 % for 180 s, and is 90 %"
        await trio.sleep(1000)
        assert len(site.jobs.jobs()) == 1, "one change at a time"
        await site.end_job(JobState.FAILED)
        await trio.sleep(500)
        assert len(site.jobs.jobs()) == 1, "it rests, also after one that failed"
        await trio.sleep(150)
        assert len(site.jobs.jobs()) == 2


async def test_without_a_ready_shard_it_is_said_once(autojump_clock: Clock) -> None:
    site = Site(is_ready=False)
    async with site.led():
        await trio.sleep(2000)
        (said,) = site.said(EventName.SCALING_ADVISED)
        assert "No shard is ready: list 1 more in the config, with slots: none" in said
        assert site.scaled[CLUSTER].text == said
        assert site.scaled[CLUSTER].advice.wanted == 2
        assert not site.jobs.jobs()
        site.engines.cpu = 0.5
        await trio.sleep(2 * LOOK)
        assert site.scaled[CLUSTER].text == ""
    assert site.scaled == {}, "who leads no more says nothing"


@pytest.mark.parametrize("is_paused", [True, False])
async def test_where_it_may_not_act_it_says_what_to_do(is_paused: bool, autojump_clock: Clock) -> None:
    site = Site()
    if is_paused:
        await site.desk.note(paused_key(CLUSTER), True)
    else:
        site.rules = (RULES, False)
    async with site.led():
        await trio.sleep(400)
        (said,) = site.said(EventName.SCALING_ADVISED)
        assert said.endswith(f"shardproxy scale {CLUSTER} --shards 2")
        assert not site.jobs.jobs()


async def test_an_idle_shard_is_emptied(autojump_clock: Clock) -> None:
    site = Site(cpu=0.1)
    site.records[ONE] = record(ONE, SlotRange(0, 8191))
    site.records[TWO] = record(TWO, SlotRange(8192, 16383))
    async with site.led():
        await trio.sleep(1000)
        (job,) = site.jobs.jobs()
        assert job.wants == {"do": "scale", "shards": 1}


async def test_a_silent_primary_is_no_reason_for_anything(autojump_clock: Clock) -> None:
    site = Site()
    site.engines.down = {SETUPS[ONE].addresses[0]}
    async with site.led():
        await trio.sleep(2000)
        assert not site.jobs.jobs()
        assert site.scaled[CLUSTER].load.cpu is None


async def test_what_is_configured_now_counts(autojump_clock: Clock) -> None:
    site = Site()
    site.rules = None
    async with site.led():
        await trio.sleep(2000)
        assert not site.scaled
        site.rules = (RULES, True)
        await trio.sleep(300)
        assert len(site.jobs.jobs()) == 1
