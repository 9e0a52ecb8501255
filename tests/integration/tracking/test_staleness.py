"""No client keeps what is not true any more, whoever writes, and whatever connections break."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest
from redis.crc import key_slot

from shardproxy.fleet import RedisNode
from tests.fixtures.proxy import wait_until
from tests.integration.tracking.cached import Cached
from tests.integration.tracking.conftest import Connect, Place, Tracker

KEYS = [b"key:%d" % n for n in range(40)]
ROUNDS = 300
LARGE = b"x" * 300_000


def node_of(place: Place, key: bytes) -> RedisNode:
    shards = place.fleet.shards
    node = shards[key_slot(key) * len(shards) // 16384].primary
    assert isinstance(node, RedisNode)
    return node


class Writers:
    """Threads that write to the keys until the test is done with reading."""

    def __init__(self, *writes: Callable[[bytes, int], object]) -> None:
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number, write)) for number, write in enumerate(writes)
        ]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int, write: Callable[[bytes, int], object]) -> None:
        chance = random.Random(number)
        count = 0
        while not self._is_over.is_set():
            count += 1
            write(chance.choice(KEYS), count * 10 + number)


def check(place: Place, *readers: Cached) -> None:
    """What readers still keep is what the nodes have, once all is said."""

    def faults() -> list[str]:
        found = []
        for number, reader in enumerate(readers):
            reader.catch_up()
            for key, value in reader.kept.items():
                if value != (actual := node_of(place, key).ask("GET", key)):
                    found.append(f"reader {number} keeps {key!r} = {value!r}, it is {actual!r}")
        return found

    wait_until(lambda: not faults(), lambda: f"nobody keeps what is old: {faults()}", timeout=5.0)


def read_some(chance: random.Random, *readers: Cached) -> None:
    for reader in readers:
        reader.read(chance.sample(KEYS, chance.randrange(1, 12)))


@pytest.mark.parametrize("options", [(), ("BCAST",), ("BCAST", "PREFIX", "key:1", "PREFIX", "key:2")])
def test_whoever_writes(place: Place, connect: Connect, options: tuple[str, ...]) -> None:
    through, chance = connect(), random.Random(7)
    readers = [Cached(connect(3), *options) for _ in range(3)]
    if len(options) > 1:  # what is not meant is not kept
        meant = [key for key in KEYS if key.startswith((b"key:1", b"key:2"))]
        readers = [Only(connect(3), meant, *options) for _ in range(3)]

    def write_through(key: bytes, value: int) -> None:
        through.ask("SET", key, value)

    def write_straight(key: bytes, value: int) -> None:
        node_of(place, key).ask("SET", key, value)

    with Writers(write_through, write_straight):
        for _ in range(ROUNDS):
            read_some(chance, *readers)
    check(place, *readers)
    assert all(reader.told > 10 for reader in readers)
    assert any(reader.kept for reader in readers)


class Only(Cached):
    """One that keeps some keys only."""

    def __init__(self, wire: Tracker, meant: list[bytes], *options: str) -> None:
        super().__init__(wire, *options)
        self._meant = set(meant)

    def read(self, keys: list[bytes]) -> None:
        super().read([key for key in keys if key in self._meant])


def test_who_wants_no_loop_keeps_what_it_writes_and_no_more(place: Place, connect: Connect) -> None:
    chance = random.Random(3)
    own = [Cached(connect(3), "BCAST", "NOLOOP") for _ in range(2)]

    def write_straight(key: bytes, value: int) -> None:
        node_of(place, key).ask("SET", key, value)

    with Writers(write_straight):
        for count in range(ROUNDS):
            for number, reader in enumerate(own):
                reader.set(chance.choice(KEYS), b"own %d of %d" % (count, number))
            read_some(chance, *own)
    check(place, *own)
    for reader in own:
        reader.read(KEYS)
    told = [reader.told for reader in own]
    own[0].set(b"key:0", b"mine")
    check(place, *own)

    def is_told() -> bool:
        own[1].catch_up()
        return b"key:0" not in own[1].kept

    wait_until(is_told, "the other one is told")
    assert (own[0].kept[b"key:0"], own[0].told) == (b"mine", told[0])


def test_a_large_value_is_not_broken_by_what_is_told(place: Place, connect: Connect) -> None:
    reader, through = Cached(connect(3), "BCAST"), connect()
    through.ask("SET", "large", LARGE)
    with Writers(lambda key, value: through.ask("SET", key, value)):
        for _ in range(40):
            reader.read([b"large", KEYS[0], b"large", KEYS[1]])
            assert reader.kept.get(b"large", LARGE) == LARGE
    check(place, reader)


def test_whose_connections_break(place: Place, connect: Connect) -> None:
    """All connections of the proxy to the nodes, those that tell of changes among them."""
    if place.is_redis:
        pytest.skip("Redis has none")
    chance = random.Random(11)
    readers = [Cached(connect(3)), Cached(connect(3), "BCAST")]

    def write_straight(key: bytes, value: int) -> None:
        node = node_of(place, key)
        node.ask("SET", key, value)
        if value % 50 == 0:
            node.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    flushed = [reader.flushed for reader in readers]
    with Writers(write_straight):
        for _ in range(ROUNDS):
            for reader in readers:
                keys = chance.sample(KEYS, 5)
                for key in keys:
                    reader.wire.send_command("GET", key)
                for key in keys:
                    value = reader.reply()
                    if not isinstance(value, Exception):
                        reader.kept[key] = value
    check(place, *readers)
    assert all(reader.flushed > before for reader, before in zip(readers, flushed, strict=True))
