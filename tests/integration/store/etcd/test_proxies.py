"""Two proxies of the example config, which agree through etcd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from shardproxy.fleet import Fleet, RedisNode, free_port
from shardproxy.fleet.process import LocalProcess
from tests.fixtures.clients import redis_cli
from tests.fixtures.etcd import Etcd
from tests.fixtures.proxy import Proxy, wait_until

EXAMPLE = Path(__file__).parents[4] / "config" / "etcd.yaml"


def example(etcd: Etcd, fleet: Fleet, name: str, prefix: str) -> dict[str, Any]:
    config: dict[str, Any] = YAML(typ="safe").load(EXAMPLE.read_text())
    config["store"]["etcd"] |= {"endpoints": etcd.endpoints, "prefix": prefix}
    config |= {"name": name, "workers": 1, "admin": f"127.0.0.1:{free_port()}"}
    cluster = config["clusters"]["sessions"]
    cluster["endpoints"]["configuration"] = f"127.0.0.1:{free_port()}"
    cluster["shards"] = [{"nodes": [str(node.address) for node in shard.nodes]} for shard in fleet.shards]
    return config


def seen(proxy: Proxy) -> list[tuple[str, str | None, int]]:
    """State, primary and epoch of every shard, as a proxy sees them."""
    shards = json.loads(proxy.get("/api/status")[1])["clusters"]["sessions"]["shards"]
    return [
        (
            shard["state"],
            next((node["address"] for node in shard["nodes"] if node["role"] == "primary"), None),
            shard["epoch"],
        )
        for shard in shards
    ]


@pytest.fixture
def proxies(etcd: Etcd) -> Iterator[tuple[Fleet, list[Proxy]]]:
    prefix = etcd.settings().prefix
    with Fleet(2, 1, managed=True, launch=LocalProcess) as fleet:
        started: list[Proxy] = []
        try:
            for name in ("one", "two"):
                started.append(Proxy(example(etcd, fleet, name, prefix)))
            yield fleet, started
        finally:
            for proxy in started:
                proxy.stop()


def test_the_example_fails_over_and_all_proxies_agree(proxies: tuple[Fleet, list[Proxy]]) -> None:
    fleet, (one, two) = proxies
    wait_until(
        lambda: seen(one) == seen(two) and all(state == "ok" for state, _, _ in seen(one)),
        lambda: f"both see two primaries: {seen(one)} {seen(two)}",
        timeout=20,
    )
    assert redis_cli(one, "SET", "told", "to one").strip() == "OK"
    assert redis_cli(two, "GET", "told").strip() == "to one"
    before = seen(two)
    killed = next(node for node in fleet.nodes if str(node.address) == before[0][1])
    assert isinstance(killed, RedisNode)
    wait_until(lambda: killed.info("replication").get("connected_slaves") == "1", "it has its replica")
    killed.kill()
    wait_until(
        lambda: seen(one) == seen(two) and seen(one)[0][0] == "ok" and seen(one)[0][1] != before[0][1],
        lambda: f"both see another primary: {seen(one)} {seen(two)}",
        timeout=20,
    )
    assert seen(one)[0][2] > before[0][2]
    for proxy in (one, two):
        assert redis_cli(proxy, "SET", "told", "again").strip() == "OK"
