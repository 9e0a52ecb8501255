"""Keys do not go to databases that no client can select."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shardproxy.fleet import Fleet
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of

Open = Callable[..., Wire]
OUT_OF_RANGE = "ERR DB index is out of range"
REFUSALS = {
    ("MOVE", "{k}a", 1): "ERR MOVE is not allowed in cluster mode",
    ("COPY", "{k}a", "{k}b", "DB", 1): "ERR Copying to another database is not allowed in cluster mode",
    (
        "copy",
        "{k}a",
        "{k}b",
        "replace",
        "db",
        7,
    ): "ERR Copying to another database is not allowed in cluster mode",
}


@pytest.mark.parametrize("args", REFUSALS, ids=lambda args: args[0])
def test_several_shards_serve_one_database(args: tuple[str | int, ...], proxy: Proxy, wire: Open) -> None:
    client = wire(proxy)
    assert client.ask("SET", "{k}a", 1) == b"OK"
    assert client.ask(*args) == REFUSALS[args]
    assert client.ask("MULTI") == b"OK"
    assert client.ask(*args) == REFUSALS[args]
    assert client.ask("EXEC") == "EXECABORT Transaction discarded because of previous errors."
    assert client.ask("GET", "{k}a") == b"1"
    assert client.ask("COPY", "{k}a", "{k}b", "DB", 0) == 1
    assert client.ask("GET", "{k}b") == b"1"


def test_one_shard_serves_as_many_as_the_config_says(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    fleet: Fleet = start_fleet(shards=1, replicas=0)
    client = wire(start_proxy(config_of(fleet, databases=4)))
    assert client.ask("CONFIG", "GET", "databases") == [b"databases", b"4"]
    assert [client.ask("SELECT", 3), client.ask("SET", "k", "v")] == [b"OK", b"OK"]
    assert client.ask("SELECT", 4) == OUT_OF_RANGE
    assert client.ask("GET", "k") == b"v", "the one before stays"
    assert client.ask("MOVE", "k", 4) == OUT_OF_RANGE
    assert client.ask("COPY", "k", "k", "DB", 4) == OUT_OF_RANGE
    assert client.ask("SWAPDB", 3, 4) == OUT_OF_RANGE
    for words in (("SELECT", 4), ("GET", "k"), ("MOVE", "k", 4)):
        client.send_command("MULTI")
        client.send_command(*words)
        client.send_command("EXEC")
    assert [client.reply() for _ in range(9)][2::3] == [[OUT_OF_RANGE], [b"v"], [OUT_OF_RANGE]]


def test_one_shard_serves_all_of_them(start_fleet: StartFleet, start_proxy: StartProxy, wire: Open) -> None:
    fleet: Fleet = start_fleet(shards=1, replicas=0)
    client = wire(start_proxy(config_of(fleet)))
    assert client.ask("SET", "{k}a", 1) == b"OK"
    assert client.ask("COPY", "{k}a", "{k}b", "DB", 2) == 1
    assert client.ask("MOVE", "{k}a", 1) == 1
    assert client.ask("EXISTS", "{k}a", "{k}b") == 0
    assert client.ask("SELECT", 1) == b"OK"
    assert client.ask("GET", "{k}a") == b"1"
    assert client.ask("MULTI") == b"OK"
    assert client.ask("COPY", "{k}a", "{k}c", "DB", 2) == b"QUEUED"
    assert client.ask("EXEC") == [1]
    assert client.ask("SELECT", 2) == b"OK"
    assert client.ask("MGET", "{k}b", "{k}c") == [b"1", b"1"]
