"""What is thought of nodes, by what they say of themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shardproxy.config import RedisCluster, parse_config
from shardproxy.doctor.finding import Finding, Verdict
from shardproxy.doctor.node import NodeFacts
from shardproxy.doctor.node_checks import node_findings
from shardproxy.doctor.rights import FAILOVER, Request, mend_of, rights_needed, word_of
from shardproxy.doctor.setting_checks import alike_findings
from shardproxy.doctor.terms import Terms
from shardproxy.model import Address

CLUSTER = """
clusters:
  main:
    engine: redis
    endpoints: {{configuration: "127.0.0.1:7000"}}
    shards: [{{nodes: ["127.0.0.1:7101", "127.0.0.1:7102"]}}]
    {more}
"""
ADDRESS = Address("10.0.0.1", 7101)
SETTINGS = {
    "maxmemory": "1073741824",
    "maxmemory-policy": "noeviction",
    "maxclients": "10000",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "min-replicas-to-write": "0",
    "timeout": "0",
    "tcp-keepalive": "300",
    "client-output-buffer-limit": "normal 0 0 0 replica 268435456 67108864 60 pubsub 33554432 8388608 60",
    "repl-backlog-size": "1048576",
}
INFO = {
    "redis_version": "7.2.4",
    "redis_mode": "standalone",
    "master_repl_offset": "1000000",
    "uptime_in_seconds": "100",
    "total_system_memory": "8589934592",
}
GOOD = NodeFacts(ADDRESS, info=INFO, settings=SETTINGS, user="proxy")


def terms(more: str = "", *, connections: int = 1000, replicas: int = 1) -> Terms:
    cluster = parse_config(CLUSTER.format(more=more)).clusters["main"]
    assert isinstance(cluster, RedisCluster)
    needs = tuple(rights_needed(cluster, has_store=False))
    return Terms("main", cluster, needs, connections, replicas)


def wrong(facts: NodeFacts, of: Terms | None = None) -> list[Finding]:
    return [one for one in node_findings(facts, of or terms()) if one.verdict is not Verdict.OK]


def with_settings(**changes: str) -> NodeFacts:
    return replace(
        GOOD, settings=SETTINGS | {name.replace("_", "-"): value for name, value in changes.items()}
    )


def with_info(**changes: str) -> NodeFacts:
    return replace(GOOD, info=INFO | changes)


def test_a_good_node_is_ok() -> None:
    findings = list(node_findings(GOOD, terms()))
    assert {one.verdict for one in findings} == {Verdict.OK}
    assert {one.about for one in findings} == {"main 10.0.0.1:7101"}
    assert [one.check for one in findings] == ["version", "rights", "maxmemory", "persistence", "backlog"]


CASES: list[tuple[NodeFacts, str, str, Verdict, str]] = [
    (NodeFacts(ADDRESS, why_silent="connection refused"), "", "reachable", Verdict.BAD, "-p 7101 PING"),
    (NodeFacts(ADDRESS, refusal="NOAUTH Authentication required."), "", "login", Verdict.BAD, "--askpass"),
    (
        NodeFacts(ADDRESS, refusal="NOPERM User proxy has no permissions to run the 'info' command"),
        "node_auth: {username: proxy, password: {env: P}}",
        "rights",
        Verdict.BAD,
        "ACL SETUSER proxy '+ping' '+info' '+role' '+config|get'",
    ),
    (NodeFacts(ADDRESS, refusal="LOADING"), "", "reachable", Verdict.BAD, "INFO"),
    (with_info(redis_version="6.0.20"), "", "version", Verdict.WARN, "6.2"),
    (with_info(redis_mode="cluster"), "", "mode", Verdict.BAD, "from: redis-cluster"),
    (with_info(rdb_last_bgsave_status="err"), "", "disk", Verdict.BAD, "df -h"),
    (with_info(aof_last_write_status="err"), "", "disk", Verdict.BAD, "df -h"),
    (with_info(master_repl_offset="100000000"), "", "backlog", Verdict.WARN, "repl-backlog-size 60000000"),
    (replace(GOOD, is_open=True), "", "password", Verdict.WARN, "requirepass"),
    (replace(GOOD, settings={}, why_no_settings="NOPERM"), "", "settings", Verdict.WARN, "'+config|get'"),
    (replace(GOOD, why_no_rights="ERR unknown"), "", "rights", Verdict.WARN, "'+acl|dryrun'"),
    (with_settings(maxmemory="0"), "", "maxmemory", Verdict.WARN, "CONFIG SET maxmemory 4294967296"),
    (with_settings(appendonly="no"), "", "persistence", Verdict.WARN, "appendonly yes"),
    (
        with_settings(appendonly="no"),
        "persistence: {aof: everysec}",
        "persistence",
        Verdict.WARN,
        "CONFIG SET appendonly 'yes'",
    ),
    (with_settings(min_replicas_to_write="2"), "", "min-replicas", Verdict.BAD, "to-write 0"),
    (
        GOOD,
        "writes: {min_replicas: 1}",
        "min-replicas",
        Verdict.WARN,
        "CONFIG SET min-replicas-to-write 1",
    ),
    (with_settings(timeout="300"), "", "timeout", Verdict.WARN, "CONFIG SET timeout 0"),
    (with_settings(tcp_keepalive="0"), "", "tcp-keepalive", Verdict.WARN, "tcp-keepalive 300"),
    (with_settings(maxclients="500"), "", "maxclients", Verdict.WARN, "maxclients 1064"),
    (
        with_settings(client_output_buffer_limit="normal 0 0 0 replica 1048576 0 0 pubsub 0 0 0"),
        "",
        "replica buffer",
        Verdict.WARN,
        "'replica 268435456 67108864 60'",
    ),
]


@pytest.mark.parametrize(("facts", "more", "check", "verdict", "mend"), CASES)
def test_what_is_wrong_is_told_with_what_mends_it(
    facts: NodeFacts, more: str, check: str, verdict: Verdict, mend: str
) -> None:
    (finding,) = wrong(facts, terms(more))
    assert (finding.check, finding.verdict) == (check, verdict)
    assert finding.why
    assert mend in finding.mend


@pytest.mark.parametrize(
    ("facts", "more", "options"),
    [
        (with_settings(client_output_buffer_limit="normal 0 0 0 replica 0 0 0 pubsub 0 0 0"), "", {}),
        (with_settings(client_output_buffer_limit="replica 1 1 1 x"), "", {"replicas": 0}),
        (with_settings(appendonly="no"), "replication: managed", {}),  # the proxy lets none start empty
        (with_settings(appendonly="no", save="3600 1"), "", {}),
        (with_settings(min_replicas_to_write="1"), "writes: {min_replicas: 1}", {}),
        (replace(GOOD, address=Address("127.0.0.1", 1), is_open=True), "", {}),
    ],
)
def test_what_the_config_has_so_is_ok(facts: NodeFacts, more: str, options: dict[str, Any]) -> None:
    assert not wrong(facts, terms(more, **options))


BEHIND = """
    caching:
      sources: {db: {url: "sqlite:////a.db"}}
      rules:
        - match: "a:{{id}}"
          write: {mode: behind, source: db, as: string, upsert: "insert into a values (:id, :value)"}
