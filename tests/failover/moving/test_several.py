"""Moves with several proxies: clients that are at one and then at another see one cluster, whoever dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.failover.moving.several import Several, open_several
from tests.failover.moving.workload import Workload, fill, still_faults, working
from tests.fixtures.proxy import wait_until
from tests.fleet.recorded import Put

RATE = 1 << 18  # bytes a second: long enough that something can happen meanwhile
KEYS = 5_000
WORKED = 500  # commands


@pytest.fixture(scope="module")
def opened() -> Iterator[tuple[Several, dict[str, int]]]:
    """Three proxies; one shard has all slots, and two have none."""
    with open_several(timeouts={"park": "20s"}) as site:
        yield site, fill(site.proxies[0].address(), KEYS)


@pytest.fixture
def site(opened: tuple[Several, dict[str, int]]) -> Several:
    opened[0].wait_whole()
    return opened[0]


@pytest.fixture
def ends(opened: tuple[Several, dict[str, int]]) -> dict[str, int]:
    return opened[1]


def worked(load: Workload) -> None:
    done = load.done
    wait_until(lambda: load.done > done + WORKED, "work is done", timeout=60)


def assert_sound(site: Several, number: int, load: Workload, ends: dict[str, int]) -> None:
    """Through that proxy all is as its clients had it, and every key is where it belongs."""
    assert load.errors == {}
    assert load.check() == []
    assert still_faults(site.proxies[number].address(), ends) == []
    assert site.by(number).strays() == []


def half_moves(site: Several, number: int, rate: int = 0) -> str:
    """Begin to move half of all slots from the first shard to the second, or back; the job's number."""
    owner = 0 if 0 in site.by(number).owners()[0] else 1
    return site.by(number).begin(do="move", moves=[f"0-8191:{1 - owner}"], rate=rate)


def is_copying(put: Put) -> bool:
    return put.kind != "shard" and b'"step":"copy"' in (put.value or b"").replace(b" ", b"")


def is_held(put: Put) -> bool:
    return put.record is not None and put.record.hold is not None


def test_clients_of_all_proxies_notice_nothing(site: Several, ends: dict[str, int]) -> None:
    first = site.by(0)
    with working(*site.addresses(0, 1, 2), seed=1) as load:
        worked(load)
        assert site.by(1).move(do="scale", shards=3)["complete"]
        assert sorted(len(slots) for slots in first.owners().values()) == [5461, 5461, 5462]
        worked(load)
        for shard in ("2", "1"):
            assert site.by(2).move(do="drain", shard=shard)["complete"]
        worked(load)
    assert [len(slots) for slots in first.owners().values()] == [16384, 0, 0]
    assert_sound(site, 0, load, ends)


@pytest.mark.parametrize(("seed", "when"), [(2, is_copying), (3, is_held)], ids=["copy", "fence"])
def test_a_leader_that_is_killed_is_followed_by_another_one(
    site: Several, ends: dict[str, int], seed: int, when: Callable[[Put], bool]
) -> None:
    leader = site.leader()
    left = site.others(leader)
    with working(*site.addresses(*left), seed=seed) as load:
        worked(load)
        since = site.recorded.revision()
        number = half_moves(site, left[0], RATE if when is is_copying else 0)
        site.wait_put(since, when)
        site.proxies[leader].kill()
        job = site.by(left[1]).wait_over(number, timeout=90)
        assert job["state"] == "done", job
        worked(load)
    assert site.leader() != leader
    site.revive(leader)
    assert_sound(site, left[0], load, ends)


def test_a_follower_that_is_killed_holds_nothing_up(site: Several, ends: dict[str, int]) -> None:
    leader = site.leader()
    left, victim = site.others(leader)
    with working(*site.addresses(leader, left), seed=4) as load:
        worked(load)
        since = site.recorded.revision()
        number = half_moves(site, left, RATE)
        site.wait_put(since, is_copying)
        site.proxies[victim].kill()
        job = site.by(left).wait_over(number, timeout=90)
        assert job["state"] == "done", job
        worked(load)
    site.revive(victim)
    assert_sound(site, leader, load, ends)
