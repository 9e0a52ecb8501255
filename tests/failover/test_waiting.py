"""What clients that wait in a blocking command notice when their primary is replaced."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from tests.failover.site import OpenSite, Site
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import wait_until

Connect = Callable[[], Wire]
SETTLE = 0.5  # seconds in which a replica hears its primary often enough to be a witness


def blocked(site: Site) -> int:
    return int(site.primary().info("clients")["blocked_clients"])


def connector(site: Site, stack: ExitStack) -> Connect:
    def connect() -> Wire:
        client = Wire(site.proxy.address())
        stack.callback(client.close)
        return client

    return connect


def test_a_switchover_is_not_noticed_by_who_waits(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    with ExitStack() as stack:
        connect = connector(site, stack)
        popping, moving, reading, group, brief, other = (connect() for _ in range(6))
        other.ask("XGROUP", "CREATE", "stream", "g", "$", "MKSTREAM")
        popping.send_command("BLPOP", "list", 0)
        moving.send_command("BLMOVE", "{list}a", "{list}b", "LEFT", "LEFT", 60)
        reading.send_command("XREAD", "BLOCK", 0, "STREAMS", "stream", "0")
        group.send_command("XREADGROUP", "GROUP", "g", "c", "BLOCK", 60_000, "STREAMS", "stream", ">")
        started = time.monotonic()
        brief.send_command("BLPOP", "none", 2)
        for number in range(2):
            wait_until(lambda: blocked(site) >= 4, "they wait at the primary")
            before = site.primary()
            wait_until(lambda: site.post("/api/switchover", shard=0) is None, "a switchover")
            assert site.primary() is not before
            wait_until(lambda: blocked(site) >= 4, "they wait at the new primary")
            assert number or other.ask("SET", "k", 1) == b"OK"
        assert brief.reply() is None
        assert 2.0 <= time.monotonic() - started < 4.0
        assert other.ask("RPUSH", "list", "x") == 1
        assert popping.reply() == [b"list", b"x"]
        assert other.ask("RPUSH", "{list}a", "y") == 1
        assert moving.reply() == b"y"
        assert other.ask("XADD", "stream", "1-1", "f", "v") == b"1-1"
        entry = [[b"stream", [[b"1-1", [b"f", b"v"]]]]]
        assert [reading.reply(), group.reply()] == [entry, entry]


def test_who_waits_while_a_primary_dies(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    with ExitStack() as stack:
        connect = connector(site, stack)
        popping, reading, late, other = (connect() for _ in range(4))
        popping.send_command("BLPOP", "list", 0)
        reading.send_command("XREAD", "BLOCK", 0, "STREAMS", "stream", "0")
        wait_until(lambda: blocked(site) == 2, "they wait at the primary")
        site.primary().kill()
        assert str(popping.reply()).startswith("ERR INDOUBT shard 0 primary lost")  # who knows what it popped
        late.send_command("BLPOP", "list", 60)
        wait_until(lambda: site.count("FailoverComplete") == 1, "a failover")
        wait_until(lambda: blocked(site) == 2, "they wait at the new primary")
        assert other.ask("RPUSH", "list", "x") == 1
        assert late.reply() == [b"list", b"x"]
        assert other.ask("XADD", "stream", "1-1", "f", "v") == b"1-1"
        assert reading.reply() == [[b"stream", [[b"1-1", [b"f", b"v"]]]]]


def test_who_waits_at_a_frozen_primary_is_in_doubt_once_it_is_replaced(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    with ExitStack() as stack:
        connect = connector(site, stack)
        popping, reading, other = (connect() for _ in range(3))
        popping.send_command("BLPOP", "list", 0)
        reading.send_command("XREAD", "BLOCK", 0, "STREAMS", "stream", "0")
        wait_until(lambda: blocked(site) == 2, "they wait at the primary")
        frozen = site.primary()
        time.sleep(SETTLE)
        frozen.freeze()
        try:
            assert str(popping.reply()).startswith("ERR INDOUBT shard 0 primary lost")
            wait_until(lambda: site.count("FailoverComplete") == 1, "a failover")
            assert other.ask("XADD", "stream", "1-1", "f", "v") == b"1-1"
            assert reading.reply() == [[b"stream", [[b"1-1", [b"f", b"v"]]]]]
        finally:
            frozen.thaw()
