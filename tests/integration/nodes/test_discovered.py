"""A pool of all addresses that a DNS name leads to, as they come and go."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shardproxy.fleet import free_port
from tests.fixtures.named import takes_root, wait_until
from tests.fixtures.proxy import Proxy, StartProxy

pytestmark = takes_root


@pytest.fixture
def memcached(tmp_path: Path) -> Iterator[int]:
    """The port of three of them, at 127.0.0.2 and what follows."""
    port = free_port()
    with ExitStack() as stack:
        for number in range(3):
            command = ["memcached", "-u", "root", "-l", f"127.0.0.{number + 2}", "-p", str(port)]
            engine = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=tmp_path)
            stack.callback(engine.wait)
            stack.callback(engine.kill)
        yield port


def nodes(proxy: Proxy) -> list[str]:
    status = json.loads(proxy.get("/api/topology")[1])
    (cluster,) = status["clusters"].values() if isinstance(status["clusters"], dict) else status["clusters"]
    return [node["address"].rpartition(":")[0] for shard in cluster["shards"] for node in shard["nodes"]]


def test_a_pool_has_the_addresses_of_a_name(
    memcached: int, hosts: Path, under: tuple[str, ...], start_proxy: StartProxy
) -> None:
    hosts.write_text("127.0.0.2 pool\n127.0.0.3 pool\n")
    pool = {"engine": "memcached", "discover": {"dns": {"name": "pool", "port": memcached}, "keep": "4s"}}
    proxy = start_proxy({"clusters": {"pages": pool}}, under=under)
    assert nodes(proxy) == ["127.0.0.2", "127.0.0.3"]
    hosts.write_text("127.0.0.3 pool\n127.0.0.4 pool\n")
    wait_until(lambda: nodes(proxy) == ["127.0.0.2", "127.0.0.3", "127.0.0.4"])  # at once, and kept
    wait_until(lambda: nodes(proxy) == ["127.0.0.3", "127.0.0.4"])
