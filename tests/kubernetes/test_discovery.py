"""A real proxy finds its nodes by a real API server, and follows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis

from shardproxy.fleet import free_port
from tests.fixtures.kubernetes import Kubernetes
from tests.fixtures.named import Engines, lead, takes_root, wait_until
from tests.fixtures.proxy import StartProxy

pytestmark = takes_root


def slice_of(*pods: str) -> dict[str, Any]:
    """What Kubernetes says of the pods of a StatefulSet behind the headless Service redis-0."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "redis-0-x", "labels": {"kubernetes.io/service-name": "redis-0"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [f"10.1.0.{number}"], "hostname": pod, "conditions": {"ready": True}}
            for number, pod in enumerate(pods, start=1)
        ],
        "ports": [{"port": 6379}],
    }


def test_a_proxy_serves_the_pods_behind_a_service(
    kubernetes: Kubernetes,
    engines: Engines,
    hosts: Path,
    under: tuple[str, ...],
    start_proxy: StartProxy,
    tmp_path: Path,
) -> None:
    port, namespace = free_port(), kubernetes.namespace()
    names = {f"redis-0-{number}.redis-0.{namespace}.svc": f"127.0.0.{number + 2}" for number in range(2)}
    lead(hosts, names)
    alone = ("--replicaof", "127.0.0.1 1", "--repl-diskless-sync-delay", "0")
    for address in names.values():
        engines.start(address, port, *alone)
    with redis.Redis("127.0.0.2", port) as primary:
        primary.replicaof("NO", "ONE")
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    kubernetes.make(path, slice_of("redis-0-0"))
    store = {
        "server": kubernetes.url,
        "namespace": namespace,
        "token": {"file": str(kubernetes.admin_token())},
        "tls": {"ca": str(kubernetes.authority.ca)},
    }
    shards = [{"discover": {"kubernetes": {"service": "redis-0", "port": port}}}]
    cluster = {"engine": "redis", "replication": "managed", "shards": shards}
    proxy = start_proxy({"store": {"kubernetes": store}, "clusters": {"one": cluster}}, under=under)
    with redis.Redis(proxy.host, proxy.port) as client:
        wait_until(lambda: client.set("k", "v") is True)
        assert kubernetes.ask("PUT", f"{path}/redis-0-x", slice_of("redis-0-0", "redis-0-1"))[0] == 200
        with redis.Redis("127.0.0.3", port) as replica:
            wait_until(lambda: replica.info("replication")["master_link_status"] == "up", within=40)
            assert replica.get("k") == b"v"
        assert kubernetes.ask("DELETE", f"{path}/redis-0-x")[0] == 200
        wait_until(lambda: "no node was found" in proxy.log())
        assert client.get("k") == b"v"
