"""Whatever dies in whatever step: slots are where they were or where they go, and nothing is lost."""

from __future__ import annotations

import pytest

from tests.failover.moving.conftest import OpenMoving
from tests.failover.moving.site import MovingSite
from tests.failover.moving.workload import Workload, fill, still_faults, working
from tests.fixtures.proxy import wait_until

RATE = 1 << 20  # bytes a second: long enough that something can happen meanwhile
# What stands in the store in each step.
STEPS = {
    "clean target": '"step":"clean_target"',
    "copy": '"step":"copy"',
    "fence": '"hold": [[',
    "clean source": '"step":"clean_source"',
}


def begun(site: MovingSite, load: Workload, step: str) -> str:
    """A move that has come to a step."""
    wait_until(lambda: load.done > 500, "some work is done", timeout=60)
    number = site.begin(do="scale", shards=2, rate=RATE if step == "copy" else 0)
    wait_until(lambda: site.has_recorded(STEPS[step]), lambda: f"{step}: {site.job(number)}", 60, 0.001)
    return number


def assert_sound(site: MovingSite, load: Workload, ends: dict[str, int]) -> None:
    assert load.check() == []
    assert still_faults(site.proxy.address(), ends) == []
    assert site.strays() == []


@pytest.mark.parametrize("step", STEPS)
def test_a_proxy_that_is_killed_goes_on_when_it_is_back(moving_with: OpenMoving, step: str) -> None:
    site = moving_with(shards=2, empty=1)
    ends = fill(site.proxy.address(), 20_000)
    with working(site.proxy.address()) as load:
        number = begun(site, load, step)
        site.proxy.kill()
    site.proxy.begin()
    site.proxy.wait_ready()
    job = site.wait_over(number)
    assert job["state"] == "done", job["why"]
    assert [len(slots) for slots in site.owners().values()] == [8192, 8192]
    assert_sound(site, load, ends)


@pytest.mark.parametrize("shard", [0, 1], ids=["source", "target"])
@pytest.mark.parametrize("step", ["copy", "fence", "clean source"])
def test_a_primary_that_is_killed_is_replaced_and_the_move_goes_on(
    moving_with: OpenMoving, step: str, shard: int
) -> None:
    site = moving_with(shards=2, empty=1, writes={"wait": 1})
    ends = fill(site.proxy.address(), 20_000)
    with working(site.proxy.address()) as load:
        number = begun(site, load, step)
        victim = site.primary(shard)
        victim.kill()
        wait_until(lambda: site.has_another_primary(shard, victim), "another primary", timeout=30)
        victim.restart()
        job = site.wait_over(number, timeout=90)
        assert job["state"] == "done", job["why"]
        for one in range(2):
            site.wait_whole(one)
    assert [len(slots) for slots in site.owners().values()] == [8192, 8192]
    assert_sound(site, load, ends)


def test_another_process_at_the_targets_address_is_given_nothing_that_it_lacks(
    moving_with: OpenMoving,
) -> None:
    """It has no replicas and nothing on its disk: what was copied is gone with the first one."""
    site = moving_with(shards=2, empty=1, replicas=0)
    ends = fill(site.proxy.address(), 20_000)
    with working(site.proxy.address()) as load:
        number = begun(site, load, "copy")
        victim = site.primary(1)
        victim.kill()
        victim.restart()
        job = site.wait_over(number, timeout=150)
    slots = [len(slots) for slots in site.owners().values()]
    assert slots == ([8192, 8192] if job["state"] == "done" else [16384, 0]), job["why"]
    assert_sound(site, load, ends)


def test_a_switchover_in_the_middle_costs_nothing(moving_with: OpenMoving) -> None:
    site = moving_with(shards=2, empty=1)
    ends = fill(site.proxy.address(), 20_000)
    with working(site.proxy.address()) as load:
        number = begun(site, load, "copy")
        assert site.post("/api/switchover", shard=0) is None
        job = site.wait_over(number, timeout=90)
        assert job["state"] == "done", job["why"]
    assert load.errors == {}
    assert_sound(site, load, ends)


def test_given_up_in_the_middle_all_is_where_it_was(moving_with: OpenMoving) -> None:
    site = moving_with(shards=2, empty=1)
    ends = fill(site.proxy.address(), 20_000)
    with working(site.proxy.address()) as load:
        number = begun(site, load, "copy")
        site.ask("/api/jobs/abort")
        job = site.wait_over(number)
        assert job["state"] == "aborted", job
    assert load.errors == {}
    assert [len(slots) for slots in site.owners().values()] == [16384, 0]
    assert_sound(site, load, ends)
