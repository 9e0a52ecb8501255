"""What an operator types, against a proxy with both engines behind it."""

from __future__ import annotations

import json
import subprocess

import pytest

from shardproxy.fleet import Fleet
from shardproxy.model import Engine
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, cluster_of, executable, wait_until


@pytest.fixture
def proxy(start_fleet: StartFleet, fleet: Fleet, start_proxy: StartProxy) -> Proxy:
    pages = start_fleet(2, 0, Engine.MEMCACHED)
    clusters = {
        "sessions": cluster_of(fleet, failover={"enabled": False}),
        "pages": cluster_of(pages),
    }
    return start_proxy({"workers": 1, "clusters": clusters})


def run(proxy: Proxy, *words: str) -> str:
    command: tuple[str, ...] = (str(executable("shardproxy")), *words, "--admin", str(proxy.config["admin"]))
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_status_shows_the_clusters_of_both_engines(proxy: Proxy) -> None:
    wait_until(lambda: run(proxy, "status").count("streaming") == 3, "every replica gets every write")
    said = run(proxy, "status")
    assert "cluster sessions" in said
    assert "cluster pages" in said
    clusters = json.loads(run(proxy, "status", "--output", "json"))["clusters"]
    rows = [node for cluster in clusters.values() for shard in cluster["shards"] for node in shard["nodes"]]
    assert len(rows) == 8
    assert len({frozenset(row) for row in rows}) == 1, "every row has the same fields"


def test_topology_and_events_are_shown(proxy: Proxy) -> None:
    said = run(proxy, "topology")
    assert "sessions" in said
    assert "pages" in said
    events = json.loads(run(proxy, "events", "--output", "json"))["events"]
    assert sum(event["name"] == "PrimaryAdopted" for event in events) == 3
    assert all("None" not in event["message"] for event in events)
