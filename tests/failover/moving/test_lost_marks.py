"""A copy that missed a change is never given to clients: the move finds out by itself, and stops."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import Address
from tests.failover.load import connect
from tests.failover.moving.site import MovingSite
from tests.failover.moving.workload import fill, still_faults, working
from tests.fixtures.proxy import Proxy, config_of, wait_until
from tests.integration.moving.forger import Forger

ONCE = 200_000  # keys
EVERY = 300  # commands of the stream: one of them is about another key


@contextmanager
def running(forger: Forger) -> Iterator[int]:
    """Its port."""
    started = threading.Event()
    token: list[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = []

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(forger.run)
            token.append((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
            started.set()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    assert started.wait(10)
    try:
        yield forger.end.address.port
    finally:
        trio.from_thread.run_sync(token[0][1].cancel, trio_token=token[0][0])
        thread.join()


@contextmanager
def writing_once(address: Address) -> Iterator[None]:
    """Keys that no later change makes up for: one of them that is missed stays missing."""
    stop = threading.Event()

    def write() -> None:
        client = connect(address)
        for first in range(0, ONCE, 100):
            pipe = client.pipeline(transaction=False)
            for n in range(first, first + 100):
                pipe.set(f"once:{n}", n)
            pipe.execute()
            if stop.wait(0.01):
                return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def is_served(shard: dict[str, Any]) -> bool:
    return shard["state"] == "ok" and all(node["state"] == "up" for node in shard["nodes"])


def test_a_mark_in_300_that_is_lost_is_not_published() -> None:
    with Fleet(2, 1, managed=True) as fleet:
        replica = fleet.shards[0].replicas[0]
        assert isinstance(replica, RedisNode)
        forger = Forger(replica.port, every=EVERY)
        with running(forger) as port:
            replica.ask("CONFIG", "SET", "replica-announce-port", port)
            config = config_of(fleet, replication="managed")
            first, second = config["clusters"]["main"]["shards"]
            second["slots"] = "none"
            known, shown = str(replica.address), f"{replica.address.host}:{port}"
            first["nodes"] = [shown if node == known else node for node in first["nodes"]]
            assert shown in first["nodes"]
            proxy = Proxy(config)
            try:
                site = MovingSite(fleet, proxy)
                wait_until(lambda: all(map(is_served, map(site.status, range(2)))), "all is well", timeout=30)
                ends = fill(proxy.address(), 5_000)
                with working(proxy.address()) as load, writing_once(proxy.address()):
                    wait_until(lambda: load.done > 500, "some work is done", timeout=60)
                    number = site.begin(do="scale", shards=2, rate=1 << 18)
                    job = site.wait_over(number, timeout=120)
                assert forger.forged > 3
                assert job["state"] == "failed", job
                assert "3 times copied, and not what the source has: key" in job["why"]
                assert [len(slots) for slots in site.owners().values()] == [16384, 0]
                assert load.errors == {}
                assert load.check() == []
                assert still_faults(proxy.address(), ends) == []
            finally:
                proxy.stop()
