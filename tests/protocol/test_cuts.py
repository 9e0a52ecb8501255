"""A pipeline is answered alike wherever the network cuts it in two."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fixtures.clients import Wire
from tests.fixtures.oracle import LAST, LAST_REPLY, Pair, command

PONG = b"+PONG\r\n"

PIPELINES = {
    "one shard": command("SET", "k", "v") + command("GET", "k") + command("DEL", "k") + command("INCR", "k"),
    "all shards": b"".join(command("SET", f"k{i}", i) + command("GET", f"k{i}") for i in range(5)),
    "split": command("MSET", "a", 1, "b", 2, "c", 3)
    + command("MGET", "a", "b", "x", "c")
    + command("DEL", "a", "b"),
    "local between shards": command("SET", "k", 1)
    + command("ECHO", "e")
    + command("GET", "k")
    + command("TYPE", "k"),
    "offloads between shards": command("SET", "k", 1)
    + command("CONFIG", "GET", "save")
    + command("INCR", "k")
    + command("NOPE", "x")
    + command("GET", "k"),
    "errors between shards": command("SET", "k", 1)
    + command("GET")
    + command("LPUSH", "k", 1)
    + command("GET", "k"),
    "inline and empty": b"SET k v\r\n*0\r\n\r\nGET k\r\n*-1\r\nping\n" + command("GET", "k"),
    "line ends in values": command("SET", "k", b"\r\n*1\r\n$4\r\nPING\r\n")
    + command("GET", "k")
    + command("GET", "k"),
    "empty values": command("SET", "", "") + command("GET", "") + command("MGET", "", "none"),
}


def replies(connection: Wire, size: int) -> bytes:
    data = connection.read(size)
    assert len(data) == size, f"closed after {data!r}"
    return data


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("case", PIPELINES)
def test_cut_at_every_byte(pair: Pair, wire: Callable[..., Wire], case: str, resp: int) -> None:
    data = PIPELINES[case]
    oracle, proxied = wire(pair.plain.address), wire(pair.sharded)
    if resp == 3:
        assert (oracle.ask("HELLO", 3), proxied.ask("HELLO", 3)) != (None, None)
    oracle.send(data + LAST)
    expected = b""
    while not expected.endswith(LAST_REPLY):
        expected += oracle.socket.recv(65536)
    for cut in range(len(data) + 1):
        pair.empty()
        # the head travels with a PING, so once that is answered the proxy has read the head without the tail
        proxied.send(command("PING") + data[:cut])
        early = replies(proxied, len(PONG))
        assert early == PONG
        proxied.send(data[cut:] + LAST)
        assert replies(proxied, len(expected)) == expected, f"cut at {cut}: {data[:cut]!r} | {data[cut:]!r}"


@pytest.mark.parametrize("case", PIPELINES)
def test_byte_by_byte(pair: Pair, wire: Callable[..., Wire], case: str) -> None:
    data = PIPELINES[case] + LAST
    oracle, proxied = wire(pair.plain.address), wire(pair.sharded)
    oracle.send(data)
    expected = b""
    while not expected.endswith(LAST_REPLY):
        expected += oracle.socket.recv(65536)
    for at in range(len(data)):
        proxied.send(data[at : at + 1])
    assert replies(proxied, len(expected)) == expected
