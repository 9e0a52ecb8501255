"""Slots move between real engines while clients write: nothing is lost, doubled, reordered or refused."""

from __future__ import annotations

from tests.failover.moving.conftest import OpenMoving
from tests.failover.moving.workload import fill, still_faults, working
from tests.fixtures.proxy import wait_until


def test_shards_are_added_and_drained_under_load(moving_with: OpenMoving) -> None:
    site = moving_with(shards=3, empty=1)
    address = site.proxy.address()
    ends = fill(address, 20_000)
    with working(address) as load:
        wait_until(lambda: load.done > 2000, "some work is done", timeout=60)
        out = site.move(do="scale", shards=3)
        assert out["slots"] == 5461
        assert [len(slots) for slots in site.owners().values()] == [5462, 5461, 5461]
        done = load.done
        wait_until(lambda: load.done > done + 1000, "work goes on", timeout=60)
        back = site.move(do="drain", shard="2")
        assert back["slots"] == 5461
    print("pauses", out["pause_ms"], back["pause_ms"], "longest", load.longest(), "done", load.done)
    print([line for line in site.proxy.log().splitlines() if "laps" in line])
    assert load.errors == {}
    assert load.check() == []
    assert still_faults(address, ends) == []
    assert site.strays() == []
    assert [node.ask("DBSIZE") for node in (site.primary(2), *site.replicas(2))] == [0, 0]
