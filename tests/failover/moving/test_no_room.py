"""A move that lacks room, in the source's backlog or at the target, stops and says why; with room it goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from shardproxy.fleet import RedisNode
from shardproxy.model import Address
from tests.failover.load import connect
from tests.failover.moving.conftest import OpenMoving
from tests.failover.moving.site import MovingSite
from tests.failover.moving.workload import Workload, fill, still_faults, working
from tests.fixtures.proxy import wait_until

RATE = 1 << 18  # bytes a second
LARGE = b"x" * (1 << 20)  # bytes of one value: no backlog has its beginning once its end is there
LEAST = 16 << 10  # bytes of a backlog


@contextmanager
def large_values_written(address: Address) -> Iterator[None]:
    """One after another, for as long as the block lasts."""
    stop = threading.Event()

    def write() -> None:
        client = connect(address, timeout=20.0)
        while not stop.wait(0.2):
            client.set("large", LARGE)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def stopped(site: MovingSite, number: str, why: str) -> None:
    """It has failed with that reason, and the target has nothing of it."""
    job = site.wait_over(number, timeout=90)
    assert job["state"] == "failed", job
    assert why in job["why"], job["why"]
    assert "its slots are where they were" in job["why"]
    assert [len(slots) for slots in site.owners().values()] == [16384, 0]
    nodes = (site.primary(1), *site.replicas(1))
    wait_until(lambda: [node.ask("DBSIZE") for node in nodes] == [0, 0], "the target is empty", timeout=10)


def assert_moved(site: MovingSite, load: Workload, ends: dict[str, int]) -> None:
    assert [len(slots) for slots in site.owners().values()] == [8192, 8192]
    assert load.errors == {}
    assert load.check() == []
    assert still_faults(site.proxy.address(), ends) == []
    assert site.strays() == []


def configure(node: RedisNode, **settings: str | int) -> None:
    for name, value in settings.items():
        node.ask("CONFIG", "SET", name.replace("_", "-"), value)


def test_a_reader_that_is_cut_again_and_again_stops_it(moving_with: OpenMoving) -> None:
    site = moving_with(shards=2, empty=1)
    ends = fill(site.proxy.address(), 10_000)
    (replica,), primary = site.replicas(0), site.primary(0)
    for node in (replica, primary):
        configure(node, repl_backlog_size=LEAST, repl_diskless_sync_delay=0)
    configure(replica, client_output_buffer_limit=f"replica {LEAST} {LEAST} 1")
    with working(site.proxy.address(), writers=2) as load:
        with large_values_written(site.proxy.address()):
            number = site.begin(do="scale", shards=2, rate=RATE)
            stopped(site, number, "raise its repl-backlog-size")
        for node in (replica, primary):
            configure(node, repl_backlog_size=64 << 20)
        configure(replica, client_output_buffer_limit="replica 256mb 64mb 60")
        with large_values_written(site.proxy.address()):
            assert site.move(do="scale", shards=2)["complete"]
    assert_moved(site, load, ends)


def test_a_target_that_gets_full_stops_it(moving_with: OpenMoving) -> None:
    site = moving_with(shards=2, empty=1)
    ends = fill(site.proxy.address(), 20_000, size=200)
    target = site.primary(1)
    with working(site.proxy.address(), writers=2) as load:
        number = site.begin(do="scale", shards=2, rate=1 << 20)
        wait_until(lambda: target.ask("DBSIZE") > 500, "some is copied", timeout=60, interval=0.01)
        configure(target, maxmemory_policy="noeviction", maxmemory=target.info("memory")["used_memory"])
        stopped(site, number, "it is full: give it more memory, or move less")
        configure(target, maxmemory=0)
        assert site.move(do="scale", shards=2)["complete"]
    assert still_faults(site.proxy.address(), ends, size=200) == []
    assert_moved(site, load, {})
