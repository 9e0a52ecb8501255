"""A new process takes over from a running one, under load: whoever is served notices nothing."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import pymemcache
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shardproxy.fleet import Fleet
from shardproxy.model import Engine
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, cluster_of, wait_until

ROUNDS = 2  # the second takes over from one that has taken over
CLIENTS = 3  # threads of each kind
PAUSE = 0.001  # seconds between requests of one: most of its connections are idle at any moment


class Load:
    """Threads that work without a break until the block ends; their errors."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.done: dict[str, int] = {}
        self._ends = threading.Event()
        self._threads: list[threading.Thread] = []
        self.left = ExitStack()  # to be closed

    def add(self, kind: str, step: Callable[[int], None], count: int = CLIENTS) -> None:
        """`step` is called again and again, with a number that no other call gets."""
        self.done.setdefault(kind, 0)
        lock = threading.Lock()

        def work(first: int) -> None:
            number = first
            while not self._ends.is_set():
                try:
                    step(number)
                except Exception as error:  # noqa: BLE001  # whatever a client may see
                    self.errors.append(f"{kind}: {error!r}")
                with lock:
                    self.done[kind] += 1
                number += count
                time.sleep(PAUSE)

        for first in range(count):
            self._threads.append(threading.Thread(target=work, args=(first,), daemon=True))
            self._threads[-1].start()

    def wait_more(self) -> None:
        """Each kind does some work from now on."""
        before = dict(self.done)
        wait_until(
            lambda: all(self.done[kind] > before[kind] + 20 for kind in before), "all go on", timeout=60
        )

    def end(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"
        self.left.close()


@contextmanager
def load() -> Iterator[Load]:
    running = Load()
    try:
        yield running
    finally:
        running.end()


@pytest.fixture(scope="module")
def caches(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=2, replicas=0, engine=Engine.MEMCACHED)


@pytest.fixture(scope="module")
def proxy(session_fleet: Fleet, caches: Fleet, start_proxy_for_module: StartProxy) -> Proxy:
    """One for many tests: whatever is tried, a process serves afterwards."""
    return over(session_fleet, caches, start_proxy_for_module)


def over(engines: Fleet, caches: Fleet, start_proxy: StartProxy) -> Proxy:
    config = {
        "workers": 2,
        "timeouts": {"drain": "2s"},
        "clusters": {"main": cluster_of(engines), "cache": cluster_of(caches)},
    }
    return start_proxy(config)


def no_retries() -> Retry:
    return Retry(NoBackoff(), 0)


def redis_step(proxy: Proxy, left: ExitStack) -> Callable[[int], None]:
    """Through a pool that retries nothing; each value is written and read back."""
    client = redis.Redis(host=proxy.host, port=proxy.port, retry=no_retries(), socket_timeout=10)
    left.callback(client.close)

    def step(number: int) -> None:
        key = f"key {number}"
        assert client.set(key, number) is True
        assert client.get(key) == str(number).encode()
        with client.pipeline(transaction=True) as pipe:
            pipe.incr(key)
            pipe.delete(key)
            assert pipe.execute() == [number + 1, 1]

    return step


def fresh_step(proxy: Proxy) -> Callable[[int], None]:
    """A new connection for each request."""

    def step(number: int) -> None:
        client = Wire(proxy.address("configuration", "main"))
        try:
            assert client.ask("ECHO", number) == str(number).encode()
        finally:
            client.close()

    return step


def memcached_step(proxy: Proxy, left: ExitStack) -> Callable[[int], None]:
    """pymemcache's pool notices no connection that was closed: it would fail at its next use."""
    address = proxy.address("configuration", "cache")
    pool = pymemcache.PooledClient(
        (address.host, address.port), max_pool_size=CLIENTS, timeout=10, connect_timeout=10
    )

    left.callback(pool.close)

    def step(number: int) -> None:
        assert pool.set(f"key{number}", str(number), noreply=False)
        assert pool.get(f"key{number}") == str(number).encode()

    return step


def test_pools_notice_nothing(proxy: Proxy) -> None:
    with load() as running:
        running.add("redis-py", redis_step(proxy, running.left))
        running.add("pymemcache", memcached_step(proxy, running.left))
        running.add("new connections", fresh_step(proxy))
        running.wait_more()
        pids = {proxy.pid}
        for _ in range(ROUNDS):
            proxy.take_over()
            pids.add(proxy.pid)
            running.wait_more()
    assert running.errors == []
    assert len(pids) == ROUNDS + 1
    assert json.loads(proxy.get("/api/status")[1])["store"]["leaders"]["main"], "and somebody leads"


def test_an_idle_client_is_the_same_before_and_after(proxy: Proxy) -> None:
    client = redis.Redis(
        host=proxy.host, port=proxy.port, protocol=3, client_name="me", single_connection_client=True
    )
    client.set("key", "value")
    own = client.connection._sock.getsockname()  # type: ignore[union-attr]
    proxy.take_over()
    assert client.get("key") == b"value"
    assert client.client_getname() == b"me"
    assert client.connection._sock.getsockname() == own, "it is the same connection"  # type: ignore[union-attr]
    client.close()


def test_who_listens_or_waits_stays_with_the_old_one_until_it_ends(proxy: Proxy) -> None:
    """They are told by the end of their connection: neither protocol has another word for it."""
    listener, waiting, publisher = (Wire(proxy.address("configuration", "main")) for _ in range(3))
    assert listener.ask("SUBSCRIBE", "news") == [b"subscribe", b"news", 1]
    waiting.send_command("BLPOP", "jobs", 0)
    heard = threading.Thread(target=proxy.take_over)
    drained = proxy.log().count("draining")
    heard.start()
    wait_until(lambda: proxy.log().count("draining") > drained, "the old one drains", timeout=60)
    assert publisher.ask("PUBLISH", "news", "last") in (0, 1)
    assert listener.reply() == [b"message", b"news", b"last"]
    for client in (listener, waiting):
        with pytest.raises(EOFError):
            client.reply()
    heard.join()
    assert publisher.ask("LPUSH", "jobs", "job") == 1, "nobody has taken a job that nobody got"
    for client in (listener, waiting, publisher):
        client.close()


def test_without_a_process_before_it_is_an_ordinary_start(fleet: Fleet, start_proxy: StartProxy) -> None:
    proxy = start_proxy({"clusters": {"main": cluster_of(fleet)}}, args=("--takeover",))
    with closing(Wire(proxy.address())) as client:
        assert client.ask("PING") == b"PONG"


def test_a_second_start_is_refused_as_ever(proxy: Proxy) -> None:
    second = proxy._spawn()
    assert second.wait(60) == 1
    assert "in use" in proxy.log()
    assert proxy.get("/readyz")[0] == 200


def test_one_that_cannot_start_leaves_the_other_as_it_was(proxy: Proxy) -> None:
    client = Wire(proxy.address("configuration", "main"))
    assert client.ask("SET", "key", "1") == b"OK"
    whole = proxy.file.read_text()
    broken = json.loads(whole)
    broken["clusters"]["main"]["shards"] = broken["clusters"]["main"]["shards"][:1]
    proxy.file.write_text(json.dumps(broken))
    second = proxy._spawn("--takeover")
    assert second.wait(60) == 1, proxy.log()
    proxy.file.write_text(whole)
    assert client.ask("GET", "key") == b"1"
    assert proxy.get("/readyz")[0] == 200
    proxy.take_over()
    assert client.ask("GET", "key") == b"1"
    client.close()


def test_the_next_one_fails_over(start_fleet: StartFleet, caches: Fleet, start_proxy: StartProxy) -> None:
    engines = start_fleet(shards=1, replicas=1)
    proxy = over(engines, caches, start_proxy)
    client = redis.Redis(host=proxy.host, port=proxy.port, retry=no_retries(), socket_timeout=10)
    client.set("a", "1")
    proxy.take_over()
    engines.shards[0].primary.kill()
    wait_until(lambda: written(client), "the replica has taken over", timeout=30)
    client.close()


def written(client: redis.Redis) -> bool:
    try:
        return bool(client.set("a", "2"))
    except redis.RedisError:
        return False


def test_only_the_same_user_may_ask(proxy: Proxy) -> None:
    (path,) = (proxy.directory / "state").rglob("*.handover")
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(path))
        other.sendall(b'{"takeover": 99, "member": "x"}\n')
        assert b"refused" in other.recv(1000)
    assert proxy.get("/readyz")[0] == 200
