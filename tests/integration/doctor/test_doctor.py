"""`shardproxy doctor` with real engines that are set up wrongly, and with one that is not."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from shardproxy.cli import main
from shardproxy.fleet import Fleet, RedisNode, free_port
from tests.fixtures.engines import StartFleet

PASSWORD = "a password of tests"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def config_of(fleet: Fleet, **more: Any) -> dict[str, Any]:
    return {
        "admin": f"127.0.0.1:{free_port()}",
        "workers": 1,
        "clusters": {
            "main": {
                "engine": "redis",
                "endpoints": {"configuration": f"127.0.0.1:{free_port()}"},
                "shards": [{"nodes": [str(node.address) for node in shard.nodes]} for shard in fleet.shards],
                **more,
            }
        },
    }


def examined(
    config: dict[str, Any], directory: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[dict[str, Any]]]:
    """The exit code, and what is not ok beside the machine."""
    file = directory / "shardproxy.yaml"
    file.write_text(json.dumps(config))
    code = main(["doctor", "--config", str(file), "--output", "json"])
    document = json.loads(capsys.readouterr().out)
    findings = [one for one in document["findings"] if one["verdict"] != "ok" and one["about"] != "machine"]
    assert document["counts"]["bad"] == sum(one["verdict"] == "bad" for one in document["findings"])
    return code, findings


def test_engines_that_are_set_up_wrongly(
    start_fleet: StartFleet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = start_fleet(shards=1, replicas=1)
    primary, replica = fleet.shards[0].nodes
    assert isinstance(primary, RedisNode)
    assert isinstance(replica, RedisNode)
    primary.ask("ACL", "SETUSER", "proxy", "on", f">{PASSWORD}", *["~app:*", "&*", "+@all", "-failover"])
    for name, value in {
        "timeout": "60",
        "tcp-keepalive": "0",
        "maxmemory": "100mb",
        "min-replicas-to-write": "3",
        "client-output-buffer-limit": "replica 1mb 1mb 1",
    }.items():
        primary.ask("CONFIG", "SET", name, value)
    replica.ask("ACL", "SETUSER", "proxy", "on", f">{PASSWORD}", *["~*", "&*", "+@all", "-info"])
    monkeypatch.setenv("NODES", PASSWORD)
    auth = {"node_auth": {"username": "proxy", "password": {"env": "NODES"}}}
    code, findings = examined(config_of(fleet, **auth), tmp_path, capsys)
    assert code == 1
    of = {(one["about"], one["check"]): one for one in findings}
    at = f"main {primary.address}"
    assert {check for about, check in of if about == at} == {
        *("rights", "persistence", "min-replicas", "timeout", "tcp-keepalive", "replica buffer"),
    }
    rights = [one for one in findings if one["about"] == at and one["check"] == "rights"]
    assert {one["why"].partition(":")[0] for one in rights} >= {
        "needed to fail over",
        "needed for what clients do",
    }
    mend = next(one["mend"] for one in rights if "to fail over" in one["why"])
    assert mend == f"redis-cli -h 127.0.0.1 -p {primary.address.port} ACL SETUSER proxy '+failover'"
    assert any("'~*'" in one["mend"] for one in rights)
    assert of[at, "min-replicas"]["verdict"] == "bad"
    denied = of[f"main {replica.address}", "rights"]
    assert "NOPERM" in denied["found"]
    assert PASSWORD not in json.dumps(findings)


def test_what_mends_it_mends_it(
    start_fleet: StartFleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that a finding names is given to the engine, as an operator would."""
    fleet = start_fleet(
        shards=1, replicas=1, args=("--timeout", "5", "--tcp-keepalive", "0", "--maxclients", "200")
    )
    config = config_of(fleet)
    _, findings = examined(config, tmp_path, capsys)
    assert findings
    nodes = {str(node.address.port): node for shard in fleet.shards for node in shard.nodes}
    for one in findings:
        words = one["mend"].partition("  #")[0].replace("'", "").split()
        assert words[:2] == ["redis-cli", "-h"], one
        node = nodes[words[4]]
        assert isinstance(node, RedisNode)
        node.ask(*words[5:])
    _, left = examined(config, tmp_path, capsys)
    assert left == []


def test_nodes_that_do_not_answer_and_addresses_that_are_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], start_fleet: StartFleet
) -> None:
    fleet = start_fleet(shards=1, replicas=0, password=PASSWORD)
    config = config_of(fleet)
    config["clusters"]["main"]["shards"].append({"nodes": [f"127.0.0.1:{free_port()}"]})
    config["clusters"]["pages"] = {
        "engine": "memcached",
        "endpoints": {"configuration": f"127.0.0.1:{free_port()}"},
        "nodes": [f"127.0.0.1:{free_port()}"],
    }
    taken = config["clusters"]["main"]["endpoints"]["configuration"]
    host, _, port = taken.rpartition(":")
    with socket.create_server((host, int(port))):
        code, findings = examined(config, tmp_path, capsys)
    assert code == 1
    found = sorted((one["check"], one["found"]) for one in findings if one["verdict"] == "bad")
    assert [check for check, _ in found] == ["listen", "login", "reachable", "reachable"]
    assert found[0][1] == f"main configuration {taken}: address already in use"
    assert "NOAUTH" in found[1][1]
    assert {text for _, text in found[2:]} == {"connection refused"}


def test_a_store_that_is_silent_and_a_certificate_that_is_not_there(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(
        fleet, tls={"certificate": str(tmp_path / "none.crt"), "key": str(tmp_path / "none.key")}
    )
    config["store"] = {"etcd": {"endpoints": [f"http://127.0.0.1:{free_port()}"]}}
    _, findings = examined(config, tmp_path, capsys)
    store = next(one for one in findings if one["about"] == "store")
    assert store["mend"].startswith("etcdctl --endpoints=http://127.0.0.1:")
    assert "none.crt" in next(one["found"] for one in findings if one["check"] == "secrets")


def test_a_config_with_mistakes_is_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, findings = examined({"clusters": {"main": {"engine": "redis"}}}, tmp_path, capsys)
    assert code == 1
    assert {one["check"] for one in findings} == {"mistake"}


def test_people_read_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--all"])
    out = capsys.readouterr().out
    assert "machine: somaxconn: " in out
    assert code in (0, 1)
    assert " ok" in out.splitlines()[-1]
