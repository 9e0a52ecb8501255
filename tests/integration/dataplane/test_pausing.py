"""CLIENT PAUSE holds the clients of its own cluster."""

from __future__ import annotations

import time
from contextlib import closing

from shardproxy.fleet import Fleet
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import StartProxy, cluster_of

PAUSE = 0.5  # seconds


def test_a_pause_holds_the_clients_of_its_own_cluster(fleet: Fleet, start_proxy: StartProxy) -> None:
    shards = fleet.config_shards()
    clusters = {
        name: {**cluster_of(fleet), "shards": [shard]}
        for name, shard in zip(("first", "second"), shards, strict=False)
    }
    proxy = start_proxy({"workers": 1, "clusters": clusters})
    addresses = [proxy.address(cluster=name) for name in clusters]
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
