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


def wait_waiting(client: Wire, count: int) -> None:
    """So many clients wait, in the proxy."""

    def waiting() -> int:
        return sum(" flags=b " in line for line in client.ask("CLIENT", "LIST").decode().splitlines())

    wait_until(lambda: waiting() >= count, "they wait")


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
            wait_waiting(other, 4)
            before = site.primary()
            wait_until(lambda: site.post("/api/switchover", shard=0) is None, "a switchover")
            assert site.primary() is not before
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


def test_who_waits_while_a_primary_dies_waits_on_at_the_next(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    with ExitStack() as stack:
        connect = connector(site, stack)
        popping, reading, late, other = (connect() for _ in range(4))
        popping.send_command("BLPOP", "list", 0)
        reading.send_command("XREAD", "BLOCK", 0, "STREAMS", "stream", "0")
        wait_waiting(other, 2)
        site.primary().kill()
        late.send_command("BLPOP", "list", 60)
        wait_until(lambda: site.count("FailoverComplete") == 1, "a failover")
        assert other.ask("RPUSH", "list", "x", "y") == 2
        assert [popping.reply(), late.reply()] == [[b"list", b"x"], [b"list", b"y"]]
        assert other.ask("XADD", "stream", "1-1", "f", "v") == b"1-1"
        assert reading.reply() == [[b"stream", [[b"1-1", [b"f", b"v"]]]]]


def test_a_thousand_wait_on_when_their_primary_dies(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    with ExitStack() as stack:
        connect = connector(site, stack)
        other = connect()
        clients = [connect() for _ in range(1000)]
        for number, client in enumerate(clients):
            client.send_command("BLPOP", f"list:{number % 50}", 0)
        wait_waiting(other, 1000)
        site.primary().kill()
        wait_until(lambda: site.count("FailoverComplete") == 1, "a failover")
        for number in range(50):
            assert other.ask("RPUSH", f"list:{number}", *range(20)) == 20
        got = [client.reply() for client in clients]
        for number in range(50):
            elements = [int(reply[1]) for reply in got if reply[0] == b"list:%d" % number]
            assert sorted(elements) == list(range(20)), "each once"


def test_who_waits_at_a_frozen_primary_waits_on_at_the_next(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    with ExitStack() as stack:
        connect = connector(site, stack)
        popping, reading, other = (connect() for _ in range(3))
        popping.send_command("BLPOP", "list", 0)
        reading.send_command("XREAD", "BLOCK", 0, "STREAMS", "stream", "0")
        wait_waiting(other, 2)
        frozen = site.primary()
        time.sleep(SETTLE)
        frozen.freeze()
        try:
            wait_until(lambda: site.count("FailoverComplete") == 1, "a failover")
            assert other.ask("RPUSH", "list", "x") == 1
            assert popping.reply() == [b"list", b"x"]
            assert other.ask("XADD", "stream", "1-1", "f", "v") == b"1-1"
            assert reading.reply() == [[b"stream", [[b"1-1", [b"f", b"v"]]]]]
        finally:
            frozen.thaw()
