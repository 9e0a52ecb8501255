"""Applications that write and read while something goes wrong, and what they saw.

Plain redis-py without retries, as threads. Half keep their connection, half open one for each command.
Every value is written once; `Ledger.check` compares what was acknowledged with what is there.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class Write:
    """One attempt; times are monotonic."""

    began: float
    ended: float
    error: str | None


@dataclass(slots=True)
class Ledger:
    """What the writers of one shard did: each appends the numbers 0, 1, 2 ... to a list of its own."""

    writes: list[Write] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, list[int]] = field(default_factory=dict)  # list: numbers, in order
    in_doubt: dict[str, set[int]] = field(default_factory=dict)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def first_after(self, moment: float) -> float | None:
        """When the first write that began after that moment was acknowledged, in seconds from it."""
        ends = [w.ended - moment for w in self.writes if w.error is None and w.began >= moment]
        return min(ends, default=None)

    def longest_from(self, moment: float) -> float:
        return max((w.ended - w.began for w in self.writes if w.ended >= moment), default=0.0)

    def wait_more(self, count: int = MORE) -> None:
        """Wait until so many more writes were acknowledged: all has gone well for a while."""
        wanted = self._done() + count
        wait_until(lambda: self._done() >= wanted, f"{count} more writes", timeout=20.0)

    def _done(self) -> int:
        return sum(write.error is None for write in tuple(self.writes))

    def check(self, client: redis.Redis) -> list[str]:
        """What is wrong with the data: lost, duplicate, out of order, or there although it was refused."""
        faults = []
        for key, numbers in self.acknowledged.items():
            found = [int(text) for text in client.lrange(key, 0, -1)]
            doubtful = self.in_doubt.get(key, set())
            if lost := set(numbers) - set(found):
                faults.append(f"{key}: {len(lost)} acknowledged writes lost, as {min(lost)}")
            if len(found) != len(set(found)):
                faults.append(f"{key}: a write was executed twice")
            if found != sorted(found):
                faults.append(f"{key}: writes out of order")
            if extra := set(found) - set(numbers) - doubtful:
                faults.append(f"{key}: {len(extra)} writes are there that were refused, as {min(extra)}")
        return faults


def kind_of(error: Exception) -> str:
    """One word for an error, as an application would count it."""
    if isinstance(error, redis.exceptions.TryAgainError):
        return "TRYAGAIN"  # redis-py takes the word off the text
    text = str(error)
    for word in ("INDOUBT", "TRYAGAIN", "READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN"):
        if word in text:
            return word
    return type(error).__name__


def connect(address: Address) -> redis.Redis:
    return redis.Redis(
        address.host, address.port, socket_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0), retry_on_error=[]
    )


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
    ledger, stop = Ledger(), threading.Event()
    tag = tag_of(shard, shards)
    threads = [
        threading.Thread(
            target=_write, args=(ledger, stop, address, f"{{{tag}}}:{time.time_ns()}:{n}", n % 2 == 0)
        )
        for n in range(WRITERS)
    ]
    threads += [
        threading.Thread(target=_read, args=(ledger, stop, address, f"{{{tag}}}:none", n % 2 == 0))
        for n in range(READERS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield ledger
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _write(ledger: Ledger, stop: threading.Event, address: Address, key: str, is_kept: bool) -> None:
    client = connect(address)
    numbers = ledger.acknowledged.setdefault(key, [])
    doubtful = ledger.in_doubt.setdefault(key, set())
    number = 0
    while not stop.wait((WRITERS + READERS) / RATE):
        began, error = time.monotonic(), None
        try:
            if not is_kept:
                client.connection_pool.disconnect()
            client.rpush(key, number)
        except redis.RedisError as failure:
            error = kind_of(failure)
            if error not in ("TRYAGAIN", "READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN"):
                doubtful.add(number)  # it may have been executed
        else:
            numbers.append(number)
        with ledger.turn:
            ledger.writes.append(Write(began, time.monotonic(), error))
            if error is not None:
                ledger.errors[f"write {error}"] += 1
        number += 1
    client.close()


def _read(ledger: Ledger, stop: threading.Event, address: Address, key: str, is_kept: bool) -> None:
    client = connect(address)
    while not stop.wait((WRITERS + READERS) / RATE):
        try:
            if not is_kept:
                client.connection_pool.disconnect()
            client.get(key)
        except redis.RedisError as failure:
            with ledger.turn:
                ledger.errors[f"read {kind_of(failure)}"] += 1
    client.close()
