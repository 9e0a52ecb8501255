"""pymemcache's clients, as applications use them. Refused: cache_memlimit, which concerns one node."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pymemcache import serde
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheClientError, MemcacheIllegalInputError, MemcacheServerError

from tests.integration.memcached.conftest import Pool

AnyClient = Any  # one of KINDS; pymemcache has no types
Connect = Callable[..., AnyClient]
KINDS = {"plain": Client, "pooled": PooledClient, "hashing": HashClient}


@pytest.fixture(params=KINDS)
def connect(request: pytest.FixtureRequest, pool: Pool) -> Iterator[Connect]:
    """Open clients of one kind, closed with the test."""
    with ExitStack() as stack:

        def open_client(**options: Any) -> AnyClient:
            server: Any = (pool.proxy.host, pool.proxy.port)
            kind = KINDS[request.param]
            client = kind([server] if kind is HashClient else server, timeout=10, **options)
            stack.callback(client.close)
            return client

        yield open_client


def test_values_are_stored_and_read(connect: Connect) -> None:
    client = connect(default_noreply=False)
    assert client.set("a", b"1") is True
    assert client.get("a") == b"1"
    assert client.get("none", b"default") == b"default"
    assert client.add("a", b"2") is False
    assert client.replace("a", b"3") is True
    assert client.append("a", b"4") is True
    assert client.prepend("a", b"2") is True
    assert client.get("a") == b"234"
    assert client.delete("a") is True
    assert client.delete("a") is False
    assert client.touch("a") is False


def test_many_values_are_stored_and_read(connect: Connect) -> None:
    client = connect(default_noreply=False)
    values = {f"many:{i}": b"%d" % i * (i % 50) for i in range(500)}
    assert client.set_many(values) == []
    assert client.get_many([*values, "none"]) == values
    assert {key: value for key, (value, _) in client.gets_many(list(values)).items()} == values
    assert client.delete_many(list(values)) is True
    assert client.get_many(list(values)) == {}


def test_cas_protects_from_others(connect: Connect) -> None:
    client = connect(default_noreply=False)
    client.set("a", b"1")
    _, unique = client.gets("a")
    assert client.cas("a", b"2", unique) is True
    assert client.cas("a", b"3", unique) is False
    assert client.cas("none", b"3", unique) is None


def test_counters_count(connect: Connect) -> None:
    client = connect(default_noreply=False)
    assert client.incr("n", 1) is None
    client.set("n", b"10")
    assert client.incr("n", 5) == 15
    assert client.decr("n", 100) == 0
    client.set("s", b"x")
    with pytest.raises(MemcacheClientError):
        client.incr("s", 1)


def test_without_replies_the_order_is_kept(connect: Connect) -> None:
    client = connect()  # noreply is its default
    for i in range(500):
        client.set("a", b"%d" % i)
        client.set(f"a:{i}", b"x")
    assert client.get("a") == b"499"
    client.delete("a")
    assert client.get("a") is None


def test_bad_keys_do_not_leave_the_client(connect: Connect) -> None:
    client = connect(default_noreply=False)
    for key in ("with space", "x" * 251, "a\r\nb"):
        with pytest.raises(MemcacheIllegalInputError):
            client.set(key, b"1")
    with pytest.raises(MemcacheServerError):
        client.set("large", b"x" * 2_000_000)
    assert client.set("a", b"1") is True


def test_values_may_be_objects(connect: Connect) -> None:
    client = connect(serde=serde.compressed_serde, default_noreply=False)
    for value in ("text", 12, [1, {"a": None}], b"\r\nEND\r\n" * 1000):
        client.set("a", value)
        assert client.get("a") == value


def test_a_prefix_goes_before_keys(connect: Connect) -> None:
    client = connect(key_prefix=b"app:", default_noreply=False)
    client.set_many({f"{i}": b"x" for i in range(20)})
    assert len(client.get_many([f"{i}" for i in range(20)])) == 20
    assert connect().get("app:7") == b"x"


def test_the_server_tells_of_itself(pool: Pool) -> None:
    with ExitStack() as stack:
        client = Client((pool.proxy.host, pool.proxy.port))
        stack.callback(client.close)
        assert client.version().startswith(b"1.6.")
        assert client.stats()[b"limit_maxbytes"] == 3 * 64 << 20
        assert client.flush_all(noreply=False) is True
        assert client.raw_command("mn") == b"MN"
        assert client.raw_command("config get cluster", end_tokens=b"\n\r\nEND\r\n").startswith(
            b"CONFIG cluster 0 "
        )


def test_threads_share_a_pool(pool: Pool) -> None:
    client = PooledClient(
        (pool.proxy.host, pool.proxy.port), max_pool_size=8, timeout=10, default_noreply=False
    )
    wrong: list[str] = []

    def work(number: int) -> None:
        for i in range(200):
            key, value = f"t{number}:{i}", b"%d:%d" % (number, i)
            client.set(key, value)
            if client.get(key) != value:
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert wrong == []
