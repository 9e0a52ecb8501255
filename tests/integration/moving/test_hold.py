"""Slots go back and forth between two engines under load: no client hears of it, nothing is lost."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shardproxy.dataplane.spec import ShardTerms
from shardproxy.fleet import Fleet
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.driven import Driven, driven
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import CLUSTER
from tests.fixtures.proxy import wait_until
from tests.fixtures.replicated import wait_replicated
from tests.integration.moving.moves import HELD, MIXED, MOVING, Mover, node, packed, slot_of

MOVES = 30
PATIENT = {"park": "60s", "reply": "60s"}  # a busy machine may take long to answer, and to move what is held
LARGE = 2 * 1024 * 1024  # bytes: such a value goes on a connection of its own
CAS = "redis.call('INCR', KEYS[1]); return redis.call('RPUSH', KEYS[2], ARGV[1])"

Work = Callable[[Wire, int, int], None]  # a connection, whose it is, and how often it was done before


@pytest.fixture(scope="module")
def two(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=2, replicas=0)


@pytest.fixture
def mover(two: Fleet) -> Iterator[Mover]:
    with driven(two, workers=2, timeouts=PATIENT) as plane:
        mover = Mover(plane)
        try:
            yield mover
        finally:
            mover.close()
            for shard in range(2):
                node(plane, shard).ask("FLUSHALL")


class Load:
    """Clients in threads, each doing its work again and again, and counting how often that was done."""

    def __init__(self, plane: Driven) -> None:
        self._plane = plane
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.counts: dict[str, int] = {}
        self.errors: list[object] = []

    def start(self, work: Work, number: int, *, resp: int = 2) -> None:
        name = f"{work.__name__}:{number}"
        self.counts[name] = 0

        def run() -> None:
            wire = Wire(self._plane.address, 30.0)
            try:
                if resp == 3:
                    wire.ask("HELLO", 3)
                while not self._stop.is_set():
                    work(wire, number, self.counts[name])
                    self.counts[name] += 1
            except Exception as error:  # noqa: BLE001 - the test tells which
                self.errors.append((name, error))
            finally:
                wire.close()

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def load(plane: Driven) -> Iterator[Load]:
    load = Load(plane)
    try:
        yield load
    finally:
        load.stop()
    assert load.errors == []


def asked(wire: Wire, *requests: tuple[str | int, ...]) -> list[Any]:
    """All in one write; none of the replies is an error."""
    wire.send(b"".join(packed(tuple(str(word).encode() for word in words)) for words in requests))
    replies = [wire.reply() for _ in requests]
    assert not any(isinstance(reply, ReplyError) for reply in replies), replies
    return replies


def keys_of(number: int) -> list[str]:
    """Of each client as many keys that move as keys that stay."""
    keys = [f"{number}:{one}" for one in range(40)]
    moving = [key for key in keys if slot_of(key.encode()) <= MOVING.last]
    return moving[:4] + [key for key in keys if key not in moving][:4]


def pipelines(wire: Wire, number: int, turn: int) -> None:
    """Lists keep the order, and what was written is read."""
    requests: list[tuple[str | int, ...]] = []
    for key in keys_of(number):
        requests += [("RPUSH", f"list:{{{key}}}", turn), ("SET", key, turn), ("GET", key)]
    replies = asked(wire, *requests)
    assert replies[::3] == [turn + 1] * 8
    assert replies[2::3] == [str(turn).encode()] * 8


def one_by_one(wire: Wire, number: int, turn: int) -> None:
    for key in keys_of(number):
        assert asked(wire, ("INCR", f"count:{{{key}}}")) == [turn + 1]


def several(wire: Wire, number: int, turn: int) -> None:
    """Keys of both shards in one command."""
    keys = [f"several:{key}" for key in keys_of(number)]
    words = [word for key in keys for word in (key, turn)]
    assert asked(wire, ("MSET", *words), ("MGET", *keys), ("DEL", *keys), ("EXISTS", *keys)) == [
        b"OK",
        [str(turn).encode()] * 8,
        8,
        0,
    ]


def transactions(wire: Wire, number: int, turn: int) -> None:
    for key in keys_of(number):
        one, other = f"{{{key}}}:t1", f"{{{key}}}:t2"
        replies = asked(wire, ("MULTI",), ("INCR", one), ("INCR", other), ("EXEC",))
        assert replies[-1] == [turn + 1, turn + 1]


def scripts(wire: Wire, number: int, turn: int) -> None:
    for key in keys_of(number):
        one, other = f"{{{key}}}:s1", f"{{{key}}}:s2"
        assert asked(wire, ("EVAL", CAS, 2, one, other, turn)) == [turn + 1]


def watched(wire: Wire, number: int, turn: int) -> None:
    """Compare and set: where the key has moved meanwhile, again."""
    for key in (f"{{{key}}}:w" for key in keys_of(number)):
        while True:
            asked(wire, ("WATCH", key))
            (value,) = asked(wire, ("GET", key))
            assert int(value or 0) == turn
            if asked(wire, ("MULTI",), ("SET", key, turn + 1), ("EXEC",))[-1] is not None:
                break


def large(wire: Wire, number: int, turn: int) -> None:
    key = f"large:{keys_of(number)[0]}"
    value = f"{turn}:" + "x" * LARGE
    asked(wire, ("SET", key, value), ("SETRANGE", key, 0, f"{turn}"))
    (found,) = asked(wire, ("GETRANGE", key, 0, 20))
    assert found.startswith(f"{turn}:".encode())


WORKS: tuple[Work, ...] = (pipelines, one_by_one, several, transactions, scripts, watched, large)


def test_nobody_hears_of_slots_that_move(mover: Mover) -> None:
    with load(mover.plane) as clients:
        for number, work in enumerate(WORKS):
            clients.start(work, number)
        for number, work in enumerate((pipelines, several, transactions), len(WORKS)):
            clients.start(work, number, resp=3)
        for _ in range(MOVES):
            mover.move(gives_up=random.random() < 0.25)
            assert clients.errors == []
    assert mover.strays() == []
    assert all(clients.counts.values()), clients.counts
    check = Wire(mover.plane.address)
    for name, count in clients.counts.items():
        kind, _, of = name.partition(":")
        for key in keys_of(int(of)):
            if kind == "pipelines":
                assert check.ask("LRANGE", f"list:{{{key}}}", 0, -1) == [
                    b"%d" % turn for turn in range(count)
                ]
            elif kind == "one_by_one":
                assert int(check.ask("GET", f"count:{{{key}}}")) == count
            elif kind == "transactions":
                assert int(check.ask("GET", f"{{{key}}}:t2")) == count
            elif kind == "scripts":
                assert check.ask("LRANGE", f"{{{key}}}:s2", 0, -1) == [b"%d" % turn for turn in range(count)]
            elif kind == "watched":
                assert int(check.ask("GET", f"{{{key}}}:w")) == count
    check.close()
    pauses = sorted(mover.pauses)
    print(f"pauses: median {statistics.median(pauses) * 1e3:.1f} ms, longest {pauses[-1] * 1e3:.1f} ms")


def test_who_waits_for_keys_is_served_once_and_in_order(mover: Mover) -> None:
    queues = [f"queue:{key}" for key in keys_of(0)]
    got: dict[str, list[bytes]] = {queue: [] for queue in queues}
    with load(mover.plane) as clients:

        def produce(wire: Wire, number: int, turn: int) -> None:
            asked(wire, ("RPUSH", queues[number], turn))

        def consume(wire: Wire, number: int, turn: int) -> None:
            (popped,) = asked(wire, ("BLPOP", queues[number], 2))
            if popped is not None:
                got[queues[number]].append(popped[1])

        for number in range(len(queues)):
            clients.start(produce, number)
            clients.start(consume, number)
        for _ in range(10):
            mover.move()
    check = Wire(mover.plane.address)
    for number, queue in enumerate(queues):
        rest = check.ask("LRANGE", queue, 0, -1)
        assert got[queue] + rest == [b"%d" % turn for turn in range(clients.counts[f"produce:{number}"])]
    check.close()
    assert mover.strays() == []


def test_a_wait_that_began_before_a_move_ends_after_it(mover: Mover) -> None:
    key, stream = (f"{name}:{keys_of(0)[0]}" for name in ("list", "stream"))
    waits, reads = Wire(mover.plane.address, 30.0), Wire(mover.plane.address, 30.0)
    waits.send_command("BLPOP", key, 20)
    asked(reads, ("XADD", stream, "1-1", "a", "b"))
    reads.send_command("XREAD", "BLOCK", 20_000, "STREAMS", stream, "$")
    for _ in range(3):
        mover.move()
    writer = Wire(mover.plane.address)
    asked(writer, ("RPUSH", key, "x"), ("XADD", stream, "1-2", "c", "d"))
    assert waits.reply() == [key.encode(), b"x"]
    assert reads.reply() == [[stream.encode(), [[b"1-2", [b"c", b"d"]]]]]
    for wire in (waits, reads, writer):
        wire.close()


def test_shard_channels_lose_no_message(mover: Mover) -> None:
    channels = [f"news:{key}" for key in keys_of(0)]
    subscriber = Wire(mover.plane.address, 30.0)
    for channel in channels:
        subscriber.send_command("SSUBSCRIBE", channel)
        subscriber.reply()
    heard: dict[str, list[int]] = {channel: [] for channel in channels}
    published = [0] * len(channels)
    with load(mover.plane) as clients:

        def publish(wire: Wire, number: int, turn: int) -> None:
            asked(wire, ("SPUBLISH", channels[number], turn))
            published[number] = turn + 1

        for number in range(len(channels)):
            clients.start(publish, number)
        for _ in range(10):
            mover.move()
    while any(len(heard[channel]) < published[number] for number, channel in enumerate(channels)):
        _, channel, payload = subscriber.reply()
        heard[channel.decode()].append(int(payload))
    for number, channel in enumerate(channels):
        assert heard[channel] == list(range(published[number]))
    subscriber.close()


def test_of_a_move_no_key_event_is_heard(mover: Mover) -> None:
    for shard in range(2):
        node(mover.plane, shard).ask("CONFIG", "SET", "notify-keyspace-events", "KEA")
    wire, writer = Wire(mover.plane.address, 30.0), Wire(mover.plane.address)
    wire.send_command("PSUBSCRIBE", "__keyevent@0__:*")
    wire.reply()
    keys = keys_of(0)
    for key in keys:
        asked(writer, ("SET", key, "1"))
    mover.move()
    asked(writer, ("DEL", *keys))
    heard = [wire.reply()[2:] for _ in range(2 * len(keys))]
    events = [(channel.rpartition(b":")[2], key) for channel, key in heard]
    expected = [(word, key.encode()) for word in (b"set", b"del") for key in keys]
    assert sorted(events) == sorted(expected)
    for shard in range(2):
        node(mover.plane, shard).ask("CONFIG", "SET", "notify-keyspace-events", "")
    wire.close()
    writer.close()


def test_what_is_removed_after_a_move_is_not_heard_late(mover: Mover) -> None:
    """Of thousands of keys that are taken away it is told yet when nothing is to be taken away any more."""
    source, target = (node(mover.plane, shard) for shard in range(2))
    wire, writer = Wire(mover.plane.address, 30.0), Wire(mover.plane.address, 30.0)
    keys = [f"key:{number}" for number in range(8000)]
    asked(writer, *(("SET", key, "1") for key in keys))
    for one in (source, target):
        one.ask("CONFIG", "SET", "notify-keyspace-events", "Eg$")
    wire.send_command("PSUBSCRIBE", "__keyevent@0__:*")
    wire.reply()
    mark = next(key for key in keys if slot_of(key.encode()) > MOVING.last).encode()

    def has_told_all() -> None:
        """What the copies brought about is read, as it is long before slots are given away."""
        target.ask("SET", mark, "1")
        assert wire.reply()[2:] == [b"__keyevent@0__:set", mark]

    mover.move(before_publish=has_told_all)
    asked(writer, ("DEL", *keys))
    heard = [tuple(wire.reply()[2:]) for _ in keys]
    assert sorted(heard) == sorted((b"__keyevent@0__:del", key.encode()) for key in keys)
    for one in (source, target):
        one.ask("CONFIG", "SET", "notify-keyspace-events", "")
    wire.close()
    writer.close()


def test_replicas_answer_for_who_has_the_slots(start_fleet: StartFleet) -> None:
    """Those of the last owner are out of it with the epoch; those of the next one have all before it."""
    fleet = start_fleet(shards=2, replicas=1)
    with driven(fleet, workers=2, reads={"from": "replica"}, timeouts=PATIENT) as plane:
        mover = Mover(plane)

        def has_reached_replicas() -> None:
            """What was written on this connection: the copies."""
            assert mover.ask_many(1 - mover.owner, [(b"WAIT", b"1", b"5000")]) == [1]

        wire = Wire(plane.address)
        keys = [f"old:{number}" for number in range(300)]
        asked(wire, *(("SET", key, key) for key in keys))
        for shard in fleet.shards:
            wait_replicated(shard.primary, *shard.replicas)
        time.sleep(1.1)  # so long a key that was written is read from its primary

        def reads(wire: Wire, number: int, turn: int) -> None:
            assert asked(wire, ("MGET", *keys)) == [[key.encode() for key in keys]]
            assert asked(wire, *(("GET", key) for key in keys)) == [key.encode() for key in keys]

        with load(plane) as clients:
            for number, work in enumerate((pipelines, several, reads, reads)):
                clients.start(work, number)
            for _ in range(10):
                mover.move(before_publish=has_reached_replicas)
        assert mover.strays() == []
        replicas = [shard.replicas[0] for shard in fleet.shards]
        asked_replicas = [plane.statistics().nodes[str(node.address)].requests for node in replicas]
        assert all(asked_replicas), "they were read from"
        wire.close()
        mover.close()


def test_what_takes_long_keeps_its_slots_from_settling(mover: Mover) -> None:
    """What is under way is waited for, however long that takes; who gives up lets all go on."""
    moving, source = keys_of(0)[0], node(mover.plane, 0)
    busy, other = Wire(mover.plane.address, 30.0), Wire(mover.plane.address, 30.0)
    asked(busy, ("EXISTS", moving))  # connections are there before the engine stops
    asked(other, ("EXISTS", moving))
    source.freeze()
    try:
        busy.send_command("EVAL", "return redis.call('INCR', KEYS[1])", 1, moving)
        wait_until(
            lambda: any(client["pending"] for client in mover.plane.native.clients(None)), "it is read"
        )
        mover.serve(0, HELD, MIXED)
        assert not mover.plane.native.settle(CLUSTER, 0.05)
        other.send_command("INCR", moving)
    finally:
        source.thaw()
    assert mover.plane.native.settle(CLUSTER, 30)
    mover.serve(0, ShardTerms(), ShardTerms())
    assert [busy.reply(), other.reply()] == [1, 2]
    busy.close()
    other.close()
