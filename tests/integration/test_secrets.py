"""No secret is in anything the proxy writes: planted ones are looked for everywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from shardproxy.config.access import hash_of
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

PAGES = (
    "/", "/metrics", "/readyz", "/livez", "/api/topology", "/api/clients", "/api/status", "/api/events",
    "/api/config", "/api/process",
)  # fmt: skip
NODES = "planted-nodes-password"
FILED, IN_ENVIRONMENT, HASHED = (
    "planted-filed-password",
    "planted-password-in-the-environment",
    "planted-hashed",
)
READ, ACT = "planted-token-for-reading", "planted-token-for-acting"
GIVEN = "planted-password-that-is-wrong"
SET = "planted-password-by-setuser"
PLANTED = (NODES, FILED, IN_ENVIRONMENT, HASHED, READ, ACT, GIVEN, SET)
VALUE = "planted-value"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for name, text in (("nodes", NODES), ("filed", FILED), ("read", READ), ("act", ACT)):
        found[name] = tmp_path / name
        found[name].write_text(text + "\n")
        found[name].chmod(0o600)
    return found


def secured(fleet: Any, files: dict[str, Path], audit: Path) -> dict[str, Any]:
    users = [
        {"name": "filed", "passwords": [{"file": str(files["filed"])}]},
        {"name": "app", "passwords": [{"env": "APP_PASSWORD"}], "rules": "~app:* +@read +@connection"},
        {"name": "hashed", "passwords": [{"sha256": hash_of(HASHED)}]},
    ]
    tokens = [
        {"name": "watcher", "rights": "read", "file": str(files["read"])},
        {"name": "ops", "rights": "act", "file": str(files["act"])},
    ]
    config = config_of(
        fleet,
        access={"users": users},
        node_auth={"username": "proxy", "password": {"file": str(files["nodes"])}},
        commands={"allow": ["acl", "config|set"]},
    )
    return {**config, "admin_access": {"tokens": tokens, "loopback": "read"}, "audit": {"log": str(audit)}}


def test_no_secret_is_written_anywhere(
    start_fleet: StartFleet, start_proxy: StartProxy, files: dict[str, Path], tmp_path: Path
) -> None:
    fleet = start_fleet(
        shards=2,
        replicas=1,
        args=(
            "--user",
            "proxy",
            "on",
            f">{NODES}",
            "~*",
            "&*",
            "+@all",
            "--masteruser",
            "proxy",
            "--masterauth",
            NODES,
        ),
    )
    audit = tmp_path / "audit.jsonl"
    config = secured(fleet, files, audit)
    proxy = start_proxy(config, env={"APP_PASSWORD": IN_ENVIRONMENT})
    said = list(what_clients_are_told(proxy))
    said += [proxy.get(page)[1] for page in PAGES]
    said += list(what_operators_are_told(proxy))
    said += list(what_the_command_line_says(proxy, files))
    broken = {**proxy.config, "admin_access": {"tokens": [{"name": "a", "rights": "act", "token": ACT}]}}
    proxy.reload(broken)
    wait_until(lambda: "config refused" in proxy.log(), proxy.log)
    files["filed"].write_text("")
    proxy.reload(config)
    wait_until(lambda: proxy.log().count("config refused") > 1, proxy.log)
    node = fleet.nodes[0]
    node.kill()
    wait_until(lambda: '"node_lost"' in proxy.log() or "down" in proxy.log(), proxy.log)
    wait_until(lambda: audit.exists() and "login_refused" in audit.read_text(), proxy.log)
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0
    written = {
        str(path): path.read_bytes()
        for path in proxy.directory.rglob("*")
        if path.is_file() and path != proxy.file  # what an operator wrote by mistake is in that
    }
    written |= {f"reply {number}": text.encode() for number, text in enumerate(said)}
    written[str(audit)] = audit.read_bytes()
    assert any("state" in name for name in written), list(written)
    for name, content in written.items():
        for secret in (*PLANTED, VALUE):
            assert secret.encode() not in content, f"{secret} is in {name}"
            if "/state/" not in name:  # users that were made are kept there by the hash
                assert hash_of(secret).encode() not in content, f"the hash of {secret} is in {name}"


def what_clients_are_told(proxy: Proxy) -> Iterator[str]:
    """Replies to all that may fail, of clients that know the value of one key."""
    filed = redis.Redis(proxy.host, proxy.port, username="filed", password=FILED, socket_timeout=10)
    filed.set("app:1", VALUE)
    app = redis.Redis(proxy.host, proxy.port, username="app", password=IN_ENVIRONMENT, socket_timeout=10)
    for words in (
        ("SET", "app:1", VALUE),
        ("GET", "other"),
        ("AUTH", "app", GIVEN),
        ("AUTH", GIVEN),
        ("HELLO", "3", "AUTH", "nobody", GIVEN),
        ("AUTH", "app", GIVEN, GIVEN),
        ("ACL", "SETUSER", "made", "on", f">{SET}", "~*", "+@all"),
    ):
        yield told(app, *words)
    for words in (
        ("ACL", "SETUSER", "made", "on", f">{SET}", "~*", "+@all"),
        ("ACL", "LOG"),
        ("CLIENT", "LIST"),
        ("CONFIG", "GET", "*"),
        ("CONFIG", "GET", "requirepass"),
        ("CONFIG", "GET", "masterauth"),
        ("INFO", "everything"),
        ("SLOWLOG", "GET"),
        ("COMMAND", "INFO", "auth"),
        ("MONITOR_", GIVEN[:4]),
    ):
        yield told(filed, *words)
    told(
        filed, "ACL", "SETUSER", "made", f"<{GIVEN}"
    )  # an error that repeats what this client said, as Redis'
    made = redis.Redis(proxy.host, proxy.port, username="made", password=SET, socket_timeout=10)
    yield told(made, "ACL", "WHOAMI")
    for client in (filed, app, made):
        client.close()


def told(client: redis.Redis, *words: str) -> str:
    try:
        return repr(client.execute_command(*words))
    except redis.RedisError as error:
        return str(error)


def what_operators_are_told(proxy: Proxy) -> Iterator[str]:
    for token in (READ, ACT, GIVEN):
        headers = {"authorization": f"Bearer {token}"}
        with httpx.Client(base_url=proxy.admin, headers=headers, trust_env=False) as client:
            yield client.get("/api/status").text
            yield client.post("/api/pause", json={"cluster": "main", "to": token[:3]}).text
            yield client.post("/api/resume", json={"cluster": "main"}).text
            yield client.post("/api/pause", content=b"{").text


def what_the_command_line_says(proxy: Proxy, files: dict[str, Path]) -> Iterator[str]:
    config, admin = str(proxy.file), str(proxy.config["admin"])
    for words in (
        ("check", config),
        ("config", "show", config),
        ("config", "show", config, "--all"),
        ("status", "--admin", admin, "--token-file", str(files["read"])),
        ("pause", "main", "--admin", admin, "--token-file", str(files["read"])),
        ("status", "--admin", admin, "--token-file", str(files["filed"])),
        ("run", "--config", config),  # its ports are taken
    ):
        done = subprocess.run(
            (sys.executable, "-m", "shardproxy", *words),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "APP_PASSWORD": IN_ENVIRONMENT},
        )
        yield done.stdout + done.stderr
