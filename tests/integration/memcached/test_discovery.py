"""Auto Discovery: raw bytes, and clients from PyPI that follow a membership without a restart."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest

from shardproxy.fleet import Fleet
from shardproxy.model import Engine
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

DIRECT = "direct"
Told = tuple[int, list[str]]


def told(wire: Callable[..., Wire], proxy: Proxy, request: bytes = b"config get cluster\r\n") -> Told:
    """Version and nodes, every byte of the reply being checked."""
    connection = wire(proxy)
    connection.send(request)
    data = b""
    while not data.endswith(b"\n\r\nEND\r\n"):
        chunk = connection.socket.recv(65536)
        assert chunk, data
        data += chunk
    head = b"CONFIG cluster" if request.startswith(b"config") else b"VALUE AmazonElastiCache:cluster"
    found = re.fullmatch(re.escape(head) + rb" 0 (\d+)\r\n((\d+)\n([^\n]+)\n)\r\nEND\r\n", data)
    assert found, data
    assert int(found[1]) == len(found[2])
    return int(found[3]), found[4].decode().split(" ")


def direct(fleet: Fleet, proxy_port: str | None = None) -> dict[str, object]:
    from shardproxy.fleet import free_port

    address = proxy_port or f"127.0.0.1:{free_port()}"
    return config_of(fleet, workers=1, endpoints={"configuration": {"address": address, "mode": DIRECT}})


@pytest.fixture
def fleet(start_fleet: Callable[..., Fleet]) -> Fleet:
    return start_fleet(shards=3, replicas=0, engine=Engine.MEMCACHED)


class DirectProxy:
    """The proxy with its endpoint written out, which `Proxy.address` does not know."""

    def __init__(self, start_proxy: StartProxy, fleet: Fleet) -> None:
        from shardproxy.model import Address

        config = direct(fleet)
        self.proxy = start_proxy(config)
        self.endpoint = config["clusters"]["main"]["endpoints"]  # type: ignore[index]
        self.address = Address.parse(self.endpoint["configuration"]["address"])

    def serve(self, nodes: list[str]) -> None:
        """Reload with other nodes."""
        cluster = {"engine": "memcached", "endpoints": self.endpoint, "nodes": nodes}
        self.proxy.reload({"workers": 1, "clusters": {"main": cluster}})


def entries(addresses: list[str]) -> list[str]:
    split = [address.rpartition(":") for address in addresses]
    return [f"{host}|{host}|{port}" for host, _, port in split]


def test_a_proxy_tells_its_own_address(
    start_proxy: StartProxy, fleet: Fleet, wire: Callable[..., Wire]
) -> None:
    proxy = start_proxy(fleet)
    mine = [f"127.0.0.1|127.0.0.1|{proxy.port}"]
    for request in (b"config get cluster\r\n", b"config get cluster\n", b"get AmazonElastiCache:cluster\r\n"):
        version, nodes = told(wire, proxy, request)
        assert (version > 0, nodes) == (True, mine)


def test_the_version_rises_with_the_membership(
    start_proxy: StartProxy, fleet: Fleet, wire: Callable[..., Wire]
) -> None:
    proxy = DirectProxy(start_proxy, fleet)
    all_nodes = fleet.config_nodes()
    first, nodes = told(wire, proxy.address)  # type: ignore[arg-type]
    assert sorted(nodes) == sorted(entries(all_nodes))
    for listed in (all_nodes[:2], all_nodes):
        proxy.serve(listed)
        wait_until(lambda: told(wire, proxy.address)[0] > first, "the version rises")  # type: ignore[arg-type]  # noqa: B023
        first, nodes = told(wire, proxy.address)  # type: ignore[arg-type]
        assert sorted(nodes) == sorted(entries(listed))


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it leaves sockets to the collector
def test_a_client_sees_nodes_come_and_go(start_proxy: StartProxy, fleet: Fleet) -> None:
    from django_elastipymemcache.client import AWSElastiCacheClient  # type: ignore[import-untyped]

    proxy = DirectProxy(start_proxy, fleet)
    nodes = fleet.config_nodes()
    client = AWSElastiCacheClient(str(proxy.address), discovery_interval=0.01)

    def known() -> set[str]:
        client.get("any")
        return set(client.clients)

    assert known() == set(nodes)
    assert client.set("a", b"1", noreply=False)
    assert client.get("a") == b"1"
    proxy.serve(nodes[:2])
    wait_until(lambda: known() == set(nodes[:2]), "the client forgets the node that was removed")
    proxy.serve(nodes)
    wait_until(lambda: known() == set(nodes), "the client sees the node that was added")
    client.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this client needs telnetlib and distutils")
def test_a_client_that_asks_by_telnet_sees_nodes_come_and_go(start_proxy: StartProxy, fleet: Fleet) -> None:
    from elasticache_pyclient.memcache_client import Cluster  # type: ignore[import-untyped]

    proxy = DirectProxy(start_proxy, fleet)
    nodes = fleet.config_nodes()
    cluster = Cluster(str(proxy.address), 10)

    def known() -> set[str]:
        cluster.update()
        return set(cluster.servers)

    assert known() == set(nodes)
    proxy.serve(nodes[1:])
    wait_until(lambda: known() == set(nodes[1:]), "the client forgets the node that was removed")
    proxy.serve(nodes)
    wait_until(lambda: known() == set(nodes), "the client sees the node that was added")
