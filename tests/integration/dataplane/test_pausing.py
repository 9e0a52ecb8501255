"""CLIENT PAUSE and UNBLOCK are about the clients of their own cluster."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from shardproxy.fleet import Fleet
from shardproxy.model import Address
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import StartProxy, cluster_of, wait_until

PAUSE = 2.0  # seconds


@pytest.fixture
def addresses(fleet: Fleet, start_proxy: StartProxy) -> list[Address]:
    """Of two clusters in one proxy."""
    shards = fleet.config_shards()
    clusters = {
        name: {**cluster_of(fleet), "shards": [shard]}
        for name, shard in zip(("first", "second"), shards, strict=False)
    }
    proxy = start_proxy({"workers": 1, "clusters": clusters})
    return [proxy.address(cluster=name) for name in clusters]


def test_a_client_of_another_cluster_is_not_unblocked(addresses: list[Address]) -> None:
    one, two = (Wire(address) for address in addresses)
    with closing(one), closing(Wire(addresses[0])) as beside, closing(two):
        client = one.ask("CLIENT", "ID")
        one.send_command("BLPOP", "nothing", 0)
        wait_until(lambda: "flags=b" in beside.ask("CLIENT", "LIST").decode(), "it is blocked")
        assert two.ask("CLIENT", "UNBLOCK", client) == 0
        assert beside.ask("CLIENT", "UNBLOCK", client) == 1
        assert one.reply() is None


def test_a_pause_holds_the_clients_of_its_own_cluster(addresses: list[Address]) -> None:
    with closing(Wire(addresses[0])) as held, closing(Wire(addresses[1])) as other:
        assert [client.ask("DEL", "k") for client in (held, other)] == [0, 0]  # their primaries are known
        started = time.monotonic()
        assert held.ask("CLIENT", "PAUSE", round(PAUSE * 1000)) == b"OK"
        held.send_command("SET", "k", 1)
        assert other.ask("SET", "j", 1) == b"OK"
        assert other.ask("CLIENT", "UNPAUSE") == b"OK"  # its own, of which there is none
        assert other.ask("CLIENT", "PAUSE", 60_000, "WRITE") == b"OK"
        assert time.monotonic() - started < PAUSE
        assert held.reply() == b"OK"
        assert time.monotonic() - started >= PAUSE
        assert held.ask("SET", "k", 2) == b"OK"