"""


def test_a_cache_that_writes_behind_must_not_lose_its_notes() -> None:
    of = terms(BEHIND.replace("{{id}}", "{id}").strip())
    checks = {one.check for one in wrong(with_settings(maxmemory_policy="allkeys-lru"), of)}
    assert checks == {"maxmemory-policy"}
    assert not wrong(with_settings(maxmemory_policy="volatile-lru"), of)


def test_rights_are_missed_by_purpose() -> None:
    refused = {request: f"User proxy may not {request[0]}" for request in FAILOVER}
    (finding,) = wrong(replace(GOOD, missing=refused))
    assert finding.verdict is Verdict.BAD
    assert finding.why.startswith("needed to fail over: ")
    assert (
        "ACL SETUSER proxy '+replicaof' '+failover' '+config|set' '+config|rewrite' '+client|kill'"
        in finding.mend
    )
    (finding,) = wrong(replace(GOOD, missing={("TIME",): "no"}))
    assert finding.verdict is Verdict.WARN


def test_keys_and_channels_that_are_out_of_reach_are_part_of_the_cure() -> None:
    key: dict[Request, str] = {
        ("GET", "any key"): "User proxy has no permissions to access the 'any key' key"
    }
    assert mend_of(key) == "+get ~*"
    channel: dict[Request, str] = {
        ("SUBSCRIBE", "x"): "User proxy has no permissions to access the 'x' channel"
    }
    assert mend_of(channel) == "+subscribe &*"
    assert word_of(("CONFIG", "GET", "save")) == "+config|get"


@pytest.mark.parametrize(
    ("more", "purpose"),
    [
        ("writes: {wait: 1}", "for writes: {wait}"),
        ("persistence: {aof: everysec}", "for persistence"),
        ("near_cache: {}", "for near_cache"),
        ("failover: {enabled: false}", None),
    ],
)
def test_needs_follow_the_config(more: str, purpose: str | None) -> None:
    needs = {need.purpose for need in terms(more).needs}
    if purpose is None:
        assert "to fail over" not in needs
    else:
        assert purpose in needs


def test_nodes_of_a_cluster_should_be_alike() -> None:
    other = replace(with_settings(maxmemory="536870912"), address=Address("10.0.0.2", 7102))
    (finding,) = alike_findings([GOOD, other], "main")
    assert finding.mend == "redis-cli -h 10.0.0.2 -p 7102 CONFIG SET maxmemory 1073741824"
    assert not list(alike_findings([GOOD, GOOD], "main"))
