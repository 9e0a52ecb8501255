"""Long work, disks and scaling as an operator meets them: a running proxy, its API and its command line."""

from __future__ import annotations

import json
import subprocess

import pytest

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Config, Proxy, StartProxy, cluster_of, executable, wait_until

PERSISTENCE = {"aof": "everysec", "rdb": [{"after": "1h"}]}
SCALING = {"shards": {"min": 2, "max": 4}, "target": {"cpu": "60%"}}


def config_of(fleet: Fleet, **options: object) -> Config:
    cluster = cluster_of(fleet, replication="managed", **options)
    return {"workers": 1, "clusters": {"main": cluster}}


def run(proxy: Proxy, *words: str) -> tuple[int, str, str]:
    command = (str(executable("shardproxy")), *words, "--admin", str(proxy.config["admin"]))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def events(proxy: Proxy, name: str) -> list[str]:
    found = json.loads(proxy.get("/api/events?count=1000")[1])["events"]
    return [event["message"] for event in found if event["name"] == name]


def setting(node: RedisNode, name: str) -> str:
    return bytes(node.ask("CONFIG", "GET", name)[1]).decode()


@pytest.fixture
def nodes(start_fleet: StartFleet) -> tuple[Fleet, list[RedisNode]]:
    fleet = start_fleet(shards=1, replicas=1, managed=True)
    return fleet, [node for node in fleet.nodes if isinstance(node, RedisNode)]


def test_jobs_are_shown_and_refusals_say_why(
    nodes: tuple[Fleet, list[RedisNode]], start_proxy: StartProxy
) -> None:
    proxy = start_proxy(config_of(nodes[0]))
    assert run(proxy, "jobs") == (0, "no job\n", "")
    assert run(proxy, "jobs", "main", "--abort") == (1, "", "shardproxy: nothing is under way on main\n")
    assert run(proxy, "jobs", "main", "--wait") == (1, "", "shardproxy: main has no job\n")
    assert json.loads(run(proxy, "jobs", "--output", "json")[1]) == {"jobs": []}
    metrics = proxy.metrics()
    assert metrics['shardproxy_move_pause_seconds_count{cluster="main"}'] == 0


def test_what_nodes_keep_on_disk_follows_the_config(
    nodes: tuple[Fleet, list[RedisNode]], start_proxy: StartProxy
) -> None:
    fleet, engines = nodes
    proxy = start_proxy(config_of(fleet, persistence=PERSISTENCE))

    def settings() -> set[tuple[str, ...]]:
        names = ("appendonly", "appendfsync", "save")
        return {tuple(setting(node, name) for name in names) for node in engines}

    wait_until(lambda: settings() == {("yes", "everysec", "3600 1")}, lambda: str(settings()), timeout=60)
    wait_until(lambda: any("has no config file" in said for said in events(proxy, "Alarm")), "it is said")
    assert proxy.metrics()['shardproxy_alarm{alarm="persistence",cluster="main",shard="0"}'] == 1
    proxy.reload(config_of(fleet, persistence={"aof": "no", "rdb": "no"}))
    wait_until(lambda: settings() == {("no", "everysec", "")}, lambda: str(settings()), timeout=60)


def test_how_many_shards_there_should_be_is_said(
    nodes: tuple[Fleet, list[RedisNode]], start_proxy: StartProxy
) -> None:
    proxy = start_proxy(config_of(nodes[0], scaling=SCALING))
    (said,) = wait_until(lambda: events(proxy, "ScalingAdvised"), "it is advised", timeout=60)
    assert said == (
        "1 shards have slots, 2 should: shards: {min: 2}. No shard is ready: list 1 more in the config, with"
        " slots: none, and then shardproxy scale main --shards 2"
    )
    status = json.loads(proxy.get("/api/status")[1])["clusters"]["main"]["scaling"]
    assert (status["shards"], status["wanted"], status["ready"], status["text"]) == (1, 2, 0, said)
    assert "scaling: 1 shards have slots" in run(proxy, "status")[1].replace("\n", " ")
    assert proxy.metrics()['shardproxy_scaling_shards{cluster="main",what="wanted"}'] == 2
    proxy.reload(config_of(nodes[0]))
    wait_until(
        lambda: "scaling" not in json.loads(proxy.get("/api/status")[1])["clusters"]["main"],
        "it is configured no more",
        timeout=60,
    )
