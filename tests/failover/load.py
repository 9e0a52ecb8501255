"""Applications that write and read while something goes wrong, and what they saw.

Plain redis-py without retries, as threads. Half keep their connection, half open one for each command. They
reach the data by one way or by several: through each proxy of many, or as clients of something else.
Every value is written once; `Ledger.check` compares what was acknowledged with what is there.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from shardproxy.model import Address
from tests.fixtures.proxy import wait_until

WRITERS, READERS = 8, 4
RATE = 600  # commands per second of all together
MORE = 200  # writes: half a second of them
TIMEOUT = 10.0  # seconds, an application's own

# Of errors that redis-py takes the first word off; these, and no others, say that nothing was executed.
NOT_EXECUTED = {
    redis.exceptions.TryAgainError: "TRYAGAIN",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.BusyLoadingError: "LOADING",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
}
WORDS = ("INDOUBT", *NOT_EXECUTED.values(), "NOREPLICAS")


@dataclass(frozen=True, slots=True)
class Way:
    """How an application reaches the data: a client of its own, and how that one closes its connections."""

    name: str  # of what it goes through
    connect: Callable[[], Any]
    disconnect: Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Write:
    """One attempt; times are monotonic."""

    began: float
    ended: float
    error: str | None
    key: str = ""
    number: int = 0
    way: str = ""


@dataclass(slots=True)
class Ledger:
    """What the writers of one shard did: each appends the numbers 0, 1, 2 ... to a list of its own."""

    writes: list[Write] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, list[int]] = field(default_factory=dict)  # list: numbers, in order
    in_doubt: dict[str, set[int]] = field(default_factory=dict)
    reads: int = 0
    stale: int = 0  # reads that lacked what was acknowledged before they began
    turn: threading.Lock = field(default_factory=threading.Lock)

    def first_after(self, moment: float, way: str | None = None) -> float | None:
        """When the first write that began after that moment was acknowledged, in seconds from it."""
        ends = [
            w.ended - moment
            for w in tuple(self.writes)
            if w.error is None and w.began >= moment and way in (None, w.way)
        ]
        return min(ends, default=None)

    def longest_gap(self, began: float, ended: float, ways: Iterable[str]) -> float:
        """The longest time without an acknowledged write between those moments, by the worst of ways."""
        longest = 0.0
        for way in ways:
            acks = sorted(
                w.ended for w in self.writes if w.error is None and w.way == way and began < w.ended < ended
            )
            moments = [began, *acks, ended]
            longest = max(longest, *(after - before for before, after in pairwise(moments)))
        return longest

    def clean_after(self, moment: float) -> float:
        """When the last write failed, in seconds from that moment; 0 when none did."""
        return max((w.ended - moment for w in tuple(self.writes) if w.error is not None), default=0.0)

    def longest_from(self, moment: float) -> float:
        return max((w.ended - w.began for w in self.writes if w.ended >= moment), default=0.0)

    def wait_more(self, count: int = MORE, timeout: float = 20.0) -> None:
        """Wait until so many more writes were acknowledged: all has gone well for a while."""
        wanted = self._done() + count
        wait_until(lambda: self._done() >= wanted, f"{count} more writes", timeout=timeout)

    def _done(self) -> int:
        return sum(write.error is None for write in tuple(self.writes))

    def lost(self, found: Mapping[str, list[int]]) -> list[Write]:
        """Of what was acknowledged, what is not there."""
        there = {key: set(numbers) for key, numbers in found.items()}
        return [w for w in self.writes if w.error is None and w.number not in there[w.key]]

    def found(self, client: Any) -> dict[str, list[int]]:
        """What is there, of every list."""
        return {key: [int(text) for text in client.lrange(key, 0, -1)] for key in self.acknowledged}

    def check(self, client: Any) -> list[str]:
        """What is wrong with the data: lost, duplicate, out of order, or there although it was refused."""
        found = self.found(client)
        return self.why_lossy(found) + self.why_unsound(found)

    def why_lossy(self, found: Mapping[str, list[int]]) -> list[str]:
        """Acknowledged writes that are not there."""
        return [
            f"{key}: {len(lost)} acknowledged writes lost, as {min(lost)}"
            for key, numbers in self.acknowledged.items()
            if (lost := set(numbers) - set(found[key]))
        ]

    def why_unsound(self, found: Mapping[str, list[int]]) -> list[str]:
        """What may not be in any mode."""
        faults = []
        for key, numbers in found.items():
            known = set(self.acknowledged[key]) | self.in_doubt.get(key, set())
            if len(numbers) != len(set(numbers)):
                faults.append(f"{key}: a write was executed twice")
            if numbers != sorted(numbers):
                faults.append(f"{key}: writes out of order")
            if extra := set(numbers) - known:
                faults.append(f"{key}: {len(extra)} writes are there that were refused, as {min(extra)}")
        return faults


def kind_of(error: Exception) -> str:
    """One word for an error, as an application would count it."""
    for kind, word in NOT_EXECUTED.items():
        if isinstance(error, kind):
            return word
    text = str(error)
    for word in WORDS:
        if word in text:
            return word
    return type(error).__name__


def connect(address: Address, timeout: float = TIMEOUT) -> redis.Redis:
    return redis.Redis(
        address.host, address.port, socket_timeout=timeout, retry=Retry(NoBackoff(), 0), retry_on_error=[]
    )


def way_to(address: Address, name: str = "", timeout: float = TIMEOUT) -> Way:
    """Through a proxy that listens there."""
    return Way(name, lambda: connect(address, timeout), pool_disconnect)


def pool_disconnect(client: redis.Redis) -> None:
    client.connection_pool.disconnect()


def tag_of(shard: int, shards: int) -> str:
    """A hash tag whose keys are in that shard, slots being split evenly."""
    for number in range(10_000):
        tag = f"t{number}"
        if key_slot(tag.encode()) * shards // 16384 == shard:
            return tag
    raise AssertionError("no tag found")


@contextmanager
def load(address: Address, shard: int, shards: int) -> Iterator[Ledger]:
    """Write to and read from one shard for as long as the block lasts."""
    with load_through([way_to(address)], tag_of(shard, shards)) as ledger:
        yield ledger


@contextmanager
def load_through(ways: Sequence[Way], tag: str) -> Iterator[Ledger]:
    """The same by all of these ways at once, to keys with that hash tag: applications take them in turn."""
    ledger, stop = Ledger(), threading.Event()
    keys = [f"{{{tag}}}:{time.time_ns()}:{n}" for n in range(WRITERS)]
    threads = []
    for number in range(WRITERS + READERS):
        way, is_kept = ways[number // 2 % len(ways)], number % 2 == 0
        if number < WRITERS:
            application = Application(ledger, stop, way, is_kept, (keys[number],))
            threads.append(threading.Thread(target=application.write))
        else:
            application = Application(ledger, stop, way, is_kept, tuple(keys))
            threads.append(threading.Thread(target=application.read))
    for thread in threads:
        thread.start()
    try:
        yield ledger
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@dataclass(slots=True)
class Application:
    """One thread of the load."""

    ledger: Ledger
    stop: threading.Event
    way: Way
    is_kept: bool
    keys: tuple[str, ...]

    def write(self) -> None:
        client = self._client()
        (key,) = self.keys
        numbers = self.ledger.acknowledged.setdefault(key, [])
        doubtful = self.ledger.in_doubt.setdefault(key, set())
        number = 0
        while not self.stop.wait((WRITERS + READERS) / RATE):
            began, error = time.monotonic(), None
            try:
                if not self.is_kept:
                    self.way.disconnect(client)
                client.rpush(key, number)
            except (redis.RedisError, OSError) as failure:
                error = kind_of(failure)
                if error not in WORDS or error == "INDOUBT":
                    doubtful.add(number)  # it may have been executed
            else:
                numbers.append(number)
            with self.ledger.turn:
                self.ledger.writes.append(Write(began, time.monotonic(), error, key, number, self.way.name))
                if error is not None:
                    self.ledger.errors[f"write {error}"] += 1
            number += 1
        client.close()

    def read(self) -> None:
        client = self._client()
        turn = 0
        while not self.stop.wait((WRITERS + READERS) / RATE):
            turn += 1
            key = self.keys[turn % len(self.keys)]
            known = self.ledger.acknowledged.get(key)
            floor = known[-1] if known else -1
            error, found = None, None
            try:
                if not self.is_kept:
                    self.way.disconnect(client)
                found = client.lindex(key, -1)
            except (redis.RedisError, OSError) as failure:
                error = kind_of(failure)
            with self.ledger.turn:
                self.ledger.reads += 1
                if error is not None:
                    self.ledger.errors[f"read {error}"] += 1
                elif (int(found) if found is not None else -1) < floor:
                    self.ledger.stale += 1
        client.close()

    def _client(self) -> Any:
        """Where nobody answers yet, again: some clients ask for the topology at once."""
        while True:
            try:
                return self.way.connect()
            except (redis.RedisError, OSError):
                if self.stop.wait(0.05):
                    raise
