"""Clients that ask for the layout are told of all proxies that share a store, as these come and go."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster

from shardproxy.fleet import Fleet
from shardproxy.model import Engine
from tests.fixtures.clients import Wire
from tests.fixtures.etcd import Etcd
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until
from tests.integration.memcached.test_discovery import told
from tests.integration.test_operator import run

Member = tuple[str, int]

NOT_TOLD = "the proxies are not told of"


def shared(config: dict[str, Any], etcd: Etcd, prefix: str, name: str) -> dict[str, Any]:
    store = {"etcd": {"endpoints": etcd.endpoints, "prefix": prefix}}
    return {**config, "store": store, "name": name, "zone": f"zone-{name}"}


@pytest.fixture
def prefix(etcd: Etcd) -> str:
    return etcd.settings().prefix


@pytest.fixture(scope="module")
def pair(session_etcd: Etcd, start_proxy_for_module: StartProxy, session_fleet: Fleet) -> tuple[Proxy, Proxy]:
    """Two proxies that nobody hurts."""
    config, prefix = config_of(session_fleet, workers=1), session_etcd.settings().prefix
    started = (start_proxy_for_module(shared(config, session_etcd, prefix, name)) for name in ("one", "two"))
    return next(started), next(started)


@contextmanager
def connected(proxy: Proxy) -> Iterator[redis.Redis]:
    with redis.Redis(proxy.host, proxy.port, decode_responses=True, socket_timeout=5) as client:
        yield client


def masters(proxy: Proxy) -> dict[Member, int]:
    """How many slots each proxy has, as one of them tells."""
    with connected(proxy) as client:
        found: dict[Member, int] = {}
        for first, last, node, *_ in _slots(client):
            found[node[0], node[1]] = found.get((node[0], node[1]), 0) + last - first + 1
        return found


def _slots(client: redis.Redis) -> Any:
    client.response_callbacks.pop("CLUSTER SLOTS", None)
    return client.execute_command("CLUSTER SLOTS")


def test_cluster_clients_are_spread_over_the_proxies(
    etcd: Etcd, prefix: str, start_proxy: StartProxy, fleet: Fleet
) -> None:
    config = config_of(fleet, workers=1)
    one = start_proxy(shared(config, etcd, prefix, "one"))
    assert masters(one) == {(one.host, one.port): 16384}
    two = start_proxy(shared(config, etcd, prefix, "two"))
    both = {(one.host, one.port): 8192, (two.host, two.port): 8192}
    wait_until(lambda: masters(one) == masters(two) == both, NOT_TOLD)
    with connected(two) as client:
        nodes = client.execute_command("CLUSTER NODES")
        assert [flags["flags"] for flags in nodes.values()].count("myself,master") == 1
        assert client.cluster("info")["cluster_known_nodes"] == "2"
    spread = RedisCluster(one.host, one.port, socket_timeout=5)
    try:
        assert {(node.host, node.port) for node in spread.get_primaries()} == set(both)
        for number in range(100):
            spread.set(f"told:{number}", number)
        assert spread.mget_nonatomic([f"told:{number}" for number in range(100)]) == [
            str(number).encode() for number in range(100)
        ]
        two.signal(signal.SIGTERM)  # it waits for its clients, and they are told at once
        wait_until(lambda: masters(one) == {(one.host, one.port): 16384}, NOT_TOLD)
        for number in range(100):
            assert spread.get(f"told:{number}") == str(number).encode()
    finally:
        spread.close()
    assert two.wait() == 0


def test_zones_are_told(pair: tuple[Proxy, Proxy]) -> None:
    one, _ = pair

    def zones() -> list[str]:
        with redis.Redis(one.host, one.port, decode_responses=True, protocol=3) as client:
            client.response_callbacks.pop("CLUSTER SHARDS", None)
            shards = client.execute_command("CLUSTER SHARDS")
            return sorted(node["availability-zone"] for shard in shards for node in shard["nodes"])

    wait_until(lambda: masters(one) and len(masters(one)) == 2, NOT_TOLD)
    assert zones() == ["zone-one", "zone-two"]


def test_auto_discovery_tells_all_proxies_under_one_version(
    etcd: Etcd,
    prefix: str,
    start_proxy: StartProxy,
    start_fleet: Callable[..., Fleet],
    wire: Callable[..., Wire],
) -> None:
    pool = start_fleet(shards=2, replicas=0, engine=Engine.MEMCACHED)
    config = config_of(pool, workers=1)
    one = start_proxy(shared(config, etcd, prefix, "one"))
    alone = told(wire, one)
    two = start_proxy(shared(config, etcd, prefix, "two"))
    both = sorted(f"{proxy.host}|{proxy.host}|{proxy.port}" for proxy in (one, two))
    wait_until(lambda: sorted(told(wire, one)[1]) == sorted(told(wire, two)[1]) == both, NOT_TOLD)
    version, _ = told(wire, one)
    assert version > alone[0]
    assert told(wire, two)[0] == version
    two.signal(signal.SIGTERM)
    assert two.wait() == 0
    wait_until(lambda: len(told(wire, one)[1]) == 1, NOT_TOLD)
    assert told(wire, one)[0] > version


def test_status_lists_the_proxies(pair: tuple[Proxy, Proxy]) -> None:
    one, two = pair

    def seen(proxy: Proxy) -> list[dict[str, Any]]:
        proxies: list[dict[str, Any]] = json.loads(proxy.get("/api/status")[1])["proxies"]
        return proxies

    def labels(proxy: Proxy) -> list[str]:
        return [member["label"] for member in seen(proxy)]

    wait_until(
        lambda: labels(one) == labels(two) == ["one", "two"],
        NOT_TOLD,
    )
    wait_until(lambda: [p["leads"] for p in seen(one)] == [p["leads"] for p in seen(two)], NOT_TOLD)
    assert sorted(len(p["leads"]) for p in seen(one)) == [0, 1]
    text = run(two, "status")
    assert "proxies in etcd" in text
    assert f"{seen(two)[1]['name']} *" in text


def test_one_that_only_follows_tells_of_itself(
    etcd: Etcd,
    prefix: str,
    start_proxy: StartProxy,
    start_fleet: Callable[..., Fleet],
    wire: Callable[..., Wire],
) -> None:
    """It is beside its application, whose business the others are not; and it writes nothing."""
    pool = start_fleet(shards=1, replicas=0, engine=Engine.MEMCACHED)
    config = config_of(pool, workers=1)
    start_proxy(shared(config, etcd, prefix, "member"))
    values = shared(config, etcd, prefix, "follower")
    follower = start_proxy({**values, "store": {**values["store"], "membership": "follower"}})
    assert told(wire, follower)[1] == [f"{follower.host}|{follower.host}|{follower.port}"]
    before = follower.log()
    follower.reload({**values, "store": {**values["store"], "membership": "follower"}, "zone": "other"})
    wait_until(lambda: "config reloaded" in follower.log() or "refused" in follower.log(), NOT_TOLD)
    assert "refused" not in follower.log(), follower.log()
    assert "not told" not in before
