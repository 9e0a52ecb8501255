"""IAM and verifiers in the config: what is taken, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shardproxy.access.build import Builder, plans_read
from shardproxy.access.http import HttpVerifier
from shardproxy.access.iam import IamVerifier
from shardproxy.access.statistics import LoginStatistics
from shardproxy.access.verifiers import Kind
from shardproxy.config import ConfigError, NodeIdentity, RedisCluster, parse_config
from shardproxy.config.files import FilesRead

IDENTITY = {
    "user": "proxy",
    "cluster": "My-Cache",
    "region": "eu-central-1",
    "access_key_id": "AKIA1",
    "secret_access_key": {"env": "SHARDPROXY_SECRET"},
}
USERS = [{"name": "app", "iam": True}, {"name": "asked", "external": True}]
IAM = {"keys": "iam.yaml", "region": "eu-central-1"}
NOTHING: dict[str, Any] = {}
URL = "https://logins.example.com/verify"


def config_text(engine: str = "redis", **more: Any) -> str:
    nodes = {"shards": [{"nodes": ["127.0.0.1:1"]}]} if engine == "redis" else {"nodes": ["127.0.0.1:1"]}
    endpoints = {"configuration": "127.0.0.1:7000"}
    return json.dumps({"clusters": {"Main": {"engine": engine, "endpoints": endpoints, **nodes, **more}}})


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    (only,) = caught.value.problems
    return f"{only.path}: {only.message} ({only.hint})".replace("clusters.Main.", "")


def test_an_identity_is_read_with_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDPROXY_SECRET", "hunter2")
    monkeypatch.setenv("SHARDPROXY_SESSION", "session")
    iam = {**IDENTITY, "session_token": {"env": "SHARDPROXY_SESSION"}, "serverless": True}
    cluster = parse_config(config_text(node_auth={"iam": iam})).clusters["Main"]
    assert isinstance(cluster, RedisCluster)
    assert cluster.node_auth is not None
    read = cluster.node_auth.read()
    assert read == NodeIdentity("proxy", "my-cache", "eu-central-1", "AKIA1", "hunter2", "session", True)
    assert "hunter2" not in repr(read) + repr(cluster)
    assert "'session'" not in repr(read)


@pytest.mark.parametrize(
    ("node_auth", "said"),
    [
        ({}, "node_auth: give exactly one of password and iam (write {username:"),
        ({"password": {"env": "A"}, "iam": IDENTITY}, "node_auth: give exactly one of password and iam"),
        ({"username": "x", "iam": IDENTITY}, "node_auth: iam has a user of its own (leave out username)"),
        (
            {"iam": {**IDENTITY, "secret_access_key": "hunter2"}},
            "node_auth.iam.secret_access_key: a password is never written in the config",
        ),
        ({"iam": {**IDENTITY, "region": "EU"}}, "node_auth.iam.region: is not a region (as in eu-central-1)"),
        (
            {"iam": {**IDENTITY, "access_key_id": "A B"}},
            "node_auth.iam.access_key_id: is not an access key id (as in AKIA",
        ),
        ({"iam": {**IDENTITY, "cluster": "a/b"}}, "node_auth.iam.cluster: is not the name of a cluster (use"),
        (
            {"iam": {**IDENTITY, "regoin": "x"}},
            "node_auth.iam.regoin: is not a known key (did you mean region?)",
        ),
        (
            {"iam": {k: v for k, v in IDENTITY.items() if k != "user"}},
            "node_auth.iam.user: is missing",
        ),
    ],
)
def test_a_wrong_login_is_explained(node_auth: dict[str, Any], said: str) -> None:
    found = problem(config_text(node_auth=node_auth))
    assert found.startswith(said)
    assert "hunter2" not in found


def test_memcached_knows_no_tokens() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(config_text("memcached", node_auth={"iam": IDENTITY}))
    assert "memcached knows no tokens: write a password" in str(caught.value)


@pytest.mark.parametrize(
    ("access", "said"),
    [
        ({"iam": {"region": "a"}}, "access.iam.keys: is missing (name the file"),
        ({"iam": {"keys": "k"}}, "access.iam.region: is missing (as in eu-central-1)"),
        ({"iam": {**IAM, "service": "s3"}}, "access.iam.service: must be elasticache or memorydb"),
        (
            {"iam": {**IAM, "service": "memorydb", "serverless": True}},
            "access.iam: memorydb has no serverless caches (leave out serverless)",
        ),
        ({"iam": {**IAM, "session": "0s"}}, "access.iam.session: must be at least 1ms"),
        ({"iam": {**IAM, "cluster": "x y"}}, "access.iam.cluster: is not the name of a cluster"),
        ({"verifier": {}}, "access.verifier.url: is missing"),
        ({"verifier": {"url": "logins"}}, "access.verifier.url: is not a URL (write it like https://"),
        ({"verifier": {"url": "ftp://a/"}}, "access.verifier.url: is not a URL"),
        ({"verifier": {"url": "https://"}}, "access.verifier.url: is not a URL"),
        ({"verifier": {"url": "https://a:b/"}}, "access.verifier.url: is not a URL"),
        (
            {"verifier": {"url": "http://logins.example.com/"}},
            "access.verifier.url: would have passwords travel unencrypted (write https://",
        ),
        (
            {"verifier": {"url": "https://me:hunter2@a/"}},
            "access.verifier.url: a password is never written in the config",
        ),
        ({"verifier": {"url": URL, "timeout": 0}}, "access.verifier.timeout: must be at least 1ms"),
    ],
)
def test_wrong_verifiers_are_explained(access: dict[str, Any], said: str) -> None:
    found = problem(config_text(access={"users": [{"name": "x", "nopass": True}], **access}))
    assert found.startswith(said)
    assert "hunter2" not in found


@pytest.mark.parametrize("url", [URL, "http://127.0.0.1:1/", "http://[::1]/", "http://localhost/x?y=z"])
def test_these_may_be_asked(url: str) -> None:
    parse_config(config_text(access={"users": USERS[1:], "verifier": {"url": url, "cache": 0}}))


async def no_post(url: str, body: dict[str, str], timeout: float) -> bytes:
    raise AssertionError


def test_what_has_not_changed_stays_in_use(tmp_path: Path) -> None:
    keys = tmp_path / "iam.yaml"
    keys.write_text("keys: []\n")
    builder = Builder(no_post, LoginStatistics())

    def build(of_iam: Any = NOTHING, **verifier: Any) -> dict[Kind, Any]:
        access = {"users": USERS, "iam": {**IAM, **of_iam}, "verifier": {"url": URL, **verifier}}
        config = parse_config(config_text(access=access))
        files = FilesRead(tmp_path)
        plans = plans_read(config, files)
        assert set(files.seen) == {keys}
        return dict(builder.build(plans)["Main"])

    first = build()
    iam, asked = first[Kind.IAM], first[Kind.EXTERNAL]
    assert isinstance(iam, IamVerifier)
    assert iam.cluster == "main", "tokens name clusters in lower case"
    assert (iam.region, iam.service, iam.is_serverless) == ("eu-central-1", "elasticache", False)
    assert isinstance(asked, HttpVerifier)
    second = build()
    assert second[Kind.IAM] is iam
    assert second[Kind.EXTERNAL] is asked
    third = build(cache="1s")
    assert third[Kind.IAM] is iam
    assert third[Kind.EXTERNAL] is not asked
    keys.write_text('keys: []\naccount: "123456789012"\n')
    assert build()[Kind.IAM] is iam, "it says the same"
    keys.write_text("keys: [{access_key_id: A, secret_access_key: s, principal: p, policies: []}]\n")
    assert build()[Kind.IAM] is not iam
    serverless = build({"serverless": True, "region": "a"})[Kind.IAM]
    assert (serverless.region, serverless.is_serverless) == ("a", True)
    assert build({"service": "memorydb"})[Kind.IAM].service == "memorydb"
    assert builder.build(()) == {}
