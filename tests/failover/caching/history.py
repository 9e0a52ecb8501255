"""What writers were told and readers have seen, and what of it may not be.

Each key has one writer, which makes versions of it: 1, 2, 3 ... Each is a value, its number, or a deletion.

    begun     the last version that may be anywhere
    told      the last one that was acknowledged: who begins to read later sees it, or a later one
    refused   versions of which a client heard that they were not written: nobody may ever see one
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from shardproxy.model import Address
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.proxy import wait_until

PAUSE = 0.004  # seconds between an application's requests
TIMEOUT = 20.0  # seconds; longer than a proxy has anybody wait
DELETES = 5  # each so manieth version is a deletion
NOT_DONE = ("ERR LOADER", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN")
Seen = bytes | None
Write = Callable[[str, int | None], None]


def value_of(version: int) -> int | None:
    """None: it is a deletion."""
    return None if version % DELETES == 0 else version


@dataclass(eq=False)
class Key:
    """One key, with who may be asked for it; `write` makes a version beside the proxies."""

    name: str
    ways: Sequence[Address]
    write: Write | None = None
    pause: float = PAUSE  # seconds between its versions
    begun: int = 0
    told: int = 0
    acks: int = 0
    reads: int = 0
    refused: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)

    def may_be(self, seen: Seen, told: int, begun: int) -> bool:
        """Whether one may see that who began to read when `told` was, and ended when `begun` was."""
        if seen is not None:
            return told <= int(seen) <= begun and value_of(int(seen)) is not None
        return told == 0 or any(value_of(version) is None for version in range(told, begun + 1))


@dataclass(eq=False)
class History:
    """Of some keys; `run` has it made."""

    keys: Sequence[Key]
    faults: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)  # of writes, by the kind of key
    reasons: Counter[str] = field(default_factory=Counter)  # what clients heard or met with, reads too
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def run(self, readers: int = 1) -> Iterator[History]:
        """Write and read for as long as the block lasts; `readers` of each key and way."""
        threads = [threading.Thread(target=self._write, args=(key,)) for key in self.keys]
        threads += [
            threading.Thread(target=self._read, args=(key, way))
            for key in self.keys
            for way in key.ways
            for _ in range(readers)
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def wait_more(self, *kinds: str, writes: int = 10, reads: int = 20, timeout: int = 40) -> None:
        """Wait until so many more versions were acknowledged, and read, of each key of these kinds."""
        keys = [key for key in self.keys if not kinds or key.name.split(":")[0] in kinds]
        wanted = [(key, key.acks + writes, key.reads + reads) for key in keys]

        def lacking() -> list[str]:
            return [key.name for key, acks, reads in wanted if key.acks < acks or key.reads < reads]

        wait_until(
            lambda: self.faults or not lacking(),
            lambda: f"more of {lacking()}; {dict(self.reasons)}",
            timeout=timeout,
        )
        assert self.faults == [], "\n".join(self.faults)

    def wait_errors(self, kind: str, more: int = 2) -> None:
        """Wait until so many more requests of that kind of keys have failed."""
        wanted = self.errors[kind] + more
        wait_until(lambda: self.errors[kind] >= wanted, f"{kind} fails", timeout=40)

    def check(self) -> None:
        """What was seen while it ran."""
        faults = list(self.faults)
        for key in self.keys:
            if wrong := key.seen & key.refused:
                faults.append(f"{key.name}: {sorted(wrong)[:5]} were seen, and not written")
        assert faults == []

    def _write(self, key: Key) -> None:
        with Clients(key.ways) as clients:
            while not self._stop.wait(key.pause):
                key.begun += 1
                version = key.begun
                try:
                    if key.write is not None:
                        key.write(key.name, value_of(version))
                        reply: Any = b"OK"
                    else:
                        value = value_of(version)
                        words = ("DEL", key.name) if value is None else ("SET", key.name, value)
                        reply = clients.ask(random.choice(key.ways), *words)
                except Exception as error:  # noqa: BLE001  # whatever was lost: it may have been written
                    reply = error
                    self._stop.wait(10 * PAUSE)
                if reply == b"OK" or isinstance(reply, int):
                    key.told = version
                    key.acks += 1
                    continue
                self.errors[key.name.split(":")[0]] += 1
                self._note("write", key, reply)
                if isinstance(reply, ReplyError) and str(reply).startswith(NOT_DONE):
                    key.refused.add(version)

    def _read(self, key: Key, way: Address) -> None:
        with Clients((way,)) as clients:
            while not self._stop.wait(PAUSE):
                told = 0 if key.write is not None else key.told
                try:
                    seen = clients.ask(way, "GET", key.name)
                except (OSError, EOFError) as error:
                    self._note("read", key, error)
                    self._stop.wait(10 * PAUSE)
                    continue
                if isinstance(seen, ReplyError):
                    self._note("read", key, seen)
                    continue
                begun = key.begun
                if not key.may_be(seen, told, begun):
                    self.faults.append(
                        f"{key.name} was {seen!r} at {way} after {told} was told; {begun} begun"
                    )
                key.reads += 1
                if seen is not None:
                    key.seen.add(int(seen))

    def _note(self, what: str, key: Key, why: object) -> None:
        self.reasons[f"{what} {key.name}: {type(why).__name__} {why}"] += 1


class Clients:
    """A connection to each way, opened when it is needed, again after its end."""

    def __init__(self, ways: Sequence[Address]) -> None:
        self._open: dict[Address, Wire] = {}

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *error: object) -> None:
        for wire in self._open.values():
            wire.close()

    def ask(self, way: Address, *words: str | int) -> Any:
        """Raise OSError or EOFError."""
        wire = self._open.get(way)
        if wire is None:
            wire = self._open[way] = Wire(way, TIMEOUT)
        try:
            return wire.ask(*words)
        except (OSError, EOFError):
            with suppress(OSError):
                self._open.pop(way).close()
            raise


def settled(address: Address, name: str, row: Callable[[str], str | None], timeout: float = 40) -> Seen:
    """Wait until a proxy shows what the database has, and see it stay so."""
    with Clients((address,)) as clients:

        def ask() -> Any:
            with suppress(OSError, EOFError):
                return clients.ask(address, "GET", name)
            return EOFError()

        def text() -> Seen:
            found = row(name)
            return None if found is None else found.encode()

        wait_until(
            lambda: ask() == text(), lambda: f"{name}: {ask()!r}, and the row is {text()!r}", timeout=timeout
        )
        for _ in range(20):
            assert ask() == text(), name
            time.sleep(PAUSE)
        return text()
