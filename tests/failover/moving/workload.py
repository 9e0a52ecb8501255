"""Clients that know what every reply has to be: each thread owns its keys, and keeps a model of them.

Every kind of value, sliding times to live shorter than a move, scripts and transactions of two keys. A reply
that is not what the model says is a fault at once; `check` compares the rest when all is quiet. A command
that failed may have been executed or not: its key is left alone from then on, and counted.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from shardproxy.model import Address
from tests.failover.load import connect

SLIDING = 1500  # milliseconds that a session lives after it was used
RENEWED = 0.4  # seconds within which it is used again
KEYS = 40  # of a kind, for each writer
SCRIPT = "redis.call('INCR', KEYS[1]); return redis.call('RPUSH', KEYS[2], ARGV[1])"
FAR = 4102444800000  # milliseconds since 1970


@dataclass(frozen=True, slots=True)
class Session:
    """A key that ends unless it is used again."""

    count: int  # of its uses
    used: float  # when the last one was asked for, in seconds of the monotonic clock
    ends: int  # milliseconds since 1970, as the engine said

    def is_expected(self, answered: float) -> bool:
        """Whether a use that was answered by then (seconds since 1970) has to have found it.

        When a use was answered says nothing of when the key ends: replies wait for replicas, after a failover
        until there is one again, and its time runs meanwhile.
        """
        return answered * 1000 < self.ends


@dataclass
class Writer:
    """One thread, its keys, and what they are to be."""

    name: str
    connect: Callable[[], redis.Redis]
    stop: threading.Event
    rng: random.Random
    model: dict[str, Any] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)  # PEXPIRETIME, in milliseconds
    doubtful: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    sessions: dict[str, Session] = field(default_factory=dict)
    waits: list[tuple[float, float]] = field(default_factory=list)  # when each command began, and its seconds
    done: int = 0

    def run(self) -> None:
        self.client = self.connect()
        kinds = [
            self.count,
            self.push,
            self.hash,
            self.stream,
            self.score,
            self.text,
            self.expire,
            self.replace,
            self.script,
            self.together,
            self.bag,
            self.float,
        ]
        while not self.stop.is_set():
            self.renew()
            kind = self.rng.choice(kinds)
            number = self.rng.randrange(KEYS)
            self.tried(f"{kind.__name__}:{self.name}:{number}", kind)

    def tried(self, key: str, kind: Callable[[str], None]) -> None:
        if key in self.doubtful:
            return
        began = time.monotonic()
        try:
            kind(key)
            self.done += 1
        except (redis.RedisError, OSError) as error:
            self.errors[f"{type(error).__name__}: {str(error)[:60]}"] += 1
            self.doubtful.add(key)
        self.waits.append((began, time.monotonic() - began))

    def expect(self, key: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.faults.append(f"{time.monotonic():.3f} {key}: {found!r} and not {wanted!r}")
            self.doubtful.add(key)

    def renew(self) -> None:
        """Use every session that is due, so that none may ever end."""
        for number in range(KEYS):
            key = f"session:{self.name}:{number}"
            session = self.sessions.get(key)
            began = time.monotonic()
            if key in self.doubtful or (session is not None and began - session.used < RENEWED / 2):
                continue
            try:
                pipe = self.client.pipeline(transaction=True)
                pipe.incr(key)
                pipe.pexpire(key, SLIDING)
                pipe.pexpiretime(key)
                found, _, ends = pipe.execute()
            except (redis.RedisError, OSError) as error:
                self.errors[f"{type(error).__name__}: {str(error)[:60]}"] += 1
                self.doubtful.add(key)
                continue
            answered = time.time()
            self.waits.append((began, time.monotonic() - began))
            if session is not None and session.is_expected(answered):
                self.expect(key, found, session.count + 1)
            self.sessions[key] = Session(found, began, ends)

    def count(self, key: str) -> None:
        self.model[key] = self.model.get(key, 0) + 1
        self.expect(key, self.client.incr(key), self.model[key])

    def push(self, key: str) -> None:
        items = self.model.setdefault(key, [])
        items.append(str(len(items)).encode())
        self.expect(key, self.client.rpush(key, items[-1]), len(items))

    def hash(self, key: str) -> None:
        fields = self.model.setdefault(key, {})
        name = f"f{self.rng.randrange(20)}".encode()
        number = int(fields.get(name, b"0")) + 1
        fields[name] = str(number).encode()
        self.expect(key, self.client.hincrby(key, name, 1), number)

    def stream(self, key: str) -> None:
        entries = self.model.setdefault(key, [])
        entries.append(self.client.xadd(key, {"n": len(entries)}))

    def score(self, key: str) -> None:
        scores = self.model.setdefault(key, {})
        member = f"m{self.rng.randrange(300)}".encode()
        scores[member] = scores.get(member, 0.0) + 1
        self.expect(key, self.client.zincrby(key, 1, member), scores[member])

    def text(self, key: str) -> None:
        self.model[key] = self.model.get(key, b"") + b"0123456789"
        self.expect(key, self.client.append(key, b"0123456789"), len(self.model[key]))

    def expire(self, key: str) -> None:
        at = FAR + self.rng.randrange(10_000_000)
        value = str(at).encode()
        self.client.set(key, value, pxat=at)
        self.model[key], self.ends[key] = value, at

    def replace(self, key: str) -> None:
        if key in self.model and self.rng.random() < 0.5:
            del self.model[key]
            self.expect(key, self.client.delete(key), 1)
        else:
            value = str(self.rng.random()).encode()
            self.client.set(key, value)
            self.model[key] = value

    def script(self, key: str) -> None:
        counter, items = f"{{{key}}}:n", f"{{{key}}}:list"
        number = self.model.get(counter, 0) + 1
        self.model[counter] = number
        self.model.setdefault(items, []).append(str(number).encode())
        self.expect(key, self.client.eval(SCRIPT, 2, counter, items, number), number)

    def together(self, key: str) -> None:
        one, other = f"{{{key}}}:a", f"{{{key}}}:b"
        number = self.model.get(one, 0) + 1
        self.model[one] = self.model[other] = number
        pipe = self.client.pipeline(transaction=True)
        pipe.incr(one)
        pipe.incr(other)
        self.expect(key, pipe.execute(), [number, number])

    def bag(self, key: str) -> None:
        members = self.model.setdefault(key, set())
        if len(members) > 20:
            popped = self.client.spop(key)
            if popped not in members:
                self.faults.append(f"{key}: {popped!r} was popped, and was not there")
            members.discard(popped)
        else:
            member = str(self.rng.random()).encode()
            members.add(member)
            self.expect(key, self.client.sadd(key, member), 1)

    def float(self, key: str) -> None:
        self.model[key] = self.model.get(key, 0.0) + 0.5
        self.expect(key, self.client.incrbyfloat(key, 0.5), self.model[key])

    def check(self, client: redis.Redis) -> list[str]:
        """What is wrong with what is there."""
        faults = list(self.faults)
        for key, wanted in self.model.items():
            if key in self.doubtful or key.removeprefix("{").partition("}")[0] in self.doubtful:
                continue
            found = read(client, key, wanted)
            if found != wanted:
                faults.append(f"{key}: {str(found)[:80]} and not {str(wanted)[:80]}")
            if key in self.ends and (end := client.pexpiretime(key)) != self.ends[key]:
                faults.append(f"{key}: ends at {end} and not {self.ends[key]}")
        return faults


def read(client: Any, key: str, wanted: Any) -> Any:
    match wanted:
        case dict() if wanted and isinstance(next(iter(wanted.values())), float):
            return dict(client.zrange(key, 0, -1, withscores=True))
        case dict():
            return client.hgetall(key)
        case set():
            return client.smembers(key)
        case list() if key.startswith("stream"):
            return [entry for entry, _ in client.xrange(key)]
        case list():
            return client.lrange(key, 0, -1)
        case float():
            return float(client.get(key))
        case int():
            return int(client.get(key) or 0)
    return client.get(key)


@dataclass
class Workload:
    writers: list[Writer]
    address: Address

    @property
    def done(self) -> int:
        return sum(writer.done for writer in self.writers)

    @property
    def errors(self) -> Counter[str]:
        return sum((writer.errors for writer in self.writers), Counter[str]())

    @property
    def faults(self) -> list[str]:
        return [fault for writer in self.writers for fault in writer.faults]

    def check(self) -> list[str]:
        client = connect(self.address)
        try:
            return [fault for writer in self.writers for fault in writer.check(client)]
        finally:
            client.close()

    def longest(self, began: float = 0.0) -> float:
        """Seconds that the slowest command took of those that ended after that moment."""
        return max(
            (took for w in self.writers for at, took in list(w.waits) if at + took >= began), default=0.0
        )


class Turning:
    """A client that asks one proxy after the other, each command the next one."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._clients = itertools.cycle([connect(address, timeout=20.0) for address in addresses])

    def __getattr__(self, name: str) -> Any:
        return getattr(next(self._clients), name)


