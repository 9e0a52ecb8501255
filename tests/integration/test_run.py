"""`shardproxy run` as its users meet it: starts, probes, reloads, drains."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from shardproxy.fleet import Fleet, RedisNode, free_port
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import Proxy, StartProxy, cluster_of, config_of, wait_until

EPOCH = 'shardproxy_topology_epoch{cluster="main"}'


def logged(proxy: Proxy, event: str) -> list[dict[str, Any]]:
    """The log lines of that event. Everything the proxy prints is JSON."""
    lines = [json.loads(line) for line in proxy.log().splitlines()]
    return [line for line in lines if line["event"] == event]


def wait_logged(proxy: Proxy, event: str, count: int = 1) -> dict[str, Any]:
    lines: list[dict[str, Any]] = wait_until(lambda: logged(proxy, event)[count - 1 :], f"log line {event!r}")
    return lines[-1]


def run_to_its_end(config: dict[str, Any], directory: Path) -> subprocess.CompletedProcess[str]:
    file = directory / "config.yaml"
    file.write_text(json.dumps(config))
    return subprocess.run(
        (sys.executable, "-m", "shardproxy", "run", "--config", str(file)),
        env={**os.environ, "XDG_STATE_HOME": str(directory)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def config_without_engines(**options: Any) -> dict[str, Any]:
    shards = [{"nodes": [f"127.0.0.1:{free_port()}"]} for _ in range(2)]
    return {"workers": 1, "clusters": {"main": {"engine": "redis", "shards": shards, **options}}}


# --- start ---


def test_ready_with_every_engine_down(start_proxy: StartProxy, wire: Callable[..., Wire]) -> None:
    config = config_without_engines()
    proxy = start_proxy(config)
    assert proxy.get("/readyz") == (200, "ok\n")
    assert proxy.get("/livez") == (200, "ok\n")
    assert wire(proxy).ask("PING") == b"PONG"


def test_readiness_outlives_the_engines(
    start_fleet: Callable[..., Fleet], start_proxy: StartProxy, redis_client: Callable[..., redis.Redis]
) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    proxy = start_proxy(fleet)
    redis_client(proxy).set("a", "1")
    for node in fleet.nodes:
        fleet.kill(node)
    with pytest.raises(redis.RedisError):
        redis_client(proxy, retry=None).get("a")
    assert proxy.get("/readyz")[0] == 200
    assert proxy.get("/livez")[0] == 200


def test_an_endpoint_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        config = config_without_engines(endpoints={"configuration": address})
        config["admin"] = f"127.0.0.1:{free_port()}"
        ended = run_to_its_end(config, tmp_path)
    assert ended.returncode == 1
    assert "cluster main" in ended.stderr
    assert address in ended.stderr
    assert "in use" in ended.stderr
    assert "stop it, or choose a free address" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_admin_address_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        admin = f"127.0.0.1:{other.getsockname()[1]}"
        config = config_without_engines(endpoints={"configuration": f"127.0.0.1:{free_port()}"})
        ended = run_to_its_end({**config, "admin": admin}, tmp_path)
    assert ended.returncode == 1
    assert f"admin address {admin}" in ended.stderr
    assert "in use" in ended.stderr


def test_a_bad_file_is_refused_with_all_its_problems(tmp_path: Path) -> None:
    config = config_without_engines(endpoints={"configuration": "nowhere"}, limits={"clients": -1})
    ended = run_to_its_end(config, tmp_path)
    assert ended.returncode == 1
    assert "clusters.main.endpoints.configuration" in ended.stderr
    assert "clusters.main.limits.clients" in ended.stderr


# --- the admin pages ---


def test_metrics_count_what_clients_did(
    start_fleet: Callable[..., Fleet], start_proxy: StartProxy, redis_client: Callable[..., redis.Redis]
) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    proxy = start_proxy(config_of(fleet))
    client = redis_client(proxy)
    for number in range(50):
        client.set(f"key-{number}", "x" * 100)
        client.get(f"key-{number}")
    with pytest.raises(redis.ResponseError):
        client.lpush("key-0", "1")
    client.info()

    def counted() -> dict[str, float] | None:
        now = proxy.metrics()
        return now if now.get(command("get", "ok")) == 50 else None

    def command(name: str, outcome: str) -> str:
        return f'shardproxy_commands_total{{cluster="main",command="{name}",outcome="{outcome}"}}'

    metrics = wait_until(counted, "50 GETs counted")
    assert metrics[command("set", "ok")] == 50
    assert metrics[command("lpush", "error")] == 1
    assert metrics['shardproxy_clients{cluster="main"}'] == 1
    assert metrics['shardproxy_clients_accepted_total{cluster="main"}'] == 1
    assert metrics['shardproxy_client_received_bytes_total{cluster="main"}'] > 5000
    assert metrics['shardproxy_client_sent_bytes_total{cluster="main"}'] > 5000
    assert metrics['shardproxy_offloads_total{cluster="main"}'] >= 1
    assert metrics[EPOCH] >= 1
    for node in fleet.nodes:
        labels = f'cluster="main",node="{node.address}"'
        assert metrics[f"shardproxy_node_requests_total{{{labels}}}"] > 0
        assert metrics[f"shardproxy_node_connections{{{labels}}}"] >= 1
    gets = [
        value
        for name, value in metrics.items()
        if name.startswith("shardproxy_command_seconds_count") and 'class="read"' in name
    ]
    assert gets[0] >= 50


def test_no_key_and_no_client_address_is_a_label(
    start_fleet: Callable[..., Fleet], start_proxy: StartProxy, redis_client: Callable[..., redis.Redis]
) -> None:
    proxy = start_proxy(start_fleet(shards=1, replicas=0))
    client = redis_client(proxy)
    client.set("a-very-special-key", "1")
    with pytest.raises(redis.ResponseError):
        client.execute_command("NO-SUCH-COMMAND")
    client_address = client.client_info()["addr"]
    text = proxy.get("/metrics")[1]
    assert "a-very-special-key" not in text
    assert "no-such-command" not in text.lower()
    assert str(client_address) not in text
    (row,) = json.loads(proxy.get("/api/clients")[1])["clients"]
    assert row["address"] == client_address


def test_the_page_and_the_topology(start_fleet: Callable[..., Fleet], start_proxy: StartProxy) -> None:
    fleet = start_fleet(shards=2, replicas=1)
    proxy = start_proxy(fleet)
    assert "console/app.js" in proxy.get("/")[1]
    shards = json.loads(proxy.get("/api/topology")[1])["clusters"]["main"]["shards"]
    assert [[node["address"] for node in shard["nodes"]] for shard in shards] == [
        [str(node.address) for node in shard.nodes] for shard in fleet.shards
    ]


# --- SIGHUP ---


def test_a_shard_that_has_slots_is_not_swapped_by_a_reload(
    start_fleet: Callable[..., Fleet], start_proxy: StartProxy, wire: Callable[..., Wire]
) -> None:
    one, other = start_fleet(shards=1, replicas=0), start_fleet(shards=2, replicas=0)
    proxy = start_proxy(config_of(one))
    wait_logged(proxy, "primary adopted")  # so that its slots are on record
    client = wire(proxy)
    assert client.ask("SET", "where", "one") == b"OK"
    assert client.ask("DEL", "where") == 1
    proxy.reload(config_of(other))
    wait_logged(proxy, "config refused, the old one stays")
    assert "shardproxy drain main" in proxy.log(), "also without keys: it is said what to do"
    assert client.ask("SET", "where", "still") == b"OK"
    assert cast(RedisNode, one.nodes[0]).ask("GET", "where") == b"still"
    assert proxy.metrics()['shardproxy_clients_accepted_total{cluster="main"}'] == 1


def test_a_reload_changes_limits_and_keeps_clients_and_epoch(
    start_proxy: StartProxy, wire: Callable[..., Wire]
) -> None:
    config = config_without_engines()
    proxy = start_proxy(config)
    before, epoch = wire(proxy), proxy.metrics()[EPOCH]
    assert before.ask("PING") == b"PONG"
    config["clusters"]["main"]["limits"] = {"clients": 1}
    proxy.reload(config)
    wait_logged(proxy, "config reloaded")
    assert before.ask("PING") == b"PONG"
    assert wire(proxy).reply() == "ERR max number of clients reached"
    assert proxy.metrics()[EPOCH] == epoch


def test_a_reload_moves_an_endpoint_and_adds_and_removes_clusters(
    start_fleet: Callable[..., Fleet], start_proxy: StartProxy, wire: Callable[..., Wire]
) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    main, other = ({**cluster_of(fleet), "shards": [shard]} for shard in fleet.config_shards())
    proxy = start_proxy({"workers": 1, "clusters": {"main": main, "gone": other}})
    stays, goes = wire(proxy), wire(proxy.address(cluster="gone"))
    assert stays.ask("PING") == b"PONG"
    assert goes.ask("SET", "a", "2") == b"OK"
    moved = {"configuration": f"127.0.0.1:{free_port()}"}
    proxy.reload({"workers": 1, "clusters": {"main": {**main, "endpoints": moved}, "new": other}})
    wait_logged(proxy, "config reloaded")
    goes.expect_closed()
    assert stays.ask("SET", "a", "1") == b"OK"  # its endpoint is gone, itself is not
    assert wire(proxy.address(cluster="main")).ask("GET", "a") == b"1"
    assert wire(proxy.address(cluster="new")).ask("GET", "a") == b"2"


def test_a_bad_file_is_refused_and_the_old_one_served(
    start_proxy: StartProxy, wire: Callable[..., Wire]
) -> None:
    config = config_without_engines()
    proxy = start_proxy(config)
    client = wire(proxy)
    bad = config_without_engines(limits={"clients": -1}, timeouts={"reply": "soon"})
    proxy.reload(bad)
    refusal = wait_logged(proxy, "config refused, the old one stays")
    assert len(refusal["why"]) == 2
    assert client.ask("PING") == b"PONG"
    assert wire(proxy).ask("PING") == b"PONG"
    assert proxy.metrics()['shardproxy_config_reloads_total{outcome="refused"}'] == 1


def test_a_reload_whose_endpoint_is_taken_changes_nothing(
    start_proxy: StartProxy, wire: Callable[..., Wire]
) -> None:
    proxy = start_proxy(config_without_engines())
    old = proxy.address()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        proxy.reload(config_without_engines(endpoints={"configuration": taken}))
        refusal = wait_logged(proxy, "config refused, the old one stays")
    assert taken in refusal["why"][0]
    assert wire(old).ask("PING") == b"PONG"


def test_clients_beyond_the_descriptors_are_told_so(
    start_proxy: StartProxy, wire: Callable[..., Wire]
) -> None:
    proxy = start_proxy(config_without_engines())
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (200, 200))
    proxy.reload(proxy.config)
    most = wait_logged(proxy, "limit of clients lowered")["clients"]
    crowd = [wire(proxy) for _ in range(250)]
    served = crowd[:most]
    for client in served:
        client.send_command("PING")
    assert {client.reply() for client in served} == {b"PONG"}
    assert {str(client.reply()) for client in crowd[most:]} == {"ERR max number of clients reached"}
    assert proxy.get("/livez") == (200, "ok\n")


def test_settings_that_wait_for_a_restart_are_named(start_proxy: StartProxy) -> None:
    config = config_without_engines()
    proxy = start_proxy(config)
    proxy.reload({**config, "workers": 2, "admin": f"127.0.0.1:{free_port()}"})
    wait_logged(proxy, "setting waits for a restart", 2)
    assert [line["setting"] for line in logged(proxy, "setting waits for a restart")] == ["workers", "admin"]
    proxy.config["admin"] = config.get("admin", proxy.config["admin"])


# --- SIGTERM ---


def test_drain_answers_what_was_sent_and_accepts_nobody(
    start_fleet: Callable[..., Fleet], start_proxy: StartProxy, wire: Callable[..., Wire]
) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    proxy = start_proxy(config_of(fleet))
    busy, idle = wire(proxy), wire(proxy)
    assert busy.ask("PING") == idle.ask("PING") == b"PONG"
    (node,) = fleet.nodes
    fleet.freeze(node)
    busy.send_command("SET", "a", "1")
    wait_until(lambda: in_flight(proxy) > 0, "the request is on its way")
    proxy.signal(signal.SIGTERM)
    idle.expect_closed()
    with pytest.raises(ConnectionRefusedError):
        wire(proxy)
    assert proxy.get("/readyz") == (503, "draining\n")
    fleet.thaw(node)
    assert busy.reply() == b"OK"
    busy.expect_closed()
    assert proxy.wait() == 0


def in_flight(proxy: Proxy) -> int:
    """Requests that clients have sent and that have no reply yet."""
    return sum(int(row["pending"]) for row in json.loads(proxy.get("/api/clients")[1])["clients"])


def test_drain_ends_at_its_deadline(
    start_fleet: Callable[..., Fleet], start_proxy: StartProxy, wire: Callable[..., Wire]
) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    proxy = start_proxy({**config_of(fleet), "timeouts": {"drain": "300ms"}})
    client = wire(proxy)
    fleet.freeze(fleet.nodes[0])
    client.send_command("SET", "a", "1")
    wait_until(lambda: in_flight(proxy) > 0, "the request is on its way")
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0
    assert logged(proxy, "clients cut off")[0]["clients"] == 1
    client.expect_closed()


def test_a_second_signal_ends_at_once(
    start_fleet: Callable[..., Fleet], start_proxy: StartProxy, wire: Callable[..., Wire]
) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    proxy = start_proxy({**config_of(fleet, timeouts={"reply": "1h"}), "timeouts": {"drain": "1h"}})
    client = wire(proxy)
    fleet.freeze(fleet.nodes[0])
    client.send_command("SET", "a", "1")
    wait_until(lambda: in_flight(proxy) > 0, "the request is on its way")
    proxy.signal(signal.SIGINT)
    wait_logged(proxy, "draining")
    assert proxy.is_running
    proxy.signal(signal.SIGINT)
    assert proxy.wait() == 0


# --- in between ---


def test_a_proxy_that_nothing_happens_to_logs_nothing(
    start_fleet: Callable[..., Fleet], start_proxy: StartProxy, redis_client: Callable[..., redis.Redis]
) -> None:
    proxy = start_proxy(start_fleet(shards=1, replicas=0))
    wait_logged(proxy, "primary adopted")
    wait_logged(proxy, "topology served", 2)  # at the start, and with that primary
    before = proxy.log()
    client = redis_client(proxy)
    for number in range(100):
        client.incr(f"key-{number}")
    client.info()
    proxy.metrics()
    said = proxy.log().removeprefix(before).splitlines()
    assert [line for line in said if "our own loop stood still" not in line] == []  # a busy machine's doing


def test_unix_sockets_for_clients_and_admin(
    tmp_path: Path, start_proxy: StartProxy, wire: Callable[..., Wire]
) -> None:
    path = tmp_path / "cache.sock"
    proxy = start_proxy(config_without_engines(endpoints={"configuration": f"unix:{path}"}))
    client = wire(proxy)
    assert client.ask("PING") == b"PONG"
    assert f"laddr=unix:{path} ".encode() in client.ask("CLIENT", "LIST")
    assert "a unix socket has no address" in str(client.ask("CLUSTER", "SLOTS"))
    proxy.stop()
    assert not path.exists()
