"""A cluster as the data plane is told of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shardproxy.config import ConfigError, parse_config
from shardproxy.config.access import ALL_RIGHTS, hash_of
from shardproxy.dataplane.memcached import DiscoverySpec
from shardproxy.dataplane.spec import ClusterSettings, ShardTerms, cluster_spec, spec_encode
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.topology.settings import SettingsError, settings_read

SESSIONS = """
zone: a
clusters:
  sessions:
    engine: redis
    endpoints:
      configuration: ["127.0.0.1:7000", "unix:/run/x.sock"]
      reader: "127.0.0.1:7002"
    reads: {from: nearest}
    pubsub: spread
    node_auth: {username: proxy, password: {env: NODE_PASSWORD}}
    timeouts: {connect: 500ms, reply: 2s}
    limits: {clients: 10, request: 1mb}
    commands: {deny: [KEYS, config get], allow: "*", rename: {FLUSHALL: Wipe}}
    key_families: [rq, {match: "{user}:*", hash: "{user}"}]
    shards:
      - nodes: [{address: "127.0.0.1:7101", zone: a}, "127.0.0.1:7102"]
      - nodes: ["127.0.0.1:7103"]
"""


def test_spec_is_what_the_data_plane_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_PASSWORD", "secret")
    config = parse_config(SESSIONS)
    settings = settings_read(config, "7.0.15")["sessions"]
    spec = cluster_spec(settings, config.topologies()[0].with_epoch(3))
    assert json.loads(spec_encode(spec)) == {
        "name": "sessions",
        "engine": "redis",
        "epoch": 3,
        "version": "7.0.15",
        "endpoints": [
            {"kind": "configuration", "addresses": ["127.0.0.1:7000", "unix:/run/x.sock"]},
            {"kind": "reader", "addresses": ["127.0.0.1:7002"]},
        ],
        "reads": "nearest",
        "max_staleness": 1.0,
        "wait_timeout": 1.0,
        "pubsub": "spread",
        "strict": False,
        "databases": 16,
        "slow_log": {"threshold": 0.01, "entries": 128, "values": False},
        "zone": "a",
        "hashing": "slots",
        "commands": {"deny": ["keys", "config|get"], "allow": ["*"], "rename": {"flushall": "wipe"}},
        "key_families": [{"match": "rq:*", "hash": "rq"}, {"match": "{user}:*", "hash": "{user}"}],
        "shards": [
            {
                "name": None,
                "slots": [[0, 8191]],
                "primary": 0,
                "nodes": [
                    {"address": "127.0.0.1:7101", "zone": "a"},
                    {"address": "127.0.0.1:7102", "zone": None},
                ],
                "weight": 1,
                "number": 0,
            },
            {
                "name": None,
                "slots": [[8192, 16383]],
                "primary": 0,
                "nodes": [{"address": "127.0.0.1:7103", "zone": None}],
                "weight": 1,
                "number": 1,
            },
        ],
        "hot_keys": {"sample": 16, "keys": 100},
        "limits": {
            "clients": 10,
            "request": 1 << 20,
            "client_output": 512 << 20,
            "in_flight": 4096,
            "shard_queue": 64 << 20,
            "dedicated": 256,
        },
        "timeouts": {"connect": 0.5, "reply": 2.0, "idle": 0.0, "park": 3.0, "slow": 10.0},
        "node_auth": {"username": "proxy", "password": "secret"},
    }


def test_a_primary_is_named_by_who_it_is() -> None:
    config = parse_config(
        SESSIONS.replace("node_auth: {username: proxy, password: {env: NODE_PASSWORD}}", "")
    )
    settings, topology = settings_read(config, "7.0.15")["sessions"], config.topologies()[0]
    terms = {ShardKey("sessions", 0): ShardTerms(run_id="abc", label="eu")}
    first, second = cluster_spec(settings, topology, terms=terms)["shards"]
    assert (first["identity"], first["label"]) == ({"run_id": "abc"}, "eu")
    assert second.keys().isdisjoint({"identity", "label"})
    unled = replace(topology, shards=(replace(topology.shards[0], primary=None),))
    assert "identity" not in cluster_spec(settings, unled, terms=terms)["shards"][0]


def test_writes_wait_for_voters_as_decided_for_their_shard() -> None:
    text = SESSIONS.replace(
        "node_auth: {username: proxy, password: {env: NODE_PASSWORD}}", "writes: {wait: 1}"
    )
    config = parse_config(text.replace('"127.0.0.1:7103"]', '"127.0.0.1:7103", "127.0.0.1:7104"]'))
    settings, topology = settings_read(config, "7.0.15")["sessions"], config.topologies()[0]

    def waits(**terms: Any) -> list[tuple[int | None, list[str] | None]]:
        on = {ShardKey("sessions", 0): ShardTerms(**terms)}
        shards = cluster_spec(settings, topology, terms=on)["shards"]
        return [(shard.get("wait"), shard.get("voters")) for shard in shards]

    voters = frozenset({Address("::1", 2), Address("127.0.0.1", 1)})
    assert waits() == [(1, None), (1, None)]
    assert waits(wait=2, voters=voters) == [(2, ["127.0.0.1:1", "[::1]:2"]), (1, None)]
    assert waits(voters=frozenset()) == [(1, []), (1, None)]
    assert waits(wait=0, voters=voters) == [(None, None), (1, None)]


def test_settings_never_show_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_PASSWORD", "hunter2-hunter2")
    settings = settings_read(parse_config(SESSIONS), "7.0.15")["sessions"]
    assert "hunter2" not in repr(settings)


def test_a_changed_password_is_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config(SESSIONS).clusters["sessions"]
    monkeypatch.setenv("NODE_PASSWORD", "one")
    before = ClusterSettings.read(config, "7.0.15")
    assert ClusterSettings.read(config, "7.0.15") == before
    monkeypatch.setenv("NODE_PASSWORD", "two")
    assert ClusterSettings.read(config, "7.0.15") != before


def test_all_reasons_against_serving_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODE_PASSWORD", raising=False)
    carts = SESSIONS.partition("clusters:\n")[2].replace("sessions", "carts")
    text = SESSIONS + carts.replace(":70", ":80").replace(":71", ":81")
    with pytest.raises(SettingsError) as error:
        settings_read(parse_config(text.replace("unix:/run/x.sock", "127.0.0.1:9000", 1)), "7.0.15")
    assert [reason.split(":")[0] for reason in error.value.reasons] == [
        "clusters.sessions.node_auth",
        "clusters.carts.node_auth",
    ]
    assert "NODE_PASSWORD is not set" in error.value.reasons[1]


PAGES = """
clusters:
  pages:
    engine: memcached
    endpoints: {configuration: {address: "127.0.0.1:11211", mode: direct}}
    hashing: {method: modula, hash: md5, tag: "<>"}
    on_failure: {action: gutter, gutter: ["127.0.0.1:11411"], gutter_ttl: 1500ms, retry: 500ms}
    client_auth: {username: app, password: {env: CLIENT_PASSWORD}}
    nodes: ["127.0.0.1:11312", {address: "127.0.0.1:11311", name: one, weight: 3}]
