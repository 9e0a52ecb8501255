"""Clients that keep what they read, while a primary is replaced or slots move."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.failover.moving.site import open_moving
from tests.failover.site import OpenSite
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import wait_until

ALL = [b"invalidate", None]


def tracker(address: object, *options: str) -> Wire:
    client = Wire(address)  # type: ignore[arg-type]
    client.ask("HELLO", 3)
    assert client.ask("CLIENT", "TRACKING", "on", *options) == b"OK"
    return client


@pytest.mark.parametrize("options", [(), ("BCAST",)])
@pytest.mark.parametrize("way", ["killed", "frozen", "switched over"])
def test_all_is_told_to_be_old_before_the_new_primary_answers(
    site_with: OpenSite, way: str, options: tuple[str, ...]
) -> None:
    site = site_with(1, 1)
    with closing(Wire(site.proxy.address())) as writer:
        assert writer.ask("SET", "k", 1) == b"OK"
    with closing(tracker(site.proxy.address(), *options)) as client:
        client.send_command("GET", "k")
        while client.reply() != b"1":
            pass
        primary = site.primary()
        if way == "killed":
            primary.kill()
        elif way == "frozen":
            primary.freeze()
        else:
            wait_until(lambda: site.post("/api/switchover", shard=0) is None, "a switchover")
        client.send_command("GET", "k")
        told = [client.reply()]
        while told[-1] != b"1":
            told.append(client.reply())
        assert ALL in told[:-1]
        with closing(Wire(site.proxy.address())) as writer:
            assert writer.ask("SET", "k", 2) == b"OK"
        told = [client.reply()]
        while told[-1] not in ([b"invalidate", [b"k"]], ALL):
            told.append(client.reply())
        if way == "frozen":
            primary.thaw()


def test_all_is_told_to_be_old_where_slots_move() -> None:
    with open_moving(shards=2, empty=1, replicas=0) as site, closing(tracker(site.proxy.address())) as client:
        assert client.ask("SET", "k", 1) == b"OK"
        assert client.ask("GET", "k") == b"1"
        site.move(do="scale", shards=2)
        assert client.reply() == ALL
        with closing(Wire(site.proxy.address())) as writer:
            for number in range(200):
                key = f"key:{number}"
                client.send_command("GET", key)
                while client.reply() is not None:
                    pass
                writer.ask("SET", key, 1)
                while (reply := client.reply()) == ALL:
                    pass
                assert reply == [b"invalidate", [key.encode()]]
