"""Bytes no client should send, replies no node should: exact errors or a close, never a shifted reply."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fixtures.clients import Wire
from tests.fixtures.proxy import StartProxy, wait_until
from tests.integration.memcached.conftest import Pool, StartPool, liar, said

MIB = 1 << 20


def test_the_binary_protocol_is_closed_logged_and_counted(pool: Pool, wire: Callable[..., Wire]) -> None:
    connection = wire(pool.proxy)
    connection.send(b"\x80\x00\x00\x01" + bytes(20))
    connection.expect_closed()
    name = 'shardproxy_clients_closed_total{cluster="main",reason="binary_protocol"}'
    wait_until(lambda: pool.proxy.metrics()[name] >= 1, "it is counted")
    wait_until(lambda: "binary protocol" in pool.proxy.log(), "it is logged")


@pytest.mark.parametrize("line", [b"x" * MIB, b"set " + b"k" * MIB, b"\0" * MIB])
def test_a_line_without_end_is_closed(pool: Pool, wire: Callable[..., Wire], line: bytes) -> None:
    assert said(wire(pool.proxy), [line]).removesuffix(b"<closed>") in (
        b"",
        b"CLIENT_ERROR line too long\r\n",
    )
    assert said(wire(pool.proxy), [b"get a\r\n"]) == b"END\r\n"


def test_a_get_of_very_many_keys_is_served(pool: Pool, wire: Callable[..., Wire]) -> None:
    connection = wire(pool.proxy)
    assert said(connection, [b"set k7 0 0 1\r\nx\r\n"]) == b"STORED\r\n"
    keys = b" ".join(b"k%d" % i for i in range(100_000))
    assert said(connection, [b"get " + keys + b"\r\n"]) == b"VALUE k7 0 1\r\nx\r\nEND\r\n"


def test_half_a_command_holds_nobody_up(pool: Pool, wire: Callable[..., Wire]) -> None:
    silent = [wire(pool.proxy) for _ in range(20)]
    for number, connection in enumerate(silent):
        connection.send((b"set k 0 0 100\r\nabc", b"get ", b"mg", b"ms k 5\r\n")[number % 4])
    assert (
        said(wire(pool.proxy), [b"set a 0 0 1\r\nx\r\nget a\r\n"]) == b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"
    )


def test_a_value_beyond_the_limit_is_swallowed(start_pool: StartPool, wire: Callable[..., Wire]) -> None:
    proxy, _ = start_pool(limits={"request": "100kb"})
    connection = wire(proxy)
    value = b"set a 0 0 200000\r\n" + b"get b\r\n" * 28571 + b"abc\r\n"
    assert said(connection, [value + b"get a\r\n"]) == b"SERVER_ERROR object too large for cache\r\nEND\r\n"
    assert said(connection, [value, b"get a\r\n"]) == b"SERVER_ERROR object too large for cache\r\nEND\r\n"
    # as in memcached, what could not be replaced is gone; of an add it stays
    small, refused = b"set a 0 0 1\r\nx\r\n", b"STORED\r\nSERVER_ERROR object too large for cache\r\n"
    quiet = value.replace(b"200000", b"200000 noreply", 1)
    assert said(connection, [small + value + b"get a\r\n"]) == refused + b"END\r\n"
    assert said(connection, [small + quiet + b"get a\r\n"]) == b"STORED\r\nEND\r\n"
    added = value.replace(b"set", b"add", 1)
    assert said(connection, [small + added + b"get a\r\n"]) == refused + b"VALUE a 0 1\r\nx\r\nEND\r\n"


def test_a_value_that_its_node_does_not_take_shifts_nobodys_reply(
    start_pool: StartPool, wire: Callable[..., Wire]
) -> None:
    """The node says so when it has read where the value begins, and others share its connection."""
    proxy, _ = start_pool()
    clients = [wire(proxy) for _ in range(6)]
    large = b"set large 0 0 %d\r\n%b\r\n" % (2 << 20, b"get large\r\n" * 190_650 + b"ab")
    assert len(large) - len(b"set large 0 0 2097152\r\n\r\n") == 2 << 20
    for number in range(5):
        greedy = clients[number]
        greedy.send(large + b"get k\r\n")
        for place, client in enumerate(clients):
            if client is not greedy:
                value = b"%d-%d" % (number, place)
                asked = b"set k%d 0 0 %d\r\n%b\r\nget k%d\r\n" % (place, len(value), value, place)
                replied = b"STORED\r\nVALUE k%d 0 %d\r\n%b\r\nEND\r\n" % (place, len(value), value)
                assert said(client, [asked]) == replied
        greedy.expect(b"SERVER_ERROR object too large for cache\r\nEND\r\n")
        assert said(greedy, [b"get large\r\n"]) == b"END\r\n"


def test_a_get_of_more_than_a_client_may_be_owed_closes_it(
    start_pool: StartPool, wire: Callable[..., Wire]
) -> None:
    """Also while a node that is not heard of holds up the rest."""
    proxy, fleet = start_pool(limits={"client_output": "2mb"}, timeouts={"reply": "60s"})
    connection = wire(proxy)
    keys = b" ".join(b"k%d" % i for i in range(40))
    for key in keys.split():
        assert said(connection, [b"set %s 0 0 400000\r\n%s\r\n" % (key, b"v" * 400_000)]) == b"STORED\r\n"
    fleet.freeze(fleet.nodes[0])
    try:
        connection.send(b"get %s\r\n" % keys)
        connection.expect_closed()
    finally:
        fleet.thaw(fleet.nodes[0])
    assert proxy.metrics()['shardproxy_clients_closed_total{cluster="main",reason="output_limit"}'] == 1
    assert said(wire(proxy), [b"get k0\r\n"]).startswith(b"VALUE k0 0 400000\r\n")


def test_a_client_too_many_is_turned_away_in_its_own_protocol(
    start_pool: StartPool, wire: Callable[..., Wire]
) -> None:
    proxy, _ = start_pool(1, limits={"clients": 1})
    first = wire(proxy)
    assert said(first, [b"get a\r\n"]) == b"END\r\n"
    second = wire(proxy)
    second.expect(b"ERROR Too many open connections\r\n")
    second.expect_closed()


BAD_REPLIES = {
    "no reply of memcached's": b"hello\r\n",
    "another engine's": b"+OK\r\n",
    "a reply to something else": b"STORED\r\n",
    "a value without a length": b"VALUE a 0 x\r\n",
    "a line without end": b"y" * 100_000,
    "two replies for one": b"END\r\nEND\r\nEND\r\n",
    "a value of another key": b"VALUE b 0 1\r\nx\r\nEND\r\n",
    "values without an end": b"VALUE a 0 1\r\nx\r\nSTORED\r\n",
    "half a reply": b"VALUE a 0 10\r\nabc",
}


@pytest.mark.parametrize("case", BAD_REPLIES)
def test_a_node_that_talks_nonsense_is_cut_off(
    start_proxy: StartProxy, wire: Callable[..., Wire], case: str
) -> None:
    with liar(BAD_REPLIES[case]) as address:
        cluster = {"engine": "memcached", "nodes": [str(address)], "timeouts": {"reply": "500ms"}}
        proxy = start_proxy({"workers": 1, "clusters": {"main": cluster}})
        connection = wire(proxy)
        for _ in range(3):
            connection.send(b"get a\r\n")
            connection.expect(b"END\r\n")
        connection.send(b"version\r\n")
        assert connection.read(8) == b"VERSION "
