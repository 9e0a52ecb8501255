"""A node named by DNS name is the same node at whatever address its name leads to: a pod that comes back elsewhere.

The proxy has a hosts file of its own, in a mount namespace, which the test writes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from shardproxy.fleet import free_port
from tests.fixtures.proxy import StartProxy

WITHIN = 15.0  # seconds, on a busy machine

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="a mount namespace takes root"
)


class Engines:
    """Engines at addresses of the loopback range, as pods have theirs."""

    def __init__(self, directory: Path, under: tuple[str, ...]) -> None:
        self._directory = directory
        self._under = under
        self._stack = ExitStack()

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def start(self, host: str, port: int, *options: str) -> subprocess.Popen[bytes]:
        home = self._directory / host
        home.mkdir()
        command = ["redis-server", "--bind", host, "--port", str(port), "--save", "", "--dir", str(home)]
        engine = subprocess.Popen(
            [*self._under, *command, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        self._stack.callback(engine.wait)
        self._stack.callback(engine.kill)
        with redis.Redis(host, port) as client:
            wait(lambda: client.ping() is True)
        return engine


def wait(holds: Callable[[], bool], within: float = WITHIN) -> None:
    deadline = time.monotonic() + within
    while True:
        try:
            if holds():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lead(hosts: Path, **names: str) -> None:
    """Let names lead to these addresses, in the same file: it is mounted."""
    hosts.write_text("".join(f"{address} {name.replace('_', '-')}\n" for name, address in names.items()))


@pytest.fixture
def engines(tmp_path: Path, under: tuple[str, ...]) -> Iterator[Engines]:
    with Engines(tmp_path, under) as engines:
        yield engines


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.touch()
    return path


@pytest.fixture
def under(hosts: Path) -> tuple[str, ...]:
    """Has a program find names in that file."""
    return ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts))


def test_a_node_that_moves_is_reached_where_its_name_leads(
    engines: Engines, hosts: Path, start_proxy: StartProxy, under: tuple[str, ...]
) -> None:
    port = free_port()
    first = engines.start("127.0.0.2", port)
    lead(hosts, redis_0="127.0.0.2")
    shards = [{"nodes": [f"redis-0:{port}"]}]
    proxy = start_proxy({"clusters": {"one": {"engine": "redis", "shards": shards}}}, under=under)
    with redis.Redis(proxy.host, proxy.port) as client:
        client.set("k", "first")
        engines.start("127.0.0.3", port)
        lead(hosts, redis_0="127.0.0.3")
        first.kill()
        wait(lambda: client.set("k", "second") is True)
        with redis.Redis("127.0.0.3", port) as moved:
            assert moved.get("k") == b"second"


def test_a_replica_that_moves_is_the_same_replica(
    engines: Engines, hosts: Path, start_proxy: StartProxy, under: tuple[str, ...]
) -> None:
    port = free_port()
    alone = ("--replicaof", "127.0.0.1 1", "--repl-diskless-sync-delay", "0")
    engines.start("127.0.0.2", port, *alone)
    second = engines.start("127.0.0.3", port, *alone)
    lead(hosts, redis_0="127.0.0.2", redis_1="127.0.0.3")
    with redis.Redis("127.0.0.2", port) as primary:
        primary.replicaof("NO", "ONE")
    with redis.Redis("127.0.0.3", port) as replica:
        replica.replicaof("127.0.0.2", port)
    shards = [{"nodes": [f"redis-0:{port}", f"redis-1:{port}"]}]
    proxy = start_proxy({"clusters": {"one": {"engine": "redis", "shards": shards}}}, under=under)
    with redis.Redis(proxy.host, proxy.port) as client:
        wait(lambda: client.set("k", "v") is True)
        second.kill()
        engines.start("127.0.0.4", port, *alone)
        lead(hosts, redis_0="127.0.0.2", redis_1="127.0.0.4")
        with redis.Redis("127.0.0.4", port) as moved:
            wait(lambda: moved.info("replication")["master_link_status"] == "up", within=30)
            assert moved.get("k") == b"v"
