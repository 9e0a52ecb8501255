"""Sources that want TLS, certificates and a password: found, copied and compared, and refused without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from shardproxy.cli import main
from shardproxy.fleet import RedisNode
from tests.fixtures.certificates import Authority
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import StartProxy, config_of
from tests.integration.importing.filling import open_to_jobs

Client = Callable[..., redis.Redis]


def test_a_source_with_tls_and_a_password_is_taken_in(
    start_fleet: StartFleet,
    start_proxy: StartProxy,
    redis_client: Client,
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fleet = start_fleet(shards=1, replicas=1, tls=authority.engine(wants=True), password="hush")
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    for number in range(100):
        node.ask("SET", f"k:{number}", number)
    own = authority.issue("importer")
    password = tmp_path / "password"
    password.write_text("hush\n")
    options = {
        "password_file": str(password),
        "ca_file": str(authority.ca),
        "cert_file": own["certificate"],
        "key_file": own["key"],
        "server_name": "localhost",
    }
    bare = f"rediss://{node.address}"
    url = f"{bare}?{'&'.join(f'{name}={value}' for name, value in options.items())}"
    proxy = start_proxy(open_to_jobs(config_of(start_fleet(shards=2, replicas=0))))
    admin = ("--admin", proxy.admin.removeprefix("http://"))
    assert main(["import", bare, "--to", "main", *admin]) == 1
    assert "TLS" in capsys.readouterr().err
    closed = start_proxy(config_of(start_fleet(shards=1, replicas=0)))
    assert main(["import", url, "--to", "main", "--admin", closed.admin.removeprefix("http://")]) == 1
    assert "jobs: {secrets: [" in capsys.readouterr().err
    assert not json.loads(closed.get("/api/jobs")[1])["jobs"]
    assert main(["import", url, "--to", "main", *admin]) == 0
    assert redis_client(proxy).get("k:99") == b"99"
    capsys.readouterr()
    assert main(["diff", url, "main", *admin, "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["compared"] == 100
    assert "hush" not in proxy.log()
    assert "hush" not in proxy.get("/api/jobs")[1]
