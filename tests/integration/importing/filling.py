"""Keys of every type for tests of restores and imports, and clients that keep writing."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from tests.fixtures.proxy import Proxy

BIG = 2000  # elements: no small encoding
HOUR = 3_600_000  # milliseconds
LIBRARY = """#!lua name=counting
redis.register_function('twice', function(keys, args) return 2 * tonumber(args[1]) end)
"""


def fill(client: Any, many: int = 2000) -> None:
    """Keys of every type, small and large, some with a time to live."""
    now = int(time.time() * 1000)
    for number in range(many):
        client.set(
            f"s:{number}",
            f"value {number} " * (number % 5 + 1),
            pxat=now + HOUR + number if number % 3 else None,
        )
    client.set("s:large", b"\x00\xff" * 400_000)
    fill_collections(client, BIG, 300)


def fill_collections(client: Any, big: int, entries: int) -> None:
    """One of each type with 5 elements and one with so many; of streams so many entries at most."""
    for size, name in ((5, "small"), (big, "large")):
        client.rpush(f"l:{name}", *range(size))
        client.sadd(f"m:{name}", *(f"m{n}" for n in range(size)))
        client.sadd(f"i:{name}", *range(size))
        client.zadd(f"z:{name}", {f"m{n}": n / 7 for n in range(size)})
        client.hset(f"h:{name}", mapping={f"f{n}": f"v{n}" * 3 for n in range(size)})
        for number in range(1, min(size, entries) + 1):
            client.xadd(f"x:{name}", {"n": number}, id=f"{number}-1")
        client.xgroup_create(f"x:{name}", "readers", id="0")
        client.xreadgroup("readers", "one", {f"x:{name}": ">"}, count=2)


class Writers:
    """Clients that write until they are stopped; `acknowledged` counts what they were told is done."""

    def __init__(self, connect: Callable[[], Any], count: int = 3) -> None:
        self.acknowledged = [0] * count
        self.errors: list[str] = []
        self._connect = connect
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(number,), daemon=True) for number in range(count)
        ]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    @property
    def total(self) -> int:
        return sum(self.acknowledged)

    def _write(self, number: int) -> None:
        chance, client = random.Random(number), self._connect()
        while not self._stop.is_set():
            try:
                self._step(client, number, chance)
                self.acknowledged[number] += 1
            except (RedisError, OSError) as error:  # the old one fails over: nobody counts on that write
                self.errors.append(str(error))
                time.sleep(0.05)
        client.close()

    def _step(self, client: Any, number: int, chance: random.Random) -> None:
        key = chance.randrange(300)
        match chance.randrange(9):
            case 0:
                client.incr(f"c:{number}:{key}")
            case 1:
                client.rpush(f"q:{number}:{key % 20}", self.acknowledged[number])
            case 2:
                client.hincrby(f"hh:{number}", f"f{key}", 1)
            case 3:
                client.zincrby("zz", 1, f"m{key}")
            case 4:
                client.set(f"t:{number}:{key}", key, px=chance.randrange(200, 60_000))
            case 5:
                client.delete(f"c:{number}:{key}")
            case 6:
                client.xadd(f"xx:{number}", {"k": key}, maxlen=200)
            case 7:
                client.set(f"session:{number}:{key % 30}", key, px=1500)  # slides: shorter than an import
            case _:
                client.lpop(f"q:{number}:{key % 20}")


def admin(proxy: Proxy) -> tuple[str, str]:
    """How a command is told which proxy to ask."""
    return "--admin", proxy.admin.removeprefix("http://")


def open_to_jobs(config: Any) -> Any:
    """The same, whose jobs may name any file."""
    return {**config, "jobs": {"places": ["/"], "secrets": ["/"]}}
