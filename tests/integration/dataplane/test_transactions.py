"""Transactions over shards: they share connections; only WATCH takes one of its own, from a bounded pool."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

CLIENTS = 300
POOL = 2
Ask = Callable[..., Wire]


def primaries(fleet: Fleet) -> list[RedisNode]:
    nodes = [shard.primary for shard in fleet.shards]
    assert all(isinstance(node, RedisNode) for node in nodes)
    return [node for node in nodes if isinstance(node, RedisNode)]


def connections(fleet: Fleet, *commands: str) -> set[tuple[int, int]]:
    """Connections to primaries whose last command is one of these, or any, by shard and id."""
    found = set()
    for shard, node in enumerate(primaries(fleet)):
        for line in node.ask("CLIENT", "LIST").decode().splitlines():
            fields = dict(re.findall(r"([\w-]+)=(\S*)", line))
            if not commands or fields["cmd"] in commands:
                found.add((shard, int(fields["id"])))
    return found


@contextmanager
def many(proxy: Proxy, count: int) -> Iterator[list[Wire]]:
    with ExitStack() as stack:
        clients = [Wire(proxy.address()) for _ in range(count)]
        for client in clients:
            stack.callback(client.close)
        yield clients


@pytest.fixture(scope="module")
def small(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=1, replicas=0)


def is_recorded(proxy: Proxy) -> bool:
    (shard,) = json.loads(proxy.get("/api/status")[1])["clusters"]["main"]["shards"]
    return bool(shard["state"] == "ok")


@pytest.fixture(scope="module")
def pool(small: Fleet, start_proxy_for_module: StartProxy) -> Proxy:
    """One worker over one shard, with a pool of two dedicated connections."""
    proxy = start_proxy_for_module(config_of(small, workers=1, limits={"dedicated": POOL}))
    # from then on no connection is asked any more who answers it
    wait_until(lambda: is_recorded(proxy), "the primary is on record")
    return proxy


@pytest.fixture
def pooled(pool: Proxy, small: Fleet, wire: Ask) -> Proxy:
    """The same without a key, or a client of another test."""
    only = wire(pool)
    wait_until(lambda: only.ask("CLIENT", "LIST").count(b"\n") == 1, "others have gone")
    only.close()
    for node in primaries(small):
        node.ask("FLUSHALL")
    return pool


def test_transactions_open_no_more_connections_than_reads(proxy: Proxy, fleet: Fleet) -> None:
    with many(proxy, CLIENTS) as clients:
        for i, client in enumerate(clients):
            client.send_command("GET", f"k:{i}")
        assert [client.reply() for client in clients] == [None] * CLIENTS
        reading = connections(fleet)
        for i, client in enumerate(clients):
            for words in (("MULTI",), ("INCR", f"{{{i}}}a"), ("INCRBY", f"{{{i}}}b", i), ("EXEC",)):
                client.send_command(*words)
        for i, client in enumerate(clients):
            assert [client.reply() for _ in range(4)] == [b"OK", b"QUEUED", b"QUEUED", [1, i]]
        transacting = connections(fleet, "exec")
        assert transacting
        assert transacting <= reading


def test_transactions_of_many_clients_are_not_mixed(proxy: Proxy) -> None:
    """Each moves an amount between two counters; within a transaction their sum is always the same."""
    rounds, chooser = 30, random.Random(1)
    with many(proxy, 20) as clients:
        clients[0].ask("MSET", "{sum}a", 1000, "{sum}b", 1000)
        for _ in range(rounds):
            for client in clients:
                amount = chooser.randrange(10)
                for words in (
                    *(("MULTI",), ("DECRBY", "{sum}a", amount), ("INCRBY", "{sum}b", amount)),
                    *(("MGET", "{sum}a", "{sum}b"), ("EXEC",)),
                ):
                    client.send_command(*words)
        for _ in range(rounds):
            for client in clients:
                assert [client.reply() for _ in range(4)] == [b"OK", b"QUEUED", b"QUEUED", b"QUEUED"]
                a, b, both = client.reply()
                assert a + b == 2000
                assert both == [b"%d" % a, b"%d" % b]


def test_a_change_by_somebody_else_empties_exec(proxy: Proxy, wire: Ask) -> None:
    watcher, other = wire(proxy), wire(proxy)
    watcher.ask("WATCH", "{w}k", "{w}l")
    other.ask("SET", "{w}l", "changed")
    assert [watcher.ask("MULTI"), watcher.ask("SET", "{w}k", 1), watcher.ask("EXEC")] == [
        b"OK",
        b"QUEUED",
        None,
    ]
    assert watcher.ask("GET", "{w}k") is None
    watcher.ask("WATCH", "{w}k")
    assert [watcher.ask("MULTI"), watcher.ask("SET", "{w}k", 1), watcher.ask("EXEC")] == [
        b"OK",
        b"QUEUED",
        [b"OK"],
    ]


def test_counters_under_watch_lose_no_step(proxy: Proxy) -> None:
    """Optimistic locking of ten clients: every successful EXEC counts once."""
    done = 0
    with many(proxy, 10) as clients:
        for _ in range(20):
            for client in clients:
                client.ask("WATCH", "n")
            seen = [int(client.ask("GET", "n") or 0) for client in clients]
            for client, value in zip(clients, seen, strict=True):
                client.ask("MULTI")
                client.ask("SET", "n", value + 1)
                client.send_command("EXEC")
            done += sum(client.reply() is not None for client in clients)
        assert int(clients[0].ask("GET", "n")) == done == 20


def test_watching_clients_share_a_bounded_pool(pooled: Proxy, small: Fleet) -> None:
    with many(pooled, 5) as clients:
        for client in clients:
            client.send_command("WATCH", "k")
        assert [client.reply() for client in clients[:POOL]] == [b"OK"] * POOL
        for n, client in enumerate(clients[POOL:]):
            assert clients[n].ask("UNWATCH") == b"OK"
            assert client.reply() == b"OK"  # it waited for that connection
        assert len(connections(small, "watch", "unwatch")) == POOL


def test_a_watching_client_that_goes_makes_room(pooled: Proxy, small: Fleet, wire: Ask) -> None:
    watchers = [wire(pooled) for _ in range(POOL)]
    for watcher in watchers:
        assert watcher.ask("WATCH", "k") == b"OK"
    waiting = wire(pooled)
    waiting.send_command("WATCH", "k")
    watchers[0].close()
    assert waiting.reply() == b"OK"
    wait_until(
        lambda: len(connections(small, "watch")) == POOL, "the connection of the client that went is closed"
    )


def test_exec_and_discard_end_what_was_watched(pooled: Proxy, wire: Ask) -> None:
    clients = [wire(pooled) for _ in range(3 * POOL)]
    for n, client in enumerate(clients):
        assert client.ask("WATCH", "k") == b"OK"
        assert client.ask("MULTI") == b"OK"
        assert client.ask("EXEC" if n % 2 else "DISCARD") == ([] if n % 2 else b"OK")


def test_exec_says_null_when_the_node_was_lost_meanwhile(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Ask
) -> None:
    """What it watched may have changed unseen."""
    fleet = start_fleet(shards=1, replicas=0)
    client = wire(start_proxy(config_of(fleet, workers=1)))
    assert client.ask("WATCH", "k") == b"OK"
    fleet.kill(fleet.shards[0].primary)
    fleet.restart(fleet.shards[0].primary)
    client.ask("MULTI")
    client.ask("SET", "k", 1)
    assert client.ask("EXEC") is None
    wait_until(lambda: not isinstance(client.ask("SET", "k", 2), ReplyError), "the node is used again")
    assert client.ask("GET", "k") == b"2"


def transaction(client: Wire, *requests: str) -> list[Any]:
    """The replies to MULTI, to each of the requests, and to EXEC."""
    lines = ["MULTI", *requests, "EXEC"]
    for line in lines:
        client.send_command(*line.split())
    return [client.reply() for _ in lines]


def test_the_only_shard_does_in_a_transaction_what_an_engine_can(pooled: Proxy, wire: Ask) -> None:
    client = wire(pooled)
    client.ask("MSET", *(word for n in range(100) for word in (f"k:{n}", n)))
    requests = ("DBSIZE", "KEYS k:7", "SCAN 0 COUNT 10", "RANDOMKEY", "FLUSHALL", "DBSIZE", "INFO server")
    *queued, replies = transaction(client, *requests, "SCRIPT LOAD return", "SLOWLOG LEN", "PING", "ECHO x")
    assert queued == [b"OK"] + [b"QUEUED"] * 11
    assert replies[:2] == [100, [b"k:7"]]
    assert replies[3].startswith(b"k:")
    assert replies[4:6] == [b"OK", 0]
    assert b"redis_version" in replies[6]
    assert len(replies[7]) == 40
    assert replies[9:] == [b"PONG", b"x"]


def test_a_scan_goes_on_inside_and_outside_of_transactions(pooled: Proxy, wire: Ask) -> None:
    client = wire(pooled)
    client.ask("MSET", *(word for n in range(300) for word in (f"k:{n}", n)))
    found, cursor = set(), b"0"
    for step in range(1000):
        line = f"SCAN {cursor.decode()} COUNT 20"
        cursor, keys = client.ask(*line.split()) if step % 2 else transaction(client, "GET k:1", line)[-1][1]
        found |= set(keys)
        if cursor == b"0":
            break
    assert found == {b"k:%d" % n for n in range(300)}


def test_what_is_refused_in_a_transaction_is_told_why(proxy: Proxy, pooled: Proxy, wire: Ask) -> None:
    for line, why in {
        "DBSIZE": "DBSIZE is not possible inside MULTI: it concerns all shards, a transaction runs on one",
        "SCRIPT LOAD x": "SCRIPT LOAD is not possible inside MULTI: it concerns all shards,",
        "CLIENT LIST": "CLIENT LIST is not possible inside MULTI: the proxy answers it,",
        "SELECT 0": "SELECT is not possible inside MULTI: the proxy answers it,",
        "SUBSCRIBE x": "SUBSCRIBE is not possible inside MULTI: subscriptions are the proxy's,",
    }.items():
        client = wire(proxy)
        _, refused, executed = transaction(client, line)
        assert str(refused).startswith(f"ERR {why}")
        assert str(executed).startswith("EXECABORT")
    assert "SCRIPT FLUSH is not possible" in str(transaction(wire(pooled), "SCRIPT FLUSH")[1])


def test_publish_in_a_transaction_counts_the_clients_that_heard_it(proxy: Proxy, wire: Ask) -> None:
    for _ in range(5):
        assert wire(proxy).ask("SUBSCRIBE", "heard")[0] == b"subscribe"
    assert wire(proxy).ask("PSUBSCRIBE", "h*")[0] == b"psubscribe"
    assert wire(proxy).ask("SSUBSCRIBE", "{k}s")[0] == b"ssubscribe"
    client = wire(proxy)
    requests = (
        "SET k 1",
        "PUBLISH heard x",
        "GET k",
        "PUBLISH nobody x",
        "publish heard x",
        "SPUBLISH {k}s x",
    )
    assert transaction(client, *requests)[-1] == [b"OK", 6, b"1", 0, 6, 1]
    assert transaction(client, "PUBLISH heard x", "LPUSH k 1")[-1][0] == 6
    client.ask("WATCH", "k")
    wire(proxy).ask("SET", "k", 2)
    assert transaction(client, "PUBLISH heard x", "GET k")[-1] is None