"""


def test_a_memcached_cluster_brings_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_PASSWORD", "secret")
    config = parse_config(PAGES)
    settings = settings_read(config, "7.0.15")["pages"]
    discovery = DiscoverySpec(version=7, nodes=[("a", "10.0.0.1", 11211)])
    spec = cluster_spec(settings, config.topologies()[0].with_epoch(3), discovery=discovery)
    own = spec["memcached"]
    assert (own["hash"], own["tag"], own["gutter"]) == ("md5", "<>", 1)
    assert own["on_failure"] == {"action": "gutter", "failures": 2, "retry": 0.5, "gutter_ttl": 2}
    user, default = spec["access"]["users"]
    assert (default["name"], default["enabled"]) == ("default", False)
    assert (user["name"], user["passwords"], user["rules"]) == ("app", [hash_of("secret")], ALL_RIGHTS)
    assert own["discovery"] == discovery
    shards = [(shard["name"], shard["weight"], shard["nodes"][0]["address"]) for shard in spec["shards"]]
    assert shards == [
        (None, 1, "127.0.0.1:11312"),
        ("one", 3, "127.0.0.1:11311"),
        (None, 1, "127.0.0.1:11411"),
    ]
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    "settings",
    [
        "on_failure: gutter",
        'on_failure: {gutter: ["127.0.0.1:1"]}',
        "client_auth: {password: {env: X}}",
        "node_auth: {password: {env: X}}",
        "on_failure: {failures: 0}",
    ],
)
def test_what_a_memcached_cluster_cannot_be_is_refused(settings: str) -> None:
    lines = PAGES.splitlines()
    kept = [line for line in lines if not line.strip().startswith(("on_failure", "client_auth"))]
    with pytest.raises(ConfigError):
        parse_config("\n".join(kept) + f"\n    {settings}\n")


def test_who_may_connect_is_told_in_networks() -> None:
    config = parse_config("""
security_groups:
  - name: office
    inbound: [{from: ["group:pods", 192.0.2.7]}, {from: "fd00::/8", endpoints: [reader, primary]}]
  - {name: pods, inbound: [{from: [10.0.0.0/9, 10.128.0.0/9]}]}
clusters:
  main:
    engine: redis
    access: {inbound: [office]}
    endpoints:
      primary: {address: "127.0.0.1:1", proxy_protocol: {from: ["group:pods"]}}
      reader: 127.0.0.1:2
    shards: [{nodes: ["127.0.0.1:3"]}]
  open:
    engine: memcached
    endpoints: {configuration: 127.0.0.1:4}
    nodes: ["127.0.0.1:5"]
""")
    settings = settings_read(config, "7.0.15")
    spec, other = (cluster_spec(settings[one.cluster], one) for one in config.topologies())
    assert spec["inbound"] == [
        {"from": ["10.0.0.0/8", "192.0.2.7/32"], "endpoints": None},
        {"from": ["fd00::/8"], "endpoints": ["primary", "reader"]},
    ]
    assert spec["endpoints"] == [
        {"kind": "primary", "addresses": ["127.0.0.1:1"], "proxy_protocol": ["10.0.0.0/8"]},
        {"kind": "reader", "addresses": ["127.0.0.1:2"]},
    ]
    assert "inbound" not in other
    assert settings_read(config, "7.0.15") == settings
