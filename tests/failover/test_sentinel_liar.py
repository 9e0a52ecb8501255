"""One Sentinel of several lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shardproxy.model import Address
from tests.fixtures.fake_engine import FakeEngine, Request
from tests.fixtures.proxy import Proxy, wait_until
from tests.fixtures.sentinel import StartSentinels
from tests.integration.sentinel.site import SentinelSite


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
                flags = (b"flags", b"master,failover_in_progress", b"config-epoch", b"999")
                return self._array(b"ip", host, b"port", port, *flags)
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
