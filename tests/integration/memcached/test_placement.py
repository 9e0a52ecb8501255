"""Thousands of keys stand where the reference puts them; pymemcache, twemproxy, libmemcached run for real."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient
from ruamel.yaml import YAML

from shardproxy.config.nutcracker import import_nutcracker
from shardproxy.fleet import Fleet, free_port
from shardproxy.fleet.node import EngineNode
from shardproxy.model import Engine
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

KEYS = [f"user:{i}:profile" for i in range(1000)] + [f"{i * 2654435761 % (1 << 32):08x}" for i in range(1000)]
NODES = 4
UNWEIGHTED = "ketama-libmemcached-unweighted"
HASHES = (
    *("one_at_a_time", "md5", "crc16", "crc32", "crc32a", "fnv1_64"),
    *("fnv1a_64", "fnv1_32", "fnv1a_32", "murmur", "jenkins"),
)


@pytest.fixture(scope="module")
def fleet(start_fleet_for_module: Callable[..., Fleet]) -> Fleet:
    return start_fleet_for_module(shards=NODES, replicas=0, engine=Engine.MEMCACHED)


def client_of(host: str, port: int) -> Client:
    return Client((host, port), timeout=10)


def write(client: Any, keys: Sequence[str] = KEYS) -> None:
    assert client.set_many(dict.fromkeys(keys, b"1"), noreply=False) == []
    client.close()


def layout(fleet: Fleet) -> list[set[str]]:
    """What every node has; then it has nothing."""
    found = []
    for node in fleet.nodes:
        client = client_of(node.address.host, node.address.port)
        found.append({key.decode() for key in client.get_many([key.encode() for key in KEYS])})
        client.flush_all(noreply=False)
        client.close()
    return found


def ours(start_proxy: StartProxy, fleet: Fleet, **options: Any) -> list[set[str]]:
    proxy = start_proxy(config_of(fleet, workers=1, **options))
    write(client_of(proxy.host, proxy.port))
    return layout(fleet)


def test_pymemcache_finds_its_keys(start_proxy: StartProxy, fleet: Fleet) -> None:
    client = HashClient([(node.address.host, node.address.port) for node in fleet.nodes])
    for key in KEYS:
        client.set(key, b"1", noreply=False)
    client.close()
    theirs = layout(fleet)
    assert all(theirs)
    assert ours(start_proxy, fleet, hashing="rendezvous") == theirs


POOLS = {
    **{f"ketama {name}": f"  hash: {name}\n  distribution: ketama\n" for name in HASHES},
    **{
        f"modula {name}": f"  hash: {name}\n  distribution: modula\n" for name in ("fnv1a_64", "md5", "crc32")
    },
    "defaults": "",
    "hash tag": '  hash_tag: "::"\n',
    "weights": "weights",
    "modula with weights": "  distribution: modula\nweights",
    "names": "names",
}


@pytest.mark.parametrize("case", POOLS)
def test_twemproxy_finds_its_keys(start_proxy: StartProxy, fleet: Fleet, tmp_path: Path, case: str) -> None:
    settings = POOLS[case]
    port = free_port()
    lines = []
    for i, node in enumerate(fleet.nodes):
        weight = i * i + 1 if "weights" in settings else 1
        name = f" cache-{i}" if "names" in settings else ""
        lines.append(f"    - {node.address}:{weight}{name}\n")
    settings = settings.replace("weights", "").replace("names", "")
    pool = f"main:\n  listen: 127.0.0.1:{port}\n{settings}  timeout: 5000\n  servers:\n{''.join(lines)}"
    with nutcracker(pool, port, tmp_path):
        write(client_of("127.0.0.1", port))
    theirs = layout(fleet)
    assert sum(map(len, theirs)) == len(KEYS)
    config = json.loads(json.dumps(YAML(typ="safe").load(import_nutcracker(pool).text)))
    cluster = {**config["clusters"]["main"], "endpoints": {"configuration": f"127.0.0.1:{free_port()}"}}
    proxy = start_proxy({"workers": 1, "clusters": {"main": cluster}})
    write(client_of(proxy.host, proxy.port))
    assert layout(fleet) == theirs


@contextmanager
def nutcracker(pool: str, port: int, directory: Path) -> Iterator[None]:
    program = shutil.which("nutcracker") or shutil.which("nutcracker", path="/usr/sbin")
    assert program, "install nutcracker: apt-get install nutcracker"
    file = directory / "nutcracker.yml"
    file.write_text(pool)
    argv = (program, "-c", str(file), "-a", "127.0.0.1", "-s", str(free_port()))
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_open(port), "nutcracker listens")
        yield
    finally:
        child.kill()
        child.wait()


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Libmemcached:
    """The library itself, asked where it would put a key (libmemcached/constants.h)."""

    KETAMA, KETAMA_WEIGHTED, HASH, DISTRIBUTION = 3, 16, 2, 9

    def __init__(
        self, nodes: Sequence[EngineNode], weights: Sequence[int], behaviors: dict[int, int]
    ) -> None:
        name = ctypes.util.find_library("memcached")
        assert name, "install libmemcached: apt-get install libmemcached-tools"
        self.library = ctypes.CDLL(name)
        self.library.memcached_create.restype = ctypes.c_void_p
        self.handle = ctypes.c_void_p(self.library.memcached_create(None))
        for behavior, value in behaviors.items():
            failed = self.library.memcached_behavior_set(self.handle, behavior, ctypes.c_uint64(value))
            assert failed == 0, (behavior, failed)
        for node, weight in zip(nodes, weights, strict=True):
            self.library.memcached_server_add_with_weight(
                self.handle, node.address.host.encode(), node.address.port, weight
            )

    def layout(self) -> list[set[str]]:
        self.library.memcached_generate_hash.restype = ctypes.c_uint32
        found: list[set[str]] = [set() for _ in range(NODES)]
        for key in KEYS:
            data = key.encode()
            found[self.library.memcached_generate_hash(self.handle, data, ctypes.c_size_t(len(data)))].add(
                key
            )
        self.library.memcached_free(self.handle)
        return found


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (1, 2, 5, 10)])
def test_libmemcached_finds_its_keys(start_proxy: StartProxy, fleet: Fleet, weights: tuple[int, ...]) -> None:
    theirs = Libmemcached(fleet.nodes, weights, {Libmemcached.KETAMA_WEIGHTED: 1}).layout()
    nodes = [
        {"address": str(node.address), "weight": weight}
        for node, weight in zip(fleet.nodes, weights, strict=True)
    ]
    cluster = {**config_of(fleet)["clusters"]["main"], "hashing": "ketama-libmemcached", "nodes": nodes}
    proxy = start_proxy({"workers": 1, "clusters": {"main": cluster}})
    write(client_of(proxy.host, proxy.port))
    assert layout(fleet) == theirs


@pytest.mark.parametrize(("name", "number"), [(None, None), ("md5", 1), ("fnv1a_32", 6)])
def test_libmemcached_with_ketama_and_no_weights_finds_its_keys(
    start_proxy: StartProxy, fleet: Fleet, name: str | None, number: int | None
) -> None:
    """pylibmc's `ketama=True`."""
    chosen = {} if number is None else {Libmemcached.HASH: number}
    theirs = Libmemcached(fleet.nodes, (1,) * NODES, {**chosen, Libmemcached.KETAMA: 1}).layout()
    hashing = {"method": UNWEIGHTED} | ({"hash": name} if name else {})
    assert ours(start_proxy, fleet, hashing=hashing) == theirs


def test_libmemcached_without_ketama_finds_its_keys(start_proxy: StartProxy, fleet: Fleet) -> None:
    theirs = Libmemcached(fleet.nodes, (1,) * NODES, {}).layout()
    assert ours(start_proxy, fleet, hashing={"method": "modula", "hash": "one_at_a_time"}) == theirs


def test_every_hashing_finds_what_it_wrote(start_proxy: StartProxy, fleet: Fleet) -> None:
    ketama = ("ketama", "ketama-libmemcached", UNWEIGHTED, "ketama-spy")
    for hashing in ("slots", *ketama, "rendezvous", "modula"):
        proxy: Proxy = start_proxy(config_of(fleet, workers=1, hashing=hashing))
        write(client_of(proxy.host, proxy.port))
        client = client_of(proxy.host, proxy.port)
        assert len(client.get_many(KEYS)) == len(KEYS)
        client.close()
        assert all(layout(fleet)), hashing
