"""Who sends more than a busy node takes is read on when there is room: nothing is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import Engine
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of

MIB = 1 << 20
LARGE = b"x" * MIB
COUNT = 200
BUSY = 1.5  # seconds
Ask = Callable[..., Wire]


class Busy:
    """A node that does nothing else for a while, asked around the proxy."""

    def __init__(self, node: RedisNode) -> None:
        self._client = Wire(node.address)

    def __enter__(self) -> None:
        self._client.send_command("DEBUG", "SLEEP", str(BUSY))

    def __exit__(self, *_: object) -> None:
        assert self._client.reply() == b"OK"
        self._client.close()


@pytest.fixture
def two_shards(start_fleet: StartFleet, start_proxy: StartProxy) -> tuple[Proxy, RedisNode]:
    """A proxy before two shards, and the primary of `{b}`, which is the first's."""
    fleet = start_fleet(shards=2, replicas=0, args=["--enable-debug-command", "yes"])
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    return start_proxy(config_of(fleet, workers=1, failover={"enabled": False})), node


def send_in_background(client: Wire, requests: list[tuple[str | bytes | int, ...]]) -> threading.Thread:
    def send() -> None:
        for request in requests:
            client.send_command(*request)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_a_pipeline_of_large_values_waits_for_a_busy_node(
    two_shards: tuple[Proxy, RedisNode], wire: Ask
) -> None:
    proxy, node = two_shards
    client, other = wire(proxy, timeout=30), wire(proxy)
    with Busy(node):
        sender = send_in_background(client, [("SET", f"{{b}}:{n % 8}", LARGE) for n in range(COUNT)])
        for n in range(50):
            assert other.ask("SET", f"{{a}}:{n}", n) == b"OK"  # of the other shard
    assert [client.reply() for _ in range(COUNT)] == [b"OK"] * COUNT
    sender.join()
    assert proxy.metrics()['shardproxy_held_requests_total{cluster="main"}'] > 0


def test_so_do_commands_over_several_shards_and_transactions(
    two_shards: tuple[Proxy, RedisNode], wire: Ask
) -> None:
    proxy, node = two_shards
    client, half = wire(proxy, timeout=30), LARGE[: MIB // 2]
    one: list[tuple[str | bytes | int, ...]] = [
        ("MSET", "{a}", half, "{b}", half),
        ("MULTI",),
        ("SET", "{b}", half),
        ("STRLEN", "{b}"),
        ("EXEC",),
        ("INCR", "{b}:count"),
    ]
    with Busy(node):
        sender = send_in_background(client, one * COUNT)
    for n in range(COUNT):
        replies = [client.reply() for _ in one]
        assert replies == [b"OK", b"OK", b"QUEUED", b"QUEUED", [b"OK", len(half)], n + 1]
    sender.join()


def test_clients_that_are_held_together_are_all_served(
    two_shards: tuple[Proxy, RedisNode], wire: Ask
) -> None:
    proxy, node = two_shards
    clients = [wire(proxy, timeout=30) for _ in range(10)]
    with Busy(node):
        senders = [
            send_in_background(client, [("SET", f"{{b}}:{n}", LARGE)] * 20 + [("APPEND", f"{{b}}:{n}", "!")])
            for n, client in enumerate(clients)
        ]
    for client in clients:
        assert [client.reply() for _ in range(21)] == [b"OK"] * 20 + [MIB + 1]
    for sender in senders:
        sender.join()


def test_a_memcached_node_that_is_busy_is_waited_for(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Ask
) -> None:
    fleet = start_fleet(shards=2, replicas=0, engine=Engine.MEMCACHED, args=["-m", "512"])
    cluster = config_of(fleet, workers=1, hashing="modula", limits={"shard_queue": "8mb"})
    proxy = start_proxy(cluster)
    value = b"x" * 500_000
    request = b"set key 0 0 %d\r\n%s\r\n" % (len(value), value)
    client, other = wire(proxy, timeout=30), wire(proxy, timeout=30)
    names = [b"k%d" % n for n in range(50)]
    for node in fleet.nodes:
        fleet.freeze(node)
    try:
        sender = threading.Thread(target=client.send, args=(request * 100,))
        sender.start()
        gets: Any = b"get %s\r\n" % b" ".join(names)
        other.send(gets * 20 + b"mn\r\n")
        time.sleep(BUSY)
    finally:
        for node in fleet.nodes:
            fleet.thaw(node)
    client.expect(b"STORED\r\n" * 100)
    other.expect(b"END\r\n" * 20 + b"MN\r\n")
    sender.join()
    assert proxy.metrics()['shardproxy_held_requests_total{cluster="main"}'] > 0


def test_a_whole_pipeline_may_be_written_before_it_is_read(
    fleet: Fleet, start_proxy: StartProxy, wire: Ask
) -> None:
    """What is owed is nearly `client_output`; when a quarter of it is there, sockets do not hold the rest."""
    limits = {"client_output": "256mb", "in_flight": 32}
    client = wire(start_proxy(config_of(fleet, workers=1, limits=limits)), timeout=30)
    value, key, count = b"v" * 10_000, b"k" * 2000, 24_000
    assert client.ask("SET", key, value) == b"OK"
    client.send(b"*2\r\n$3\r\nGET\r\n$2000\r\n%s\r\n" % key * count)
    assert all(client.reply() == value for _ in range(count))
