"""What `shardproxy check` says of a config that lets in more than it may mean to."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardproxy.cli.check_open import left_open
from shardproxy.config import load_config

USER = "{name: app, passwords: [{file: %s}]}"
CLUSTER = """
clusters:
  main:
    engine: redis
    endpoints: {{configuration: "{listen}"}}
    shards: [{{nodes: ["{node}"]}}]
"""


def said(
    tmp_path: Path, more: str = "", listen: str = "127.0.0.1:7000", node: str = "127.0.0.1:1"
) -> list[str]:
    file = tmp_path / "config.yaml"
    file.write_text(CLUSTER.format(listen=listen, node=node) + more)
    return list(left_open(load_config(file)))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(0o600)
    return path


def test_what_only_this_machine_reaches_is_fine(tmp_path: Path) -> None:
    assert said(tmp_path) == []
    assert said(tmp_path, listen="unix:/run/x") == []


def test_what_other_machines_reach_is_told(tmp_path: Path, secret: Path) -> None:
    outside = "0.0.0.0:7000"
    users = f"    access: {{users: [{USER % secret}]}}\n"
    tls = "    tls: {certificate: tls.crt, key: tls.key}\n"
    nobody, plain = said(tmp_path, "    access: open\n", outside)
    assert nobody.startswith("main: whoever reaches 0.0.0.0:7000 may do everything")
    assert plain.startswith("main: no TLS at 0.0.0.0:7000")
    assert said(tmp_path, users, outside) == [plain]
    assert said(tmp_path, users + tls, outside) == []
    pair = "    tls_endpoints: {configuration: 0.0.0.0:7443}\n"
    assert said(tmp_path, users + tls + pair, outside) == [plain], "the plain endpoint is still there"


def test_files_that_others_may_read_are_told(tmp_path: Path, secret: Path) -> None:
    key = tmp_path / "tls.key"
    key.write_text("x")
    more = f"    access: {{users: [{USER % secret}]}}\n    tls: {{certificate: tls.crt, key: tls.key}}\n"
    secret.chmod(0o640)
    key.chmod(0o600)
    assert said(tmp_path, more) == []
    secret.chmod(0o644)
    key.chmod(0o606)
    found = said(tmp_path, more)
    assert [line.split(" can be ")[0] for line in found] == [str(secret), str(key)]
    assert all("chmod o-rwx" in line for line in found)


def test_users_without_passwords_and_tokens_without_tls_are_told(tmp_path: Path) -> None:
    both = "{name: default, nopass: true}, {name: ops, iam: true}"
    users = f"    access: {{users: [{both}], iam: {{keys: iam.yaml, region: a}}}}\n"
    nopass, tokens = said(tmp_path, users)
    assert "user default needs no password" in nopass
    assert "let clients speak TLS alone" in tokens
    assert said(tmp_path, users + "    tls: {certificate: tls.crt, key: tls.key}\n") == [nopass]


@pytest.mark.parametrize(
    ("rules", "is_told"),
    [
        ("rules: ~app:* +@all -@dangerous", True),
        ("rules: ~* &* +@all -@dangerous", True),
        ("rules: ~app:* +@all -@dangerous -@scripting", False),
        ("rules: ~app:* +get +eval", True),
        ("rules: ~* &* +@all", False),
        ("preset: read-write", False),
        ("preset: admin", False),
    ],
)
def test_users_whose_scripts_may_more_than_they_are_told(tmp_path: Path, rules: str, is_told: bool) -> None:
    found = said(tmp_path, f"    access: {{users: [{{name: app, {rules}}}]}}\n")
    assert any("user app may run scripts" in line for line in found) == is_told


def test_passwords_on_their_way_to_nodes_are_told(tmp_path: Path, secret: Path) -> None:
    auth = f"    node_auth: {{password: {{file: {secret}}}}}\n"
    (line,) = said(tmp_path, auth, node="10.0.0.5:6379")
    assert "no TLS to 10.0.0.5:6379: the password of node_auth" in line
    assert said(tmp_path, auth) == []
    assert said(tmp_path, auth + "    node_tls: {ca: ca.crt}\n", node="10.0.0.5:6379") == []


def test_an_admin_api_that_others_reach_is_told(tmp_path: Path, secret: Path) -> None:
    (line,) = said(tmp_path, "admin: 0.0.0.0:9700\n")
    assert line.startswith("admin: whoever reaches 0.0.0.0:9700 may read")
    access = f"admin: 0.0.0.0:9700\nadmin_access: {{tokens: [{{name: a, rights: act, file: {secret}}}]%s}}\n"
    (line,) = said(tmp_path, access % "")
    assert line.startswith("admin: no TLS at 0.0.0.0:9700")
    assert said(tmp_path, access % ", tls: {certificate: a.crt, key: a.key}") == []
