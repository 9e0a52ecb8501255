"""Applications of all kinds, so that every panel has something to show."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.fixtures.clients import Wire
from tests.fixtures.proxy import Proxy

PASSWORD = "app-secret"
Round = Callable[[Proxy, threading.Event], None]
PAUSE = 0.05  # seconds between rounds: the machine has others to serve
ACCESS: dict[str, Any] = {
    "users": [
        {
            "name": "app",
            "passwords": [{"sha256": hashlib.sha256(PASSWORD.encode()).hexdigest()}],
            "rules": "~* &* +@all -@admin",
        }
    ]
}


def client_of(proxy: Proxy, password: str = PASSWORD, **options: Any) -> redis.Redis:
    """A client of the cluster `main`."""
    return redis.Redis(
        proxy.host,
        proxy.port,
        username="app",
        password=password,
        socket_timeout=3.0,
        retry=Retry(NoBackoff(), 0),
        **options,
    )


def login(wire: Wire) -> Wire:
    """The bare connection as the application's."""
    wire.ask("HELLO", 3, "AUTH", "app", PASSWORD)
    return wire


@contextmanager
def load(proxy: Proxy) -> Iterator[None]:
    """Keep asking, in threads, until left. Errors are what some of it is for."""
    ended = threading.Event()
    rounds: tuple[Callable[[Proxy, threading.Event], None], ...] = (
        _reads_and_writes,
        _waits,
        _pages,
        _strays,
    )
    threads = [threading.Thread(target=one, args=(proxy, ended), daemon=True) for one in rounds]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _reads_and_writes(proxy: Proxy, ended: threading.Event) -> None:
    client = client_of(proxy)
    number = 0
    while not ended.wait(PAUSE):
        number += 1
        try:
            client.set(f"key:{number % 100}", "x" * 100)
            client.get(f"key:{number % 100}")
            client.get("absent")
            client.get("near:page")
            client.mget("key:1", "key:2", "key:3")
            client.publish("news", "something")
            client.get(f"user:{number % 30}")
            client.set(f"user:{1 + number % 10}", '{"name": "ann", "email": "a@example.com"}')
            client.incr("count")
        except redis.RedisError:
            client.close()
    client.close()


def _waits(proxy: Proxy, ended: threading.Event) -> None:
    """A subscriber, one that tracks, and one that waits for a list, each on its connection."""
    listener, tracker, waiter = (login(Wire(proxy.address())) for _ in range(3))
    listener.ask("SUBSCRIBE", "news")
    tracker.ask("CLIENT", "TRACKING", "ON")
    tracker.ask("GET", "key:1")
    waiter.send_command("BLPOP", "nothing", 0)
    ended.wait()
    for wire in (listener, tracker, waiter):
        wire.close()


def _pages(proxy: Proxy, ended: threading.Event) -> None:
    """A client of memcached that connects again when it was told of trouble."""
    number = 0
    while not ended.is_set():
        with suppress(OSError), closing(Wire(proxy.address(cluster="pages"), timeout=3.0)) as wire:
            while not ended.wait(PAUSE):
                number = (number + 1) % 50
                wire.send(b"set page:%d 0 0 4\r\nsome\r\nget page:%d\r\nget absent\r\n" % (number, number))
                expected = b"STORED\r\nVALUE page:%d 0 4\r\nsome\r\nEND\r\nEND\r\n" % number
                if wire.read(len(expected)) != expected:
                    break
        ended.wait(PAUSE)


def _strays(proxy: Proxy, ended: threading.Event) -> None:
    """Now and then somebody with a wrong password, and somebody who asks for what does not exist."""
    while not ended.wait(80 * PAUSE):
        for password in ("wrong", PASSWORD):
            with suppress(redis.RedisError), client_of(proxy, password) as client:
                client.lpush("key:1", "of another type")
