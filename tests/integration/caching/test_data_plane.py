"""The data plane's side of caching rules, with real engines; the control plane is the test."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from shardproxy.dataplane import Abandoned, CacheAged
from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import SLOT_COUNT
from tests.fixtures.clients import Wire
from tests.fixtures.driven import Driven, driven
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import CLUSTER
from tests.fixtures.proxy import wait_until
from tests.fixtures.ruled import Control, rule

RULES = [
    rule("row:{id}"),
    rule("both:{id}", writes=True),
    rule("store:{id}", loads=False, writes=True),
    rule("old:{id}", checks=True),
]


def primary_of(plane: Driven, key: bytes) -> RedisNode:
    number = plane.native.slot(CLUSTER, key) * len(plane.fleet.shards) // SLOT_COUNT
    primary = plane.fleet.shards[number].primary
    assert isinstance(primary, RedisNode)
    return primary


@contextmanager
def serving(fleet: Fleet, **options: Any) -> Iterator[tuple[Driven, Control]]:
    with driven(fleet, rules=RULES, **options) as plane:
        plane.serve()
        yield plane, Control(plane.native)


@pytest.fixture
def served(fleet: Fleet) -> Iterator[tuple[Driven, Control]]:
    with serving(fleet) as served:
        yield served


@pytest.fixture
def opened() -> Iterator[Callable[[Driven], Wire]]:
    with ExitStack() as stack:

        def open_one(plane: Driven) -> Wire:
            client = Wire(plane.address)
            stack.callback(client.close)
            return client

        yield open_one


Served = tuple[Driven, Control]
Opened = Callable[[Driven], Wire]


def test_what_is_missing_is_handed_over_and_passed_on_when_it_is_there(
    served: Served, opened: Opened
) -> None:
    plane, control = served
    client = opened(plane)
    client.send_command("GET", "row:1")
    asked = control.next()
    assert (asked.args, asked.rule, asked.known, asked.cluster) == ((b"GET", b"row:1"), 0, True, CLUSTER)
    primary_of(plane, b"row:1").ask("SET", "row:1", "value")
    control.native.pass_on(asked.token)
    assert client.reply() == b"value"
    assert client.ask("GET", "row:1") == b"value"
    assert client.ask("GET", "other:1") is None
    assert control.take() == []
    assert control.counts("row:{id}") == (1, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("args", "value", "filled"),
    [
        (("GET",), b"v", ("SET", "v")),
        (("GETEX", "PERSIST"), b"v", ("SET", "v")),
        (("STRLEN",), 1, ("SET", "v")),
        (("GETRANGE", "0", "-1"), b"v", ("SET", "v")),
        (("EXISTS",), 1, ("SET", "v")),
        (("HGET", "f"), b"v", ("HSET", "f", "v")),
        (("HMGET", "g", "f"), [None, b"v"], ("HSET", "f", "v")),
        (("HGETALL",), [b"f", b"v"], ("HSET", "f", "v")),
        (("HEXISTS", "f"), 1, ("HSET", "f", "v")),
        (("LRANGE", "0", "-1"), [b"v"], ("RPUSH", "v")),
        (("LLEN",), 1, ("RPUSH", "v")),
        (("SMEMBERS",), [b"v"], ("SADD", "v")),
        (("SISMEMBER", "v"), 1, ("SADD", "v")),
        (("ZRANGE", "0", "-1"), [b"v"], ("ZADD", "1", "v")),
        (("ZSCORE", "v"), b"1", ("ZADD", "1", "v")),
        (("MGET",), [b"v"], ("SET", "v")),
    ],
)
def test_reads_of_all_kinds_load(
    served: Served, opened: Opened, args: tuple[str, ...], value: Any, filled: tuple[str, ...]
) -> None:
    plane, control = served
    client = opened(plane)
    client.send_command(args[0], "row:1", *args[1:])
    asked = control.next()
    assert asked.rule == 0
    primary_of(plane, b"row:1").ask(filled[0], "row:1", *filled[1:])
    control.native.pass_on(asked.token)
    assert client.reply() == value
    assert client.ask(args[0], "row:1", *args[1:]) == value
    assert control.take() == []


def test_what_is_still_missing_is_answered_so_and_not_handed_over_again(
    served: Served, opened: Opened
) -> None:
    plane, control = served
    client = opened(plane)
    client.send_command("GET", "row:1")
    control.native.pass_on(control.next().token)
    assert client.reply() is None
    assert control.take() == []


def test_what_is_missing_again_comes_back_but_for_keys_without_a_value(
    served: Served, opened: Opened
) -> None:
    """Who writes a key through has it gone for a moment: a read that comes then has seen no deletion."""
    plane, control = served
    client = opened(plane)
    client.send_command("GET", "row:1")
    asked = control.next()
    for looks in range(3):
        assert asked.looks == looks
        control.native.pass_on(asked.token, [])
        asked = control.next()
    primary_of(plane, b"row:1").ask("SET", "row:1", "value")
    control.native.pass_on(asked.token, [])
    assert client.reply() == b"value"
    one, two, three = (b"row:{x}%d" % number for number in range(3))
    client.send_command("MGET", one, b"other:{x}", two, three)
    asked = control.next()
    primary_of(plane, one).ask("SET", one, "value")
    control.native.pass_on(asked.token, [three])
    asked = control.next()
    assert (asked.args, asked.looks) == ((b"MGET", one, b"other:{x}", two, three), 1)
    control.native.pass_on(asked.token, [two, three])
    assert client.reply() == [b"value", None, None, None]
    client.send_command("GET", three)
    control.native.pass_on(control.next().token, [three])
    assert client.reply() is None
    assert control.take() == []


def test_each_reply_of_a_pipeline_keeps_its_place(served: Served, opened: Opened) -> None:
    plane, control = served
    client = opened(plane)
    assert client.ask("SET", "plain", "p") == b"OK"
    primary_of(plane, b"row:hit").ask("SET", "row:hit", "h")
    for number in range(200):
        client.send_command("GET", f"row:{number}")
        client.send_command("GET", "plain")
        client.send_command("GET", "row:hit")
    asked = [control.next() for _ in range(200)]
    for each in reversed(asked):  # the last comes first
        value = each.args[1]
        control.native.answer(each.token, b"$%d\r\n%b\r\n" % (len(value), value))
    for number in range(200):
        assert [client.reply() for _ in range(3)] == [b"row:%d" % number, b"p", b"h"]


def test_a_slow_load_holds_nobody_up(served: Served, opened: Opened) -> None:
    plane, control = served
    client, other = opened(plane), opened(plane)
    client.send_command("GET", "row:slow")
    slow = control.key(b"row:slow")
    assert other.ask("SET", "plain", "1") == b"OK"
    other.send_command("GET", "row:quick")
    control.native.answer(control.key(b"row:quick").token, b"$-1\r\n")
    assert other.reply() is None
    client.send_command("SET", "plain", "2")
    wait_until(lambda: other.ask("GET", "plain") == b"2", "the same client's later request is executed")
    client.send_command("GET", "row:later")
    control.native.answer(control.key(b"row:later").token, b"+later\r\n")
    control.native.answer(slow.token, b"+slow\r\n")
    assert [client.reply() for _ in range(3)] == [b"slow", b"OK", b"later"]


def test_no_request_overtakes_another_about_its_key(served: Served, opened: Opened) -> None:
    plane, control = served
    client, other = opened(plane), opened(plane)
    client.send_command("GET", "row:1")
    client.send_command("SET", "row:1", "new")
    asked = control.next()
    assert other.ask("SET", "plain", "1") == b"OK"
    assert primary_of(plane, b"row:1").ask("EXISTS", "row:1") == 0, "the write waits for the read"
    control.native.pass_on(asked.token)
    assert [client.reply(), client.reply()] == [None, b"OK"]
    client.send_command("SET", "both:1", "new")
    client.send_command("GET", "both:1")
    client.send_command("GET", "plain")
    written = control.next()
    assert (written.args, written.rule) == ((b"SET", b"both:1", b"new"), 1)
    assert other.ask("GET", "plain") == b"1"
    assert control.take() == [], "the read waits for the write"
    primary_of(plane, b"both:1").ask("SET", "both:1", "new")
    control.native.answer(written.token, b"+OK\r\n")
    assert [client.reply() for _ in range(3)] == [b"OK", b"new", b"1"]


def test_of_a_split_command_only_the_part_that_misses_is_handed_over(served: Served, opened: Opened) -> None:
    plane, control = served
    client = opened(plane)
    keys = [b"row:%d" % number for number in range(30)] + [b"plain:%d" % number for number in range(30)]
    by_node: dict[int, list[bytes]] = {}
    for key in keys:
        by_node.setdefault(primary_of(plane, key).port, []).append(key)
    assert len(by_node) == 3
    missing = next(iter(by_node.values()))[0]
    assert missing.startswith(b"row:")
    for key in keys:
        if key.startswith(b"row:") and key != missing:
            primary_of(plane, key).ask("SET", key, b"v-" + key)
    client.send_command("MGET", *keys)
    asked = control.next()
    part = by_node[primary_of(plane, missing).port]
    assert (asked.args, asked.rule) == ((b"MGET", *part), 0)
    primary_of(plane, missing).ask("SET", missing, b"v-" + missing)
    control.native.pass_on(asked.token)
    assert client.reply() == [b"v-" + key if key.startswith(b"row:") else None for key in keys]
    assert control.take() == [], "what no rule matches is simply missing"
    values = b"".join(b"$1\r\nx\r\n" for _ in part)
    primary_of(plane, missing).ask("DEL", missing)
    client.send_command("MGET", *keys)
    control.native.answer(control.next().token, b"*%d\r\n%b" % (len(part), values))
    assert client.reply() == [
        b"x" if key in part else b"v-" + key if key.startswith(b"row:") else None for key in keys
    ]


WRITES = [
    ("SET", "both:1", "v"),
    ("SET", "both:1", "v", "NX", "GET"),
    ("SETEX", "both:1", "9", "v"),
    ("PSETEX", "both:1", "9000", "v"),
    ("SETNX", "both:1", "v"),
    ("GETSET", "both:1", "v"),
    ("GETDEL", "both:1"),
    ("HSET", "both:1", "f", "v"),
    ("HMSET", "both:1", "f", "v"),
    ("HDEL", "both:1", "f"),
    ("HINCRBY", "both:1", "f", "2"),
    ("INCR", "both:1"),
    ("APPEND", "both:1", "v"),
    ("DEL", "both:1"),
    ("UNLINK", "both:1"),
    ("DEL", "a", "b", "c", "both:1", "d", "e"),
    ("MSET", "a", "1", "b", "2", "both:1", "3", "c", "4"),
]


@pytest.mark.parametrize("write", WRITES)
def test_a_rules_write_is_handed_over_unsent(served: Served, opened: Opened, write: tuple[str, ...]) -> None:
    plane, control = served
    client = opened(plane)
    client.send_command(*write)
    asked = control.next()
    assert (asked.args, asked.rule) == (tuple(word.encode() for word in write), 1)
    for shard in plane.fleet.shards:
        assert isinstance(shard.primary, RedisNode)
        assert shard.primary.ask("DBSIZE") == 0
    control.native.answer(asked.token, b"-ERR the database says no\r\n")
    assert client.reply() == "ERR the database says no"
    assert control.counts("both:{id}") == (0, 0, 1, 0, 0)


@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_is_passed_on_is_as_one_without_rules(
    served: Served, opened: Opened, write: tuple[str, ...]
) -> None:
    plane, control = served
    client = opened(plane)
    primary_of(plane, b"both:1").ask("SET", control.lease(b"both:1"), "w:x")
    client.send_command(*write)
    control.native.pass_on(control.next().token)
    told = client.reply()
    assert primary_of(plane, b"both:1").ask("EXISTS", control.lease(b"both:1")) == 0
    for shard in plane.fleet.shards:
        assert isinstance(shard.primary, RedisNode)
        shard.primary.ask("FLUSHALL")
    assert client.ask(write[0], *[word.replace("both", "some") for word in write[1:]]) == told


@pytest.mark.parametrize(
    ("commands", "replies"),
    [
        ([("SET", "row:1", "v")], [b"OK"]),
        ([("SET", "row:1", "v" * 100_000)], [b"OK"]),
        ([("INCR", "row:1")], [1]),
        ([("EXPIRE", "row:1", "9")], [0]),
        ([("DEL", "row:1")], [0]),
        ([("DEL", *(f"row:{number}" for number in range(40)))], [0]),
        ([("MSET", *(word for number in range(40) for word in (f"row:{number}", "v")))], [b"OK"]),
        ([("EVAL", "return redis.call('set', KEYS[1], 'v')", "1", "row:1")], [b"OK"]),
        ([("MULTI",), ("GET", "plain:{1}"), ("EXEC",)], [b"OK", b"QUEUED", [None]]),
        (
            [("MULTI",), ("SET", "row:1", "v"), ("INCRBY", "row:1", "x"), ("EXEC",)],
            [b"OK", b"QUEUED", b"QUEUED", [b"OK", "ERR value is not an integer or out of range"]],
        ),
        ([("RENAME", "row:{1}a", "row:{1}b")], ["ERR no such key"]),
        ([("PEXPIRE", "both:1", "9")], [0]),
    ],
)
def test_another_write_cancels_the_leases_of_its_keys(
    served: Served, opened: Opened, commands: list[tuple[str, ...]], replies: list[Any]
) -> None:
    plane, control = served
    client = opened(plane)
    words = {word.encode() for command in commands for word in command[1:]}
    keys = sorted(word for word in words if word.startswith((b"row:", b"both:", b"store:")))
    for key in keys or [b"row:1"]:
        primary_of(plane, key).ask("SET", control.lease(key), "l:x")
    for command in commands:
        client.send_command(*command)
    assert [client.reply() for _ in commands] == replies
    for key in keys:
        assert primary_of(plane, key).ask("EXISTS", control.lease(key)) == 0
    if not keys:
        assert primary_of(plane, b"row:1").ask("EXISTS", control.lease(b"row:1")) == 1
    assert client.ask("PING") == b"PONG", "nothing is left over"
    counted = sum(control.counts(f"{name}:{{id}}")[3] for name in ("row", "both", "store"))
    assert counted == (2 if ("MULTI",) in commands and keys else len(keys)), "each write of a transaction"
    assert control.take() == []


def test_a_watched_transaction_cancels_leases_and_sees_changes(served: Served, opened: Opened) -> None:
    plane, control = served
    client, other = opened(plane), opened(plane)
    for changed in (False, True):
        primary_of(plane, b"row:1").ask("SET", control.lease(b"row:1"), "l:x")
        assert client.ask("WATCH", "row:1") == b"OK"
        if changed:
            assert other.ask("SET", "row:1", "w") == b"OK"
        assert client.ask("MULTI") == b"OK"
        assert client.ask("SET", "row:1", "v") == b"QUEUED"
        assert client.ask("EXEC") == (None if changed else [b"OK"])
        assert primary_of(plane, b"row:1").ask("EXISTS", control.lease(b"row:1")) == 0


@pytest.mark.parametrize("is_there", [True, False])
def test_who_waits_for_keys_cancels_their_leases(served: Served, opened: Opened, *, is_there: bool) -> None:
    plane, control = served
    client = opened(plane)
    node, lease = primary_of(plane, b"row:1"), control.lease(b"row:1")
    if is_there:
        node.ask("RPUSH", "row:1", "a")
        node.ask("SET", lease, "l:x")
    client.send_command("BLPOP", "row:1", "9")
    if not is_there:
        wait_until(lambda: plane.statistics().waiting == 1, "it waits")
        node.ask("SET", lease, "l:x")
        node.ask("RPUSH", "row:1", "a")
    assert client.reply() == [b"row:1", b"a"]
    assert node.ask("EXISTS", lease) == 0
    assert control.take() == []


def test_who_leaves_is_told_of(served: Served, opened: Opened) -> None:
    plane, control = served
    client = Wire(plane.address)
    for number in range(3):
        client.send_command("GET", f"row:{number}")
    asked = [control.next() for _ in range(3)]
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # by a reset: who only sends no more still hears
    gone = {control.next(Abandoned).token for _ in range(3)}
    assert gone == {each.token for each in asked}
    for each in asked:
        control.native.pass_on(each.token)
        control.native.answer(each.token, b"+late\r\n")
    assert opened(plane).ask("PING") == b"PONG"


def test_too_many_at_once_are_answered_as_they_are(served: Served, opened: Opened) -> None:
    plane, control = served
    clients = [opened(plane) for _ in range(3)]
    most = 8192
    for number in range(most):
        clients[number // 4000].send_command("GET", f"row:{number}")
    asked = [control.next() for _ in range(most)]
    extra = opened(plane)
    assert extra.ask("GET", "row:x") is None
    refused = extra.ask("SET", "both:x", "1")
    assert "too many commands wait" in str(refused)
    assert control.counts("row:{id}")[1:] == (most, 0, 0, 1)
    assert control.counts("both:{id}") == (0, 0, 0, 0, 1)
    for each in asked:
        control.native.answer(each.token, b"$-1\r\n")
    for number in range(most):
        assert clients[number // 4000].reply() is None
    extra.send_command("GET", "row:x")
    control.native.answer(control.next().token, b"+there\r\n")
    assert extra.reply() == b"there"


def test_the_age_of_a_key_is_asked_for_once(served: Served, opened: Opened) -> None:
    plane, control = served
    client = opened(plane)
    primary_of(plane, b"old:1").ask("SET", "old:1", "v")
    primary_of(plane, b"old:2").ask("SET", "old:2", "v")
    for _ in range(5):
        assert client.ask("GET", "old:1") == b"v"
    asked = control.take()
    assert asked == [CacheAged(CLUSTER, 3, b"old:1")]
    control.native.fresh(CLUSTER, b"old:1", 600.0)
    control.native.fresh(CLUSTER, b"old:2", 600.0)
    control.native.clients()  # every worker has heard it
    assert client.ask("MGET", "old:2", "old:1") == [b"v", b"v"]
    assert control.take() == []
    control.native.fresh(CLUSTER, b"old:2", 0.0)
    control.native.clients()
    assert client.ask("MGET", "old:2", "old:1") == [b"v", b"v"]
    assert control.take() == [CacheAged(CLUSTER, 3, b"old:2")]


def test_the_age_of_a_large_value_is_asked_for_too(served: Served, opened: Opened) -> None:
    plane, control = served
    client = opened(plane)
    value = b"v" * 1_000_000  # it leaves piece by piece
    primary_of(plane, b"old:1").ask("SET", "old:1", value)
    assert client.ask("GET", "old:1") == value
    assert control.take() == [CacheAged(CLUSTER, 3, b"old:1")]
    assert client.ask("GET", "old:1") == value
    assert control.take() == []


def test_a_failover_meanwhile_leaves_one_reply_for_each(start_fleet: StartFleet, opened: Opened) -> None:
    fleet = start_fleet(shards=1, replicas=1)
    (shard,) = fleet.shards
    with serving(fleet) as (plane, control):
        client = opened(plane)
        for number in range(20):
            client.send_command("GET", f"row:{number}")
        asked = [control.next() for _ in range(20)]
        client.send_command("SET", "both:1", "v")
        written = control.key(b"both:1")
        shard.primary.kill()
        for each in asked[:10]:
            control.native.pass_on(each.token)  # they wait for a primary
        control.native.pass_on(written.token)
        client.send_command("SET", "row:x", "v")  # so does this, and its lease's deletion
        client.send_command("GET", "row:y")
        (replica,) = shard.replicas
        assert isinstance(replica, RedisNode)
        replica.ask("REPLICAOF", "NO", "ONE")
        replica.ask("SET", control.lease(b"row:x"), "l:x")
        replica.ask("SET", control.lease(b"both:1"), "w:x")
        replica.ask("SET", "row:3", "three")
        plane.promote(0, replica)
        for each in asked[10:]:
            control.native.answer(each.token, b"+answered\r\n")
        missed = control.key(b"row:y")
        assert missed.args == (b"GET", b"row:y")
        control.native.answer(missed.token, b"+loaded\r\n")
        replies = [client.reply() for _ in range(23)]
        assert replies[:10] == [None, None, None, b"three", *[None] * 6]
        assert replies[10:] == [*[b"answered"] * 10, b"OK", b"OK", b"loaded"]
        assert client.ask("PING") == b"PONG"
        assert replica.ask("EXISTS", control.lease(b"row:x"), control.lease(b"both:1")) == 0
        assert replica.ask("MGET", "row:x", "both:1") == [b"v", b"v"]


def test_reads_from_replicas_load_and_are_passed_on_to_the_primary(
    start_fleet: StartFleet, opened: Opened
) -> None:
    fleet = start_fleet(shards=1, replicas=1)
    (shard,) = fleet.shards
    endpoints = {"configuration": "127.0.0.1:0", "reader": "127.0.0.1:0"}
    with serving(fleet, endpoints=endpoints) as (plane, control):
        reader = Wire(plane.bound[-1])
        assert isinstance(shard.primary, RedisNode)
        reader.send_command("GET", "row:1")
        asked = control.next()
        assert asked.endpoint == "reader"
        shard.replicas[0].freeze()  # it lags behind what is filled in
        shard.primary.ask("SET", "row:1", "v")
        control.native.pass_on(asked.token)
        assert reader.reply() == b"v"
        shard.replicas[0].thaw()
        for write in (("SET", "both:1", "v"), ("SET", "row:1", "v")):
            assert str(reader.ask(*write)).startswith("READONLY")
        assert control.take() == []
        reader.close()


def test_rules_may_change_under_way(served: Served, opened: Opened) -> None:
    plane, control = served
    client = opened(plane)
    client.send_command("GET", "row:1")
    asked = control.next()
    plane.rules = [rule("new:*")]
    plane.serve()
    control.native.pass_on(asked.token)
    assert client.reply() is None
    assert client.ask("GET", "row:1") is None
    client.send_command("GET", "new:1")
    assert control.next().rule == 0
    plane.rules = []
    plane.serve()
    assert opened(plane).ask("GET", "new:1") is None


def test_other_databases_have_no_rules(start_fleet: StartFleet, opened: Opened) -> None:
    with serving(start_fleet(shards=1, replicas=0)) as (plane, control):
        client = opened(plane)
        assert client.ask("SELECT", "1") == b"OK"
        assert client.ask("GET", "row:1") is None
        assert client.ask("SET", "both:1", "v") == b"OK"
        assert control.take() == []
