"""What a scrape shows of long work and of scaling."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import generate_latest

from shardproxy.admin.collector import registry_build
from shardproxy.admin.job_metrics import TABLE, JobView
from shardproxy.admin.metric import Labels
from shardproxy.admin.status import Sources, StatusBoard
from shardproxy.jobs.interface import Work
from shardproxy.jobs.job import Job, JobState, Progress
from shardproxy.jobs.statistics import PAUSES, JobStatistics
from shardproxy.model.times import Times
from shardproxy.scaling.advice import Scaled
from shardproxy.scaling.decide import Advice
from shardproxy.scaling.load import Load
from tests.unit.app.fake_native import FakeNative, dataplane_over
from tests.unit.jobs.make import CLUSTER, SETUPS, Desk, Toy, job_desk

DONE = Job("1", "main", "backup", {}, JobState.DONE, ended_at=1000.0)
JOBS = (
    DONE,
    replace(DONE, id="2", ended_at=2000.0),
    replace(DONE, id="3", state=JobState.FAILED, ended_at=3000.0),
    replace(DONE, id="4", kind="reshard", state=JobState.FAILED),
    replace(DONE, id="5", kind="reshard", ended_at=4000.0),
    replace(DONE, id="6", kind="import", state=JobState.RUNNING, progress=Progress("", "keys", 1, 4)),
)


def samples(name: str, view: JobView) -> dict[Labels, float]:
    (metric,) = [metric for metric in TABLE if metric.name == name]
    return {labels: float(value) for labels, value in metric.read(view)}


@pytest.fixture
def view() -> JobView:
    done = JobStatistics()
    done.job_ended("main", "backup", "done")
    done.moved("main", 100, 5000)
    scaled = {"main": Scaled(Advice(3, 4, "cpu"), Load(0.9, None), ready=1)}
    return JobView(("main",), ("backup", "import", "reshard"), JOBS, done, scaled)


def test_what_is_under_way_is_a_one_among_zeros(view: JobView) -> None:
    found = samples("shardproxy_job_state", view)
    assert {labels for labels, value in found.items() if value} == {("main", "import", "running")}
    assert len(found) == 3 * sum(not state.is_over for state in JobState)
    assert samples("shardproxy_job_progress_ratio", view) == {("main", "import"): 0.25}


def test_the_last_of_each_kind_counts(view: JobView) -> None:
    assert samples("shardproxy_job_last_done_timestamp_seconds", view) == {
        ("main", "backup"): 2000.0,
        ("main", "reshard"): 4000.0,
    }
    assert samples("shardproxy_job_last_failed", view) == {("main", "backup"): 1, ("main", "reshard"): 0}
    ended = samples("shardproxy_jobs_total", view)
    assert (ended["main", "backup", "done"], sum(ended.values()), len(ended)) == (1, 1, 9)
    assert samples("shardproxy_slots_moved_total", view) == {("main",): 100}
    assert samples("shardproxy_keys_moved_total", view) == {("main",): 5000}


def test_scaling_is_shown_by_who_leads(view: JobView) -> None:
    assert samples("shardproxy_scaling_shards", view) == {
        ("main", "owning"): 3,
        ("main", "wanted"): 4,
        ("main", "ready"): 1,
    }
    assert samples("shardproxy_scaling_load_ratio", view) == {("main", "cpu"): 0.9}
    assert samples("shardproxy_scaling_shards", replace(view, scaled={})) == {}


def test_pauses_are_counted_in_buckets() -> None:
    pauses = Times(PAUSES)
    for seconds in (0.0005, 0.001, 0.004, 0.3, 7.0):
        pauses.add(seconds)
    found = dict(pauses.cumulative)
    assert list(found) == [*PAUSES, float("inf")]
    assert [found[le] for le in (0.001, 0.002, 0.005, 0.2, 0.5, float("inf"))] == [2, 2, 3, 3, 4, 5]
    assert pauses.sum == pytest.approx(7.3055)


async def test_a_scrape_has_them_all() -> None:
    async def clients() -> tuple[Any, ...]:
        return ()

    async def nothing(work: Work) -> dict[str, object]:
        return {}

    done = JobStatistics()
    done.paused(CLUSTER, 0.004)
    jobs = job_desk(Desk(), Toy(nothing))
    await jobs.start(CLUSTER, "toy", {})
    statistics = dataplane_over(FakeNative()).statistics
    sources = Sources(StatusBoard(), statistics, clients, {}, SETUPS, jobs=jobs, jobs_done=done)
    text = generate_latest(registry_build(sources, 0.0)).decode()
    assert 'shardproxy_job_state{cluster="sessions",kind="toy",state="asked"} 1.0' in text
    assert 'shardproxy_move_pause_seconds_bucket{cluster="sessions",le="0.005"} 1.0' in text
    assert 'shardproxy_move_pause_seconds_count{cluster="sessions"} 1.0' in text
    assert not re.search(r"shardproxy_jobs_total\{.*\} [^0]", text)
