"""Sentinels with users and passwords, and with names for addresses."""

from __future__ import annotations

from shardproxy.model import Address
from tests.fixtures.proxy import Proxy, wait_until
from tests.fixtures.sentinel import StartSentinels
from tests.integration.sentinel.site import open_sentinel_site
from tests.integration.sentinel.test_following import page

LEAST = (
    "-@all +auth +ping +psubscribe +sentinel|get-master-addr-by-name +sentinel|master +sentinel|replicas"
    " +sentinel|failover"
)


def test_sentinels_have_users_of_their_own_and_nodes_a_password() -> None:
    engines = {
        "password": "of-the-nodes",
        "sentinel_password": "of-the-sentinels",
        "options": (f"user proxy on >of-the-proxy allchannels {LEAST}",),
    }
    with open_sentinel_site(
        1,
        1,
        engines=engines,
        node_auth={"password": {"env": "NODES"}},
        topology={"username": "proxy", "password": {"env": "SENTINELS"}},
        env={"NODES": "of-the-nodes", "SENTINELS": "of-the-proxy"},
    ) as site:
        assert site.client.set("key", "1")
        assert site.silent() == [None, None, None]
        before = site.sentinels.primary().address
        assert site.post("/api/switchover", shard=0) is None
        site.wait_other(before)
        assert site.client.get("key") == b"1"


def test_a_password_that_is_refused_and_a_name_that_is_unknown_are_said(
    start_sentinels: StartSentinels,
) -> None:
    fleet = start_sentinels(1, 0, sentinels=1, sentinel_password="right-one")
    config = fleet.config(topology={"password": {"env": "WRONG"}})
    known = fleet.config(topology={"password": {"env": "RIGHT"}, "names": {"first": "other"}})
    config["clusters"]["other"] = known["clusters"]["main"]
    proxy = Proxy(config, wait=False, env={"WRONG": "wrong-one", "RIGHT": "right-one"})
    try:
        said = ("cluster main: 0 of 1 Sentinels answer", "WRONGPASS", "does not know other")
        wait_until(
            lambda: all(text in page(proxy, "/readyz") for text in said),
            lambda: page(proxy, "/readyz"),
            timeout=30.0,
        )
        assert "wrong-one" not in proxy.log()
    finally:
        proxy.stop()


def test_nodes_may_have_names() -> None:
    """Sentinels call them by names, replicas follow addresses: each is one node all the same."""
    engines = {
        "monitored_as": "localhost",
        "options": ("sentinel resolve-hostnames yes", "sentinel announce-hostnames yes"),
        "args": ("--replica-announce-ip", "localhost"),
    }
    with open_sentinel_site(1, 1, engines=engines) as site:
        primary = site.sentinels.primary().address
        assert site.serves(Address("localhost", primary.port))
        wait_until(
            lambda: {node.host for node in site.nodes("replica")} == {"localhost"},
            lambda: f"one replica: {site.shard()}",
        )
        assert len(site.shard()["nodes"]) == 2
        wait_until(lambda: site.shard()["nodes"][1]["is_readable"], lambda: f"fit: {site.shard()}")
        assert site.client.set("key", "1")
