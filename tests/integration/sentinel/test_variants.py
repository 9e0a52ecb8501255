"""Sentinels with users and passwords, with names for addresses, and one that lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shardproxy.model import Address
from tests.fixtures.fake_engine import FakeEngine, Request
from tests.fixtures.proxy import Proxy, wait_until
from tests.fixtures.sentinel import StartSentinels
from tests.integration.sentinel.site import SentinelSite, open_sentinel_site
from tests.integration.sentinel.test_following import page

LEAST = (
    "-@all +auth +ping +psubscribe +sentinel|get-master-addr-by-name +sentinel|master +sentinel|replicas"
    " +sentinel|failover"
)


def test_sentinels_have_users_of_their_own_and_nodes_a_password() -> None:
    engines = {
        "password": "of the nodes".replace(" ", "-"),
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


def test_a_password_that_is_refused_is_said(start_sentinels: StartSentinels) -> None:
    fleet = start_sentinels(1, 1, sentinel_password="right")
    config = fleet.config(topology={"password": {"env": "SENTINELS"}})
    proxy = Proxy(config, wait=False, env={"SENTINELS": "wrong"})
    try:
        wait_until(lambda: "WRONGPASS" in page(proxy, "/readyz"), lambda: page(proxy, "/readyz"))
        assert "wrong" not in proxy.log().lower().replace("wrongpass", "")
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


class Liar:
    """Says that one of the replicas was made the primary long ago, and that just now."""

    def __init__(self, named: Address) -> None:
        self.named = named

    def __call__(self, connection: int, request: Request) -> bytes:
        host, port = self.named.host.encode(), str(self.named.port).encode()
        match [word.upper() for word in request[:2]]:
            case [b"PSUBSCRIBE", *_]:
                text = b"shard-0 127.0.0.1 1 %b %b" % (host, port)
                return self._array(b"psubscribe", b"*", 1) + self._array(
                    b"pmessage", b"*", b"+switch-master", text
                )
            case [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME"]:
                return self._array(host, port)
            case [b"SENTINEL", b"MASTER"]:
                return self._array(b"flags", b"master,failover_in_progress", b"config-epoch", b"999")
            case [b"SENTINEL", b"REPLICAS"]:
                return b"*0\r\n"
        return b"-ERR unknown command\r\n"

    @staticmethod
    def _array(*items: Any) -> bytes:
        out = b"*%d\r\n" % len(items)
        for item in items:
            out += b":%d\r\n" % item if isinstance(item, int) else b"$%d\r\n%b\r\n" % (len(item), item)
        return out


def test_a_sentinel_that_lies_is_outvoted(
    start_sentinels: StartSentinels, fake_engine: Callable[[Any], FakeEngine]
) -> None:
    fleet = start_sentinels(1, 1, sentinels=2)
    primary, (replica,) = fleet.primary(), fleet.replicas()
    liar = fake_engine(Liar(replica.address))
    sentinels = [str(sentinel.address) for sentinel in fleet.sentinels]
    proxy = Proxy(fleet.config(topology={"sentinels": [*sentinels, str(liar.address)]}))
    try:
        site = SentinelSite(fleet, proxy)
        assert site.serves(primary.address)
        asked = len(liar.requests)
        wait_until(lambda: len(liar.requests) > asked + 6, "it was asked some times more")
        assert site.serves(primary.address)
        assert [event["name"] for event in site.events()] == ["PrimaryAdopted"]
        assert site.post("/api/switchover", shard=0) is None, "by the others, whatever it says"
        site.wait_served(replica.address)
        site.wait_other(primary.address)
        assert site.trouble() is None
    finally:
        proxy.stop()


@pytest.mark.parametrize("names", [["other"], {"first": "other"}])
def test_a_name_that_sentinels_do_not_know_is_said(names: Any, start_sentinels: StartSentinels) -> None:
    fleet = start_sentinels(1, 0, sentinels=1)
    proxy = Proxy(fleet.config(topology={"names": names}), wait=False)
    try:
        wait_until(lambda: "does not know other" in page(proxy, "/readyz"), lambda: page(proxy, "/readyz"))
    finally:
        proxy.stop()
