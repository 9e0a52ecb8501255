"""What is the proxy's own about CLIENT TRACKING."""

from __future__ import annotations

from collections.abc import Callable

from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import StartProxy, config_of, wait_until
from tests.integration.tracking.conftest import Connect, Place

Open = Callable[..., Wire]


def test_within_a_transaction(connect: Connect, place: Place) -> None:
    client, writer = connect(3), connect()
    assert client.ask("CLIENT", "TRACKING", "on", "OPTIN") == b"OK"
    assert client.ask("MULTI") == b"OK"
    for words in (("CLIENT", "CACHING", "yes"), ("GET", "a{t}"), ("CLIENT", "GETREDIR")):
        assert client.ask(*words) == b"QUEUED"
    assert client.ask("EXEC") == [b"OK", None, 0]
    writer.ask("SET", "a{t}", 1)
    assert client.reply() == [b"invalidate", [b"a{t}"]]
    if not place.is_redis:
        client.ask("MULTI")
        assert "inside MULTI" in str(client.ask("CLIENT", "TRACKING", "off"))
        client.ask("DISCARD")


def test_reads_from_replicas_are_not_for_who_tracks(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    fleet = start_fleet(shards=1, replicas=1)
    proxy = start_proxy(config_of(fleet, reads={"from": "replica"}))
    client, writer = wire(proxy), wire(proxy)
    client.ask("HELLO", 3)
    assert client.ask("CLIENT", "TRACKING", "on") == b"OK"
    for number in range(300):
        writer.ask("SET", "k", number)
        client.send_command("GET", "k")
        while isinstance(reply := client.reply(), list):
            pass
        assert reply == b"%d" % number
    reader = (
        wire(proxy.address("reader")) if "reader" in proxy.config["clusters"]["main"]["endpoints"] else None
    )
    if reader is not None:
        assert "reader endpoint" in str(reader.ask("CLIENT", "TRACKING", "on"))


def test_a_node_that_tells_nothing_is_named(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    proxy = start_proxy(config_of(fleet))
    fleet.shards[1].primary.ask("ACL", "SETUSER", "default", "-client|tracking")  # type: ignore[attr-defined]
    client = wire(proxy)
    client.ask("HELLO", 3)
    assert "a node does not tell what changes: NOPERM" in str(client.ask("CLIENT", "TRACKING", "on"))
    assert client.ask("SET", "k", 1) == b"OK"
    assert client.ask("CLIENT", "GETREDIR") == -1


def test_what_nobody_needs_is_not_open(start_fleet: StartFleet, start_proxy: StartProxy, wire: Open) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    proxy = start_proxy(config_of(fleet))
    node, client = fleet.shards[0].primary, wire(proxy)

    def tracking() -> bytes:
        lines: list[bytes] = node.ask("INFO", "clients").splitlines()  # type: ignore[attr-defined]
        return next(line for line in lines if line.startswith(b"tracking_clients:"))

    client.ask("GET", "k")
    assert tracking() == b"tracking_clients:0"
    assert client.ask("CLIENT", "TRACKING", "on") == b"OK"
    assert tracking() == b"tracking_clients:1"
    client.ask("RESET")
    wait_until(lambda: tracking() == b"tracking_clients:0", "it is closed")
    client.ask("CLIENT", "TRACKING", "on")
    client.close()
    wait_until(lambda: tracking() == b"tracking_clients:0", "it is closed with its client")


def test_a_node_that_is_down_is_not_waited_for(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    proxy = start_proxy(config_of(fleet, timeouts={"park": "1s"}))
    client, writer = wire(proxy), wire(proxy)
    fleet.kill(fleet.shards[1].primary)
    client.ask("HELLO", 3)
    assert client.ask("CLIENT", "TRACKING", "on") == b"OK"
    key = next(f"k{n}" for n in range(100) if writer.ask("SET", f"k{n}", 1) == b"OK")
    client.ask("GET", key)
    writer.ask("SET", key, 2)
    assert client.reply() == [b"invalidate", [key.encode()]]
