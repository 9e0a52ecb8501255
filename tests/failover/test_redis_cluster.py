"""A Redis Cluster behind the proxy is changed under load: nobody is to notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from shardproxy.model import Address
from tests.failover.load import Ledger, connect, load, tag_of
from tests.fixtures.proxy import Proxy, wait_until
from tests.fixtures.redis_cluster import RedisCluster

SLOTS = 60  # that move while everybody writes


@pytest.fixture
def followed(
    start_cluster: Callable[..., RedisCluster],
) -> Iterator[Callable[..., tuple[RedisCluster, Proxy]]]:
    """Start clusters with a proxy that follows each."""
    proxies: list[Proxy] = []

    def start(*args: Any, **options: Any) -> tuple[RedisCluster, Proxy]:
        cluster = start_cluster(*args, **options)
        proxies.append(Proxy(cluster.config(timeouts={"park": "15s"})))
        return cluster, proxies[-1]

    yield start
    for proxy in proxies:
        proxy.stop()


def assert_sound(address: Address, *ledgers: Ledger) -> None:
    client = connect(address)
    assert [ledger.check(client) for ledger in ledgers] == [[] for _ in ledgers]


class Scanner(threading.Thread):
    """Scans over and over; keys that are there all the time have to be found by most scans."""

    def __init__(self, address: Address, wanted: set[str]) -> None:
        super().__init__()
        self.client, self.wanted = connect(address), wanted
        self.scans, self.most = 0, 0
        self.errors: list[Exception] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                found = {key.decode() for key in self.client.scan_iter("kept:*", count=100)}
            except redis.RedisError as error:
                self.errors.append(error)
                continue
            self.scans += 1
            self.most = max(self.most, len(found & self.wanted))


def test_slots_move_under_load(followed: Callable[..., tuple[RedisCluster, Proxy]]) -> None:
    cluster, proxy = followed(3, 1)
    address = proxy.address()
    client = connect(address)
    kept = {f"kept:{number}" for number in range(500)}
    for key in kept:
        client.set(key, "1")
    busy = key_slot(tag_of(0, 3).encode())  # the writers' own slot moves, too, with all it has
    slots = [busy, *[slot for slot in range(0, 5461, 90) if slot != busy][: SLOTS - 1]]
    targets = cluster.nodes[1:3]
    scanner = Scanner(address, kept)
    scanner.start()
    with load(address, 0, 3) as ledger, load(address, 1, 3) as other:
        ledger.wait_more()
        for turn, slot in enumerate(slots):
            cluster.migrate(slot, targets[turn % 2], batch=1, pause=0.002)
        ledger.wait_more()
        for target in (cluster.nodes[0], cluster.nodes[2], cluster.nodes[0]):
            cluster.migrate(busy, target, batch=1, pause=0.01)
            ledger.wait_more(100)
    scanner.stop.set()
    scanner.join()
    assert ledger.errors == {}
    assert other.errors == {}
    assert scanner.errors == []
    assert_sound(address, ledger, other)
    assert scanner.scans > 0
    assert {key.decode() for key in client.scan_iter("kept:*", count=100)} == kept
    assert all(client.get(key) == b"1" for key in kept)


def test_all_slots_of_a_shard_move_away_and_a_new_one_has_them(
    followed: Callable[..., tuple[RedisCluster, Proxy]],
) -> None:
    cluster, proxy = followed(2, 0, spare=1)
    address, new = proxy.address(), cluster.nodes[2]
    with load(address, 0, 2) as ledger:
        ledger.wait_more(50)
        for slot in (key_slot(tag_of(0, 2).encode()), 5, 6):
            cluster.migrate(slot, new)
        ledger.wait_more(50)
    assert ledger.errors == {}
    assert_sound(address, ledger)
    wait_until(lambda: str(new.address) in proxy.get("/api/status")[1], "the new shard is shown")


def test_a_killed_primary_is_replaced_by_the_cluster(
    followed: Callable[..., tuple[RedisCluster, Proxy]],
) -> None:
    cluster, proxy = followed(3, 1)
    address = proxy.address()
    primary = cluster.owner(f"{{{tag_of(0, 3)}}}")
    with load(address, 0, 3) as ledger, load(address, 1, 3) as other:
        ledger.wait_more()
        killed = time.monotonic()
        primary.kill()
        wait_until(lambda: ledger.first_after(killed) is not None, "writes go on", timeout=25.0)
        ledger.wait_more()
    assert {kind for kind in ledger.errors if kind != "write INDOUBT"} == set()
    assert other.errors == {}
    assert_sound(address, ledger, other)


def test_a_handover_is_not_noticed(followed: Callable[..., tuple[RedisCluster, Proxy]]) -> None:
    cluster, proxy = followed(3, 1)
    address = proxy.address()
    with load(address, 0, 3) as ledger, load(address, 1, 3) as other:
        for _ in range(2):  # nobody votes about one primary twice within two node timeouts
            ledger.wait_more(100)
            primary = cluster.owner(f"{{{tag_of(0, 3)}}}")
            (replica,) = cluster.replicas_of(primary)
            replica.ask("CLUSTER", "FAILOVER")
            wait_until(lambda: replica.role == "master", "it has taken over")  # noqa: B023
            ledger.wait_more(100)
            cluster.wait_whole()
    assert ledger.errors == {}
    assert other.errors == {}
    assert_sound(address, ledger, other)
