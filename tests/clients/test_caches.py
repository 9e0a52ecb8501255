"""Caches of client libraries: redis-py is told on the connection it reads on, coredis on another one.

(Jedis and Lettuce need a Java machine, which the tests do not have.)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import coredis
import pytest
import redis
import trio
from coredis.patterns.cache import LRUCache
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

from tests.fixtures.clients import TIMEOUT
from tests.fixtures.proxy import Proxy, wait_until

KEYS = [f"k:{n}" for n in range(30)]


@pytest.fixture
def cached(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    monkeypatch.setattr(CacheProxyConnection, "MIN_ALLOWED_VERSION", "6.0.0")  # it asks for 7.4
    where = {"host": proxy.host, "port": proxy.port, "protocol": 3, "socket_timeout": TIMEOUT}
    client = redis.Redis(**where, cache_config=CacheConfig(max_size=100))  # type: ignore[arg-type]
    yield client
    client.close()


def gets(proxy: Proxy) -> float:
    of_get = (
        value for name, value in proxy.metrics().items() if 'command="get"' in name and "_total" in name
    )
    return sum(of_get)


def test_redis_py_keeps_what_it_has_read_until_it_changes(cached: redis.Redis, proxy: Proxy) -> None:
    with redis.Redis(proxy.host, proxy.port) as writer:
        for key in KEYS:
            writer.set(key, "old")
            assert cached.get(key) == b"old"
        before = gets(proxy)
        for _ in range(3):
            assert [cached.get(key) for key in KEYS] == [b"old"] * len(KEYS)
        assert gets(proxy) == before  # nothing was asked
        for key in KEYS:
            writer.set(key, "new")
        wait_until(lambda: all(cached.get(key) == b"new" for key in KEYS), "it has heard")
        writer.flushall()
        wait_until(lambda: all(cached.get(key) is None for key in KEYS), "it has heard of the flush")


def test_redis_py_keeps_nothing_old_while_others_write(cached: redis.Redis, proxy: Proxy) -> None:
    is_over = threading.Event()

    def write() -> None:
        with redis.Redis(proxy.host, proxy.port) as writer:
            count = 0
            while not is_over.is_set():
                count += 1
                writer.set(KEYS[count % len(KEYS)], count)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        for _ in range(100):
            for key in KEYS[:10]:
                cached.get(key)
    finally:
        is_over.set()
        writing.join()
    with redis.Redis(proxy.host, proxy.port) as other:
        wait_until(lambda: [cached.get(key) for key in KEYS] == other.mget(KEYS), "all is as it is")


async def test_coredis_keeps_what_it_has_read_until_it_changes(proxy: Proxy) -> None:
    cache = LRUCache(max_keys=100)
    client: coredis.Redis[str] = coredis.Redis(
        host=proxy.host, port=proxy.port, decode_responses=True, cache=cache
    )
    writer: coredis.Redis[str] = coredis.Redis(host=proxy.host, port=proxy.port, decode_responses=True)
    with trio.fail_after(30):
        async with client, writer:
            for key in KEYS:
                await writer.set(key, "old")
                assert await client.get(key) == "old"
            before = gets(proxy)
            for key in KEYS:
                assert await client.get(key) == "old"
            assert gets(proxy) - before < len(KEYS)
            for key in KEYS:
                await writer.set(key, "new")
            while [await client.get(key) for key in KEYS] != ["new"] * len(KEYS):
                await trio.lowlevel.checkpoint()
