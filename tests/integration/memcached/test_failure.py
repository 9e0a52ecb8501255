"""Nodes that fail: misses, other nodes, spare nodes; and nobody else notices."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError, MemcacheServerError

from shardproxy.fleet import Fleet
from shardproxy.fleet.node import EngineNode
from shardproxy.model import Engine
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until
from tests.integration.memcached.conftest import StartPool, liar, said

KEYS = [f"{i * 2654435761 % (1 << 32):08x}:key" for i in range(200)]  # fnv1a_64 hardly tells key:1 from key:2
QUICK = {"failures": 2, "retry": "200ms"}


def client_of(proxy: Proxy) -> Client:
    return Client((proxy.host, proxy.port), timeout=10, connect_timeout=10)


@pytest.fixture
def filled() -> Iterator[Callable[[Proxy], Client]]:
    """Write all keys through a proxy: a client of it, closed with the test."""
    with ExitStack() as stack:

        def fill(proxy: Proxy) -> Client:
            client = client_of(proxy)
            stack.callback(client.close)
            assert client.set_many(dict.fromkeys(KEYS, b"1"), noreply=False) == []
            return client

        yield fill


def keys_on(node: EngineNode) -> set[str]:
    client = Client((node.address.host, node.address.port))
    try:
        return {key.decode() for key in client.get_many([key.encode() for key in KEYS])}
    finally:
        client.close()


def is_missing(client: Client, keys: set[str]) -> bool:
    return all(client.get(key) is None for key in keys)


def test_keys_of_a_node_that_is_down_are_missed_and_come_back(
    start_pool: StartPool, filled: Callable[[Proxy], Client]
) -> None:
    proxy, fleet = start_pool(on_failure=QUICK)
    client = filled(proxy)
    lost, *others = fleet.nodes
    gone = keys_on(lost)
    fleet.kill(lost)
    wait_until(lambda: is_missing(client, gone), "its keys are missed")
    assert set(client.get_many(KEYS)) == set(KEYS) - gone
    for key in sorted(gone)[:5]:
        with pytest.raises(MemcacheServerError, match=f"node {lost.address} is down"):
            client.set(key, "2", noreply=False)
    wait_until(
        lambda: node_up(proxy) == {str(node.address): node is not lost for node in fleet.nodes}, "is shown"
    )
    row = json.loads(proxy.get("/api/status")[1])["clusters"]["main"]["shards"][0]["nodes"][0]
    assert (row["address"], row["state"]) == (str(lost.address), "down")
    assert row["reason"]
    assert proxy.log().count("node down") == 1
    kept = next(iter(keys_on(others[0])))
    assert client.set(kept, "2", noreply=False)
    fleet.restart(lost)
    wait_until(lambda: can_set(client, next(iter(gone))), "the node is back")
    assert set(client.get_many(KEYS)) >= set(KEYS) - gone
    wait_until(lambda: all(node_up(proxy).values()), "it is shown to be up")
    assert proxy.log().count("node down no more") == 1


def node_up(proxy: Proxy) -> dict[str, bool]:
    name = re.compile(r'shardproxy_node_up{cluster="main",node="(.*)",shard="\d+"}')
    return {found[1]: value == 1 for key, value in proxy.metrics().items() if (found := name.fullmatch(key))}


def is_stopped(node: EngineNode) -> bool:
    threads = Path(f"/proc/{node.pid}/task").iterdir()
    return all((thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


def can_set(client: Client, key: str) -> bool:
    try:
        return bool(client.set(key, "3", noreply=False))
    except MemcacheError:
        return False


def test_rehash_moves_the_keys_of_a_node_and_brings_them_back(
    start_pool: StartPool, filled: Callable[[Proxy], Client]
) -> None:
    for hashing in ("slots", "ketama", "rendezvous", "modula"):
        proxy, fleet = start_pool(hashing=hashing, on_failure={"action": "rehash", **QUICK})
        client = filled(proxy)
        lost, *others = fleet.nodes
        gone, kept = keys_on(lost), keys_on(others[0]) | keys_on(others[1])
        fleet.kill(lost)
        wait_until(lambda: can_set(client, min(gone)), "another node takes its keys")  # noqa: B023
        assert client.set_many(dict.fromkeys(gone, b"2"), noreply=False) == []
        assert client.get_many(KEYS) == dict.fromkeys(gone, b"2") | dict.fromkeys(kept, b"1")
        assert keys_on(others[0]) | keys_on(others[1]) == set(KEYS)
        fleet.restart(lost)
        wait_until(lambda: client.get(min(gone)) is None, "the node has its keys back")  # noqa: B023
        assert client.set_many(dict.fromkeys(gone, b"3"), noreply=False) == []
        assert keys_on(lost) == gone


def test_the_gutter_takes_the_keys_for_a_short_time(
    start_pool: StartPool,
    filled: Callable[[Proxy], Client],
    start_fleet: Callable[..., Fleet],
    wire: Callable[..., Wire],
) -> None:
    spare = start_fleet(shards=1, replicas=0, engine=Engine.MEMCACHED)
    gutter = {"action": "gutter", "gutter": spare.config_nodes(), "gutter_ttl": "60s", **QUICK}
    proxy, fleet = start_pool(hashing="ketama", on_failure=gutter)
    client = filled(proxy)
    assert keys_on(spare.nodes[0]) == set()
    lost = fleet.nodes[0]
    gone = keys_on(lost)
    fleet.kill(lost)
    wait_until(lambda: can_set(client, min(gone)), "the gutter takes its keys")
    assert client.set_many(dict.fromkeys(gone, b"2"), expire=0, noreply=False) == []
    assert keys_on(spare.nodes[0]) == gone
    assert len(client.get_many(KEYS)) == len(KEYS)
    key = min(gone).encode()
    reply = said(wire(spare.nodes[0].address), [b"mg %s t\r\n" % key])
    assert 1 <= int(reply.removeprefix(b"HD t")) <= 60
    assert said(wire(proxy), [b"ms %s 1 T0 q\r\nx\r\nmg %s t v\r\nmn\r\n" % (key, key)]).startswith(
        b"VA 1 t60"
    )
    fleet.restart(lost)
    wait_until(lambda: client.get(key) is None, "the node has its keys back")


def test_a_frozen_node_times_out_and_others_answer(
    start_pool: StartPool, filled: Callable[[Proxy], Client], wire: Callable[..., Wire]
) -> None:
    timeouts = {"reply": "300ms", "connect": "300ms"}
    proxy, fleet = start_pool(on_failure=QUICK, timeouts=timeouts)
    client = filled(proxy)
    frozen = fleet.nodes[0]
    gone = keys_on(frozen)
    fleet.freeze(frozen)
    wait_until(lambda: is_stopped(frozen), "none of its threads runs")
    try:
        slow = wire(proxy)
        slow.send(b"get %s\r\n" % min(gone).encode())
        others = sorted(set(KEYS) - gone)
        assert set(client.get_many(others)) == set(others)
        slow.expect(b"END\r\n")
    finally:
        fleet.thaw(frozen)
    wait_until(lambda: client.get(min(gone)) == b"1", "it is back, and so are its keys")


def test_the_keys_of_a_node_that_is_busy_stay_with_it(
    start_pool: StartPool, filled: Callable[[Proxy], Client], wire: Callable[..., Wire]
) -> None:
    proxy, fleet = start_pool(
        on_failure={"action": "rehash", **QUICK}, limits={"shard_queue": "64kb"}, timeouts={"reply": "60s"}
    )
    filled(proxy)
    busy, *others = fleet.nodes
    key = min(keys_on(busy)).encode()
    store = b"set %s 0 0 1000\r\n%s\r\n" % (key, b"2" * 1000)
    fleet.freeze(busy)
    try:
        wait_until(lambda: is_stopped(busy), "none of its threads runs")
        writer, reader = wire(proxy), wire(proxy)
        writer.send(store.replace(b"1000\r\n", b"1000 noreply\r\n", 1) * 100)
        queued = f'shardproxy_node_queued_bytes{{cluster="main",node="{busy.address}"}}'
        wait_until(lambda: proxy.metrics()[queued] >= 64 << 10, "its queue is full")
        reader.send(store)
        assert reader.socket.makefile("rb", buffering=0).readline().startswith(b"SERVER_ERROR")
        reader.send(b"get %s\r\nget %s none\r\n" % (key, key))
        reader.expect(b"END\r\nEND\r\n")
        assert all(key.decode() not in keys_on(node) for node in others)
    finally:
        fleet.thaw(busy)
    wait_until(lambda: said(wire(proxy), [store]) == b"STORED\r\n", "it takes requests again")


@pytest.mark.parametrize("reply", [None, b"", b"+OK\r\n"], ids=["says nothing", "closes", "talks nonsense"])
def test_a_node_that_only_greets_is_down(
    start_fleet: Callable[..., Fleet], start_proxy: StartProxy, reply: bytes | None
) -> None:
    fleet = start_fleet(shards=1, replicas=0, engine=Engine.MEMCACHED)
    with liar(reply) as address:
        cluster = config_of(
            fleet,
            workers=1,
            nodes=[*fleet.config_nodes(), str(address)],
            on_failure={"action": "rehash", "failures": 2, "retry": "50ms"},
            timeouts={"reply": "100ms"},
        )
        client = client_of(start_proxy(cluster))
        for key in KEYS[:20]:
            wait_until(lambda: can_set(client, key), "another node takes its keys")  # noqa: B023
        assert keys_on(fleet.nodes[0]) == set(KEYS[:20])
        client.close()


def test_nodes_restart_under_load_and_no_reply_is_shifted(
    start_fleet: Callable[..., Fleet], start_proxy: StartProxy
) -> None:
    fleet = start_fleet(shards=3, replicas=0, engine=Engine.MEMCACHED)
    proxy = start_proxy(config_of(fleet, workers=2, on_failure={"failures": 2, "retry": "100ms"}))
    stop, wrong, done = threading.Event(), [], [0] * 6

    def work(number: int) -> None:
        client = client_of(proxy)
        turn = 0
        while not stop.is_set():
            turn += 1
            key = f"w{number}:{turn % 50}"
            value = f"{key}={turn}".encode()
            try:
                client.set(key, value, noreply=False)
                many = client.get_many([f"w{number}:{i}" for i in range(10)])
                got = client.get(key)
            except MemcacheServerError:
                continue
            except (MemcacheError, OSError) as e:
                wrong.append(repr(e))
                return
            wrong.extend(k for k, v in many.items() if not v.startswith(k.encode() + b"="))
            if got not in (None, value):
                wrong.append(f"{key}: {got!r} for {value!r}")
            done[number] = turn
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for node in fleet.nodes:
        before = sum(done)
        fleet.kill(node)
        wait_until(lambda: sum(done) > before + 200 or wrong, "work goes on without it")  # noqa: B023
        fleet.restart(node)
    before = sum(done)
    wait_until(lambda: sum(done) > before + 200 or wrong, "work goes on with all of them")
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
