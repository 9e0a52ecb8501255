"""An engine dies under load and comes back: only what was on its way fails, and says so; the rest waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from redis.crc import key_slot

from shardproxy.fleet import Fleet
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.oracle import command
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until
from tests.integration.abuse.watch import restarts

CLIENTS = 8
DEPTH = 10  # requests a client sends at once
Open = Callable[..., Wire]


@pytest.fixture
def fleet(start_fleet: StartFleet) -> Fleet:
    return start_fleet(shards=2, replicas=0)


def key_of(shard: int, number: int = 0) -> str:
    """A key in that half of the slots."""
    names = (f"key:{number}:{i}" for i in range(1000))
    return next(name for name in names if key_slot(name.encode()) // 8192 == shard)


@dataclass
class Load:
    """One client that writes and reads back unique values until it is stopped."""

    proxy: Proxy
    number: int
    rounds: int = 0
    errors: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    should_stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def run(self) -> None:
        with closing(Wire(self.proxy.address())) as connection:
            while not self.should_stop.is_set():
                try:
                    self._round(connection)
                except (OSError, EOFError) as e:
                    self.wrong.append(repr(e))
                    return
                self.rounds += 1

    def _round(self, connection: Wire) -> None:
        names = [f"{self.number}:{self.rounds}:{i}" for i in range(DEPTH // 2)]
        connection.send(b"".join(command("SET", name, name) + command("GET", name) for name in names))
        for name in names:
            written, read = connection.reply(), connection.reply()
            if isinstance(written, ReplyError):
                self.errors.append(str(written))
            elif written != b"OK":
                self.wrong.append(f"SET {name}: {written!r}")
            if isinstance(read, ReplyError):
                self.errors.append(str(read))
            elif read not in (name.encode(), None):  # a restarted engine has forgotten everything
                self.wrong.append(f"GET {name}: {read!r}")


def test_only_what_was_in_flight_fails(fleet: Fleet, start_proxy: StartProxy, wire: Open) -> None:
    proxy = start_proxy(config_of(fleet, workers=2))
    loads = [Load(proxy, number) for number in range(CLIENTS)]
    victim = fleet.shards[0].primary
    for load in loads:
        load.thread = threading.Thread(target=load.run, daemon=True)
        load.thread.start()

    def all_went_on(count: int) -> None:
        targets = [load.rounds + count for load in loads]
        wait_until(
            lambda: all(load.rounds >= target for load, target in zip(loads, targets, strict=True)),
            f"every client does {count} more rounds; wrong: {[load.wrong for load in loads]}",
        )

    for _ in range(3):
        all_went_on(20)
        fleet.kill(victim)
        fleet.restart(victim)
        all_went_on(20)
    for load in loads:
        load.should_stop.set()
    for load in loads:
        assert load.thread is not None
        load.thread.join(10)
    errors = [error for load in loads for error in load.errors]
    assert [wrong for load in loads for wrong in load.wrong] == []
    assert [error for error in errors if "INDOUBT shard 0" not in error] == []
    assert len(errors) <= 3 * CLIENTS * DEPTH // 2, (
        "reads are asked again, and writes fail only if they were sent"
    )
    assert restarts(proxy) == 0


def test_what_was_not_sent_waits_for_the_engine(fleet: Fleet, start_proxy: StartProxy, wire: Open) -> None:
    proxy = start_proxy(config_of(fleet, workers=1))
    client, other = wire(proxy), wire(proxy)
    lost, kept = key_of(0), key_of(1)
    assert client.ask("SET", lost, "before") == b"OK"
    fleet.kill(fleet.shards[0].primary)
    wait_until(lambda: connections(proxy, fleet) == 0, "the proxy has seen that the engine is gone")
    client.send(command("SET", lost, "after") + command("SET", kept, "1") + command("GET", lost))
    assert other.ask("GET", kept) in (b"1", None), "the other shard is served meanwhile"
    fleet.restart(fleet.shards[0].primary)
    assert [client.reply() for _ in range(3)] == [b"OK", b"OK", b"after"]


def test_an_engine_that_starts_late_is_waited_for(fleet: Fleet, start_proxy: StartProxy, wire: Open) -> None:
    for node in fleet.nodes:
        fleet.kill(node)
    proxy = start_proxy(config_of(fleet, workers=1))
    client = wire(proxy)
    client.send(command("MSET", key_of(0), "a", key_of(1), "b") + command("MGET", key_of(0), key_of(1)))
    assert wire(proxy).ask("PING") == b"PONG"
    for node in fleet.nodes:
        fleet.restart(node)
    assert [client.reply(), client.reply()] == [b"OK", [b"a", b"b"]]


def test_parked_requests_are_refused_in_time(fleet: Fleet, start_proxy: StartProxy, wire: Open) -> None:
    proxy = start_proxy(config_of(fleet, workers=1))
    client, other = wire(proxy), wire(proxy)
    assert client.ask("SET", key_of(0), "x") == b"OK"
    fleet.kill(fleet.shards[0].primary)
    wait_until(lambda: connections(proxy, fleet) == 0, "the proxy has seen that the engine is gone")
    client.send(command("SET", key_of(0), "1") * 50 + command("SET", key_of(1), "2"))
    refused = [str(client.reply()) for _ in range(50)]
    assert {text.partition(" ")[0] for text in refused} == {"TRYAGAIN"}
    assert all("not executed" in text and str(fleet.shards[0].primary.address) in text for text in refused)
    assert client.reply() == b"OK"
    assert str(other.ask("GET", key_of(0))).startswith("TRYAGAIN"), "later ones are not parked again"
    fleet.restart(fleet.shards[0].primary)
    wait_until(lambda: other.ask("SET", key_of(0), "3") == b"OK", "the shard is served again")


def test_a_frozen_engine_holds_up_its_own_shard_only(
    fleet: Fleet, start_proxy: StartProxy, wire: Open
) -> None:
    proxy = start_proxy(config_of(fleet, workers=1, timeouts={"reply": "500ms"}))
    client, other = wire(proxy), wire(proxy)
    assert client.ask("SET", key_of(0), "before") == b"OK"
    fleet.freeze(fleet.shards[0].primary)
    client.send(command("SET", key_of(0), "in doubt") + command("SET", key_of(1), "1"))
    for number in range(100):
        assert other.ask("SET", key_of(1, number), number) == b"OK"
    assert "INDOUBT shard 0" in str(client.reply())
    assert client.reply() == b"OK"
    fleet.thaw(fleet.shards[0].primary)
    assert wait_until(lambda: value(other, key_of(0)), "the shard answers again") in (b"before", b"in doubt")


def value(client: Wire, name: str) -> bytes | None:
    reply = client.ask("GET", name)
    return reply if isinstance(reply, bytes) else None


def connections(proxy: Proxy, fleet: Fleet) -> float:
    node = fleet.shards[0].primary.address
    return proxy.metrics()[f'shardproxy_node_connections{{cluster="main",node="{node}"}}']