@contextmanager
def working(*addresses: Address, writers: int = 4, seed: int = 1) -> Iterator[Workload]:
    """Write for as long as the block lasts; by turns through each of several proxies."""
    stop = threading.Event()

    def client() -> Any:
        return Turning(addresses) if len(addresses) > 1 else connect(addresses[0], timeout=20.0)

    names = [f"{seed}.{number}" for number in range(writers)]
    made = [Writer(f"w{name}", client, stop, random.Random(name)) for name in names]
    threads = [threading.Thread(target=writer.run) for writer in made]
    for thread in threads:
        thread.start()
    try:
        yield Workload(made, addresses[0])
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def fill(address: Address, count: int, size: int = 100) -> dict[str, int]:
    """Keys that nobody touches, each with an end of its own; when each ends, in milliseconds since 1970."""
    client = connect(address)
    ends = {f"still:{number}": FAR + number * 7919 % 10_000_000 for number in range(count)}
    for names in [list(ends)[at : at + 500] for at in range(0, count, 500)]:
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.set(name, name.ljust(size, "."), pxat=ends[name])
        pipe.execute()
    client.close()
    return ends


def still_faults(address: Address, ends: dict[str, int], size: int = 100) -> list[str]:
    """What is wrong with those."""
    client, faults = connect(address), []
    for names in [list(ends)[at : at + 500] for at in range(0, len(ends), 500)]:
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.get(name)
            pipe.pexpiretime(name)
        found = pipe.execute()
        for name, value, end in zip(names, found[::2], found[1::2], strict=True):
            if value != name.ljust(size, ".").encode() or end != ends[name]:
                faults.append(f"{name}: {str(value)[:30]} until {end} and not {ends[name]}")
    client.close()
    return faults
