"""A node named by DNS name is the same node wherever its name leads: a pod that comes back elsewhere."""

from __future__ import annotations

from pathlib import Path

import redis

from shardproxy.fleet import free_port
from tests.fixtures.named import Engines, lead, takes_root, wait_until
from tests.fixtures.proxy import StartProxy

pytestmark = takes_root


def test_a_node_that_moves_is_reached_where_its_name_leads(
    engines: Engines, hosts: Path, start_proxy: StartProxy, under: tuple[str, ...]
) -> None:
    port = free_port()
    first = engines.start("127.0.0.2", port)
    lead(hosts, {"redis-0": "127.0.0.2"})
    shards = [{"nodes": [f"redis-0:{port}"]}]
    proxy = start_proxy({"clusters": {"one": {"engine": "redis", "shards": shards}}}, under=under)
    with redis.Redis(proxy.host, proxy.port) as client:
        client.set("k", "first")
        engines.start("127.0.0.3", port)
        lead(hosts, {"redis-0": "127.0.0.3"})
        first.kill()
        wait_until(lambda: client.set("k", "second") is True)
        with redis.Redis("127.0.0.3", port) as moved:
            assert moved.get("k") == b"second"


def test_a_replica_that_moves_is_the_same_replica(
    engines: Engines, hosts: Path, start_proxy: StartProxy, under: tuple[str, ...]
) -> None:
    port = free_port()
    alone = ("--replicaof", "127.0.0.1 1", "--repl-diskless-sync-delay", "0")
    engines.start("127.0.0.2", port, *alone)
    second = engines.start("127.0.0.3", port, *alone)
    lead(hosts, {"redis-0": "127.0.0.2", "redis-1": "127.0.0.3"})
    with redis.Redis("127.0.0.2", port) as primary:
        primary.replicaof("NO", "ONE")
    with redis.Redis("127.0.0.3", port) as replica:
        replica.replicaof("127.0.0.2", port)
    shards = [{"nodes": [f"redis-0:{port}", f"redis-1:{port}"]}]
    proxy = start_proxy({"clusters": {"one": {"engine": "redis", "shards": shards}}}, under=under)
    with redis.Redis(proxy.host, proxy.port) as client:
        wait_until(lambda: client.set("k", "v") is True)
        second.kill()
        engines.start("127.0.0.4", port, *alone)
        lead(hosts, {"redis-0": "127.0.0.2", "redis-1": "127.0.0.4"})
        with redis.Redis("127.0.0.4", port) as moved:
            wait_until(lambda: moved.info("replication")["master_link_status"] == "up", within=30)
            assert moved.get("k") == b"v"
