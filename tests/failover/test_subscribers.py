"""What subscribers notice when a primary is replaced: a gap at most, never a message twice."""

from __future__ import annotations

from contextlib import closing

from shardproxy.fleet import RedisNode
from tests.failover.site import OpenSite, Site
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import wait_until

CHANNEL = b"news"


def switch_over(site: Site) -> None:
    """As soon as the engine takes its replica for online."""
    wait_until(lambda: site.post("/api/switchover", shard=0) is None, "a switchover")


def hears(node: RedisNode) -> object:
    return node.ask("PUBSUB", "NUMSUB", CHANNEL)


def test_a_message_is_heard_once_whoever_is_primary(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    with closing(Wire(site.proxy.address())) as subscriber, closing(Wire(site.proxy.address())) as publisher:
        assert subscriber.ask("SUBSCRIBE", CHANNEL) == [b"subscribe", CHANNEL, 1]
        for number in range(3):
            deposed = site.primary()
            if number < 2:
                switch_over(site)
                wait_until(lambda node=deposed: hears(node) == [CHANNEL, 0], "it forgets")  # type: ignore[misc]
            else:
                deposed.kill()
                wait_until(lambda: site.count("FailoverComplete") == 1, "a failover")
            wait_until(lambda: hears(site.primary()) == [CHANNEL, 1], "the new primary is subscribed")
            assert publisher.ask("PUBLISH", CHANNEL, number) == 1
            assert subscriber.reply() == [b"message", CHANNEL, b"%d" % number]
            assert subscriber.ask("PING") == [b"pong", b""]  # and it came once
