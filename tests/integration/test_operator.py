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


def refused(proxy: Proxy, *words: str) -> str:
    command = (str(executable("shardproxy")), *words, "--admin", str(proxy.config["admin"]))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_a_shard_is_called_by_its_name_or_its_number(
    start_fleet: StartFleet, start_proxy: StartProxy
) -> None:
    fleet = start_fleet(shards=2, replicas=1)
    cluster = cluster_of(fleet)
    cluster["shards"][0]["name"] = "users"
    proxy = start_proxy({"workers": 1, "clusters": {"sessions": cluster}})
    wait_until(lambda: run(proxy, "status").count("streaming") == 2, "every replica gets every write")
    assert run(proxy, "switchover", "sessions", "users") == "shard users of sessions has another primary\n"
    wait_until(lambda: run(proxy, "status").count("streaming") == 2, "its old primary follows")
    assert "has another primary" in run(proxy, "failover", "sessions", "0", "--test")
    known = "cluster sessions has no shard user; it has: users (0), 1"
    assert refused(proxy, "switchover", "sessions", "user") == f"shardproxy: {known}\n"
    assert "users" in run(proxy, "topology")
    assert "sessions/users  SwitchoverComplete" in run(proxy, "events")
    status = json.loads(run(proxy, "status", "--output", "json"))["clusters"]["sessions"]["shards"]
    assert [(shard["shard"], shard["name"]) for shard in status] == [(0, "users"), (1, None)]
    topology = json.loads(run(proxy, "topology", "--output", "json"))["clusters"]["sessions"]["shards"]
    assert [(shard["index"], shard["name"]) for shard in topology] == [(0, "users"), (1, None)]
    events = json.loads(run(proxy, "events", "--output", "json"))["events"]
    assert {(event["shard"], event["shard_name"]) for event in events} == {(0, "users"), (1, None)}


def test_paused_says_what_it_means(start_fleet: StartFleet, start_proxy: StartProxy) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    proxy = start_proxy({"workers": 1, "clusters": {"sessions": cluster_of(fleet)}})
    assert "nothing is done to its nodes unless asked for" in run(proxy, "pause", "sessions")
    assert "paused: nothing is done to its nodes by itself" in run(proxy, "status")
    assert "not paused any more" in run(proxy, "resume", "sessions")
    assert "paused" not in run(proxy, "status")
