"""The data plane's side of caching rules before memcached nodes; the control plane is the test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from shardproxy.commands.table import Table
from shardproxy.dataplane import CacheAged, _native
from shardproxy.fleet import Fleet
from shardproxy.model import Address, Engine
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import CLUSTER
from tests.fixtures.ruled import Control, rule

RULES = [rule("row:{id}"), rule("both:{id}", writes=True), rule("old:{id}", checks=True)]


class Pool:
    """Three nodes and a data plane before them."""

    def __init__(self, fleet: Fleet, opened: ExitStack) -> None:
        self.native = _native.DataPlane(1, Table.load().encode(), 0)
        opened.callback(self.native.stop)
        self.opened = opened
        self.nodes = [self.open(node.address) for node in fleet.nodes]
        spec = {
            "name": CLUSTER,
            "engine": "memcached",
            "epoch": 1,
            "version": "1.6.18",
            "hashing": "ketama",
            "endpoints": [{"kind": "configuration", "addresses": ["127.0.0.1:0"]}],
            "shards": [{"primary": 0, "nodes": [{"address": str(node.address)}]} for node in fleet.nodes],
            "caching": {"rules": RULES},
        }
        bound = self.native.apply(json.dumps(spec).encode())
        self.address = Address.parse(bound[0][1])
        self.control = Control(self.native)

    def open(self, address: Address | None = None) -> Wire:
        wire = Wire(address or self.address)
        self.opened.callback(wire.close)
        return wire

    def fill(self, key: bytes, value: bytes) -> None:
        """Put a value where the key belongs: where else it is nobody finds it."""
        for node in self.nodes:
            node.send(b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value))
            node.expect(b"STORED\r\n")

    def holds(self, key: bytes) -> int:
        """How many nodes have the key."""
        found = 0
        for node in self.nodes:
            node.send(b"mg %b\r\n" % key)
            found += node.read(4) == b"HD\r\n"
        return found


@pytest.fixture(scope="module")
def memcached(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(engine=Engine.MEMCACHED, shards=3, replicas=0)


@contextmanager
def serving(fleet: Fleet) -> Iterator[Pool]:
    with ExitStack() as opened:
        pool = Pool(fleet, opened)
        for node in pool.nodes:
            node.send(b"flush_all\r\n")
            node.expect(b"OK\r\n")
        yield pool


@pytest.fixture
def pool(memcached: Fleet) -> Iterator[Pool]:
    with serving(memcached) as pool:
        yield pool


@pytest.mark.parametrize(
    ("request_line", "reply"),
    [
        (b"get row:1", b"VALUE row:1 0 1\r\nv\r\nEND\r\n"),
        (b"gat 9 row:1", b"VALUE row:1 0 1\r\nv\r\nEND\r\n"),
        (b"mg row:1 v", b"VA 1\r\nv\r\n"),
        (b"mg cm93OjE= v b", b"VA 1\r\nv\r\n"),
        (b"mg row:1 v q", b"VA 1\r\nv\r\n"),
    ],
)
def test_what_is_missing_is_handed_over_and_passed_on(pool: Pool, request_line: bytes, reply: bytes) -> None:
    client = pool.open()
    client.send(request_line + b"\r\nget plain\r\n")
    asked = pool.control.next()
    assert asked.rule == 0
    assert asked.args == tuple(word for word in request_line.split(b" ") if word != b"q")
    pool.fill(b"row:1", b"v")
    pool.native.pass_on(asked.token)
    client.expect(reply + b"END\r\n")
    client.send(request_line + b"\r\n")
    client.expect(reply)
    assert pool.control.take() == []
    assert pool.control.counts("row:{id}") == (1, 1, 0, 0, 0)


def test_a_place_that_is_kept_for_a_value_is_a_miss(pool: Pool) -> None:
    client = pool.open()
    for node in pool.nodes:
        node.send(b"mg row:1 v N30\r\n")
        node.expect(b"VA 0 W\r\n\r\n")
    for line in (b"get row:1", b"mg row:1 v", b"mg row:1 v N30"):
        client.send(line + b"\r\n")
        asked = pool.control.next()
        pool.native.answer(asked.token, b"END\r\n" if line.startswith(b"get") else b"EN\r\n")
        client.expect(b"END\r\n" if line.startswith(b"get") else b"EN\r\n")


def test_what_stays_missing_is_answered_so(pool: Pool) -> None:
    client = pool.open()
    client.send(b"get row:1\r\nmg row:2 v q\r\nmn\r\n")
    for key in (b"row:1", b"row:2"):
        pool.native.pass_on(pool.control.key(key).token)
    client.expect(b"END\r\nMN\r\n")
    client.send(b"mg row:2 v q\r\nmn\r\n")
    pool.native.answer(pool.control.key(b"row:2").token, b"EN\r\n")
    client.expect(b"MN\r\n")


def test_of_many_keys_the_nodes_that_miss_are_handed_over(pool: Pool) -> None:
    client = pool.open()
    keys = [b"row:%d" % number for number in range(20)] + [b"plain:1"]
    for key in keys[:19]:
        pool.fill(key, b"v")
    client.send(b"get " + b" ".join(keys) + b"\r\n")
    asked = pool.control.next()
    assert asked.args[0] == b"get"
    assert keys[19] in asked.args
    assert asked.rule == 0
    pool.fill(keys[19], b"v")
    pool.native.pass_on(asked.token)
    client.expect(b"".join(b"VALUE %b 0 1\r\nv\r\n" % key for key in keys[:20]) + b"END\r\n")
    assert pool.control.take() == []


@pytest.mark.parametrize(
    ("request_bytes", "args", "reply"),
    [
        (b"set both:1 5 0 3\r\na\r\n\r\n", (b"set", b"both:1", b"5", b"0", b"3", b"a\r\n"), b"STORED\r\n"),
        (b"add both:1 0 0 1\r\na\r\n", (b"add", b"both:1", b"0", b"0", b"1", b"a"), b"STORED\r\n"),
        (
            b"replace both:1 0 0 1\r\na\r\n",
            (b"replace", b"both:1", b"0", b"0", b"1", b"a"),
            b"NOT_STORED\r\n",
        ),
        (b"cas both:1 0 0 1 7\r\na\r\n", (b"cas", b"both:1", b"0", b"0", b"1", b"7", b"a"), b"NOT_FOUND\r\n"),
        (b"delete both:1\r\n", (b"delete", b"both:1"), b"NOT_FOUND\r\n"),
        (b"ms both:1 1 T9\r\na\r\n", (b"ms", b"both:1", b"1", b"T9", b"a"), b"HD\r\n"),
        (b"md both:1\r\n", (b"md", b"both:1"), b"NF\r\n"),
        (b"set both:1 0 0 1 noreply\r\na\r\n", (b"set", b"both:1", b"0", b"0", b"1", b"a"), b""),
        (b"ms both:1 1 q\r\na\r\n", (b"ms", b"both:1", b"1", b"a"), b""),
    ],
)
def test_a_rules_write_is_handed_over_unsent(
    pool: Pool, request_bytes: bytes, args: tuple[bytes, ...], reply: bytes
) -> None:
    client = pool.open()
    client.send(request_bytes + b"get plain\r\n")
    asked = pool.control.next()
    assert (asked.args, asked.rule) == (args, 1)
    assert pool.holds(b"both:1") == 0
    pool.native.pass_on(asked.token)
    client.expect(reply + b"END\r\n")
    assert pool.holds(b"both:1") == (1 if reply in (b"STORED\r\n", b"HD\r\n", b"") else 0)
    client.send(request_bytes + b"get plain\r\n")
    pool.native.answer(pool.control.next().token, b"SERVER_ERROR no\r\n")
    client.expect((b"" if b"noreply" in request_bytes else b"SERVER_ERROR no\r\n") + b"END\r\n")
    assert pool.control.counts("both:{id}") == (0, 0, 2, 0, 0)


def test_order_is_kept_for_each_key_and_nobody_else_waits(pool: Pool) -> None:
    client, other = pool.open(), pool.open()
    client.send(b"get row:1\r\nset plain 0 0 1\r\nx\r\nset row:1 0 0 1\r\nn\r\nget row:1\r\n")
    asked = pool.control.next()
    other.send(b"set mine 0 0 1\r\ny\r\nget mine\r\n")
    other.expect(b"STORED\r\nVALUE mine 0 1\r\ny\r\nEND\r\n")
    assert pool.holds(b"row:1") == 0
    pool.native.pass_on(asked.token)
    client.expect(b"END\r\nSTORED\r\nSTORED\r\nVALUE row:1 0 1\r\nn\r\nEND\r\n")
    client.send(b"set both:1 0 0 1\r\nn\r\nget both:1\r\n")
    written = pool.control.next()
    other.send(b"get mine\r\n")
    other.expect(b"VALUE mine 0 1\r\ny\r\nEND\r\n")
    assert pool.control.take() == [], "the read waits for the write"
    pool.fill(b"both:1", b"n")
    pool.native.answer(written.token, b"STORED\r\n")
    client.expect(b"STORED\r\nVALUE both:1 0 1\r\nn\r\nEND\r\n")


def test_the_age_of_a_key_is_asked_for(pool: Pool) -> None:
    client = pool.open()
    pool.fill(b"old:1", b"v")
    for line in (b"get old:1\r\n", b"gets old:1\r\n"):
        client.send(line + b"mn\r\n")
        while client.read(1) != b"M":  # up to the end of both replies
            pass
        client.expect(b"N\r\n")
    assert pool.control.take() == [CacheAged(CLUSTER, 2, b"old:1")]
