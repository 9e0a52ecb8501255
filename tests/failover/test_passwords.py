"""A password that is changed and reloaded reaches everything that logs in: also what has to fail over."""

from __future__ import annotations

from pathlib import Path

from shardproxy.fleet import Fleet, RedisNode
from tests.failover.load import connect
from tests.failover.site import Site
from tests.fixtures.proxy import Proxy, config_of, wait_until


def rotate(fleet: Fleet, password: str) -> None:
    """Change it on every node, and cut who logged in with another."""
    for node in fleet.nodes:
        assert isinstance(node, RedisNode)
        node.ask("CONFIG", "SET", "requirepass", password, "masterauth", password)
        node.password = password
        node.ask("CLIENT", "KILL", "TYPE", "normal")


def test_a_failover_logs_in_with_the_password_that_was_reloaded(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("first")
    with Fleet(1, 2, managed=True, password="first") as fleet:
        config = config_of(fleet, replication="managed", node_auth={"password": {"file": str(secret)}})
        proxy = Proxy(config)
        try:
            site = Site(fleet, proxy)
            site.wait_whole()
            client = connect(proxy.address())
            assert client.set("key", "before")
            rotate(fleet, "second")
            secret.write_text("second")
            proxy.reload(proxy.config)
            wait_until(lambda: '"config reloaded"' in proxy.log(), "the reload")
            site.wait_whole()
            assert client.get("key") == b"before"
            assert client.info()["proxy_shards_unreachable"] == 0
            assert site.post("/api/switchover", shard=0) is None
            site.primary().kill()
            wait_until(lambda: site.count("FailoverComplete") == 1, "a failover")
            assert client.get("key") == b"before"
        finally:
            proxy.stop()
