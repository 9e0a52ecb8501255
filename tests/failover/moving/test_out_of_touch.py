"""A proxy cannot reach its store while slots move: what it acknowledges is at their new owner."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from shardproxy.fleet import Fleet
from shardproxy.fleet.process import Launch
from tests.failover.moving.site import MovingSite
from tests.fixtures.etcd import Etcd
from tests.fixtures.proxy import Proxy, config_of, wait_until
from tests.fixtures.route import Route, route_to

KEYS = 200  # written again and again: some of them are in slots that move


@dataclass
class Writer:
    """Counts keys up through a proxy, for as long as it is open."""

    proxy: Proxy
    name: str
    acked: dict[str, int] = field(default_factory=dict)
    done: int = 0
    refused: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        client = redis.Redis(self.proxy.host, self.proxy.port, socket_timeout=10)
        for number in itertools.count(1):
            if self._over.is_set():
                client.close()
                return
            key = f"{self.name}:{number % KEYS}"
            try:
                client.set(key, number)
            except redis.ResponseError as error:
                self.refused.append(str(error))
            except redis.ConnectionError as error:
                self.refused.append(str(error))
                client.close()
            else:
                self.acked[key] = number
                self.done += 1

    def wait_more(self, more: int = 2 * KEYS) -> None:
        done = self.done
        wait_until(lambda: self.done >= done + more, lambda: f"it writes on: {self.refused[-1:]}")

    def wait_refused(self, text: str) -> None:
        seen = len(self.refused)
        wait_until(
            lambda: any(text in error for error in self.refused[seen:]),
            lambda: f"it is refused: {self.refused[-1:]}, {self.done}",
        )

    def close(self) -> None:
        self._over.set()

    def lost(self, through: Proxy) -> list[str]:
        """Acknowledged writes that are not there; what is in doubt may be."""
        with redis.Redis(through.host, through.port) as client:
            return [
                f"{key}: {found}, and {acked} was acknowledged"
                for key, acked in self.acked.items()
                if (found := int(client.get(key) or 0)) < acked
            ]


@contextmanager
def writing(proxy: Proxy, name: str) -> Iterator[Writer]:
    writer = Writer(proxy, name)
    thread = threading.Thread(target=writer.run, daemon=True)
    thread.start()
    try:
        yield writer
    finally:
        writer.close()
        thread.join(20)


@dataclass(frozen=True)
class Pair:
    """`site` is of the proxy that always reaches etcd; the other one has a way of its own to it."""

    site: MovingSite
    other: Proxy
    route: Route

    def is_synced(self) -> bool:
        return bool(json.loads(self.other.get("/api/status")[1])["store"]["is_synced"])

    def members(self) -> int:
        return len(json.loads(self.site.proxy.get("/api/status")[1])["proxies"])

    def lose_touch(self) -> None:
        """Until nobody waits for the other one any more."""
        self.route.cut()
        wait_until(lambda: not self.is_synced() and self.members() == 1, "it is gone from the store")

    def move(self) -> None:
        self.site.move(do="move", moves=["0-4095:1"])


@contextmanager
def pair_of(etcd: Etcd, launch: Launch, replicas: int, membership: str = "member") -> Iterator[Pair]:
    with Fleet(2, replicas, managed=True, launch=launch) as fleet:
        prefix = etcd.settings().prefix
        started: list[Proxy] = []

        def start(endpoints: list[str], membership: str) -> Proxy:
            config: dict[str, Any] = config_of(fleet, workers=2, replication="managed")
            kept = {"endpoints": endpoints, "prefix": prefix, "ttl": "2s"}
            config["store"] = {"etcd": kept, "membership": membership}
            started.append(Proxy(config))
            return started[-1]

        with route_to(int(etcd.endpoints[0].rpartition(":")[2])) as route:
            try:
                site = MovingSite(fleet, start(etcd.endpoints, "member"))
                for shard in range(2):
                    site.wait_whole(shard)
                other = start([f"http://127.0.0.1:{route.port}"], membership)
                yield Pair(site, other, route)
            finally:
                for proxy in started:
                    proxy.stop()


@pytest.mark.parametrize("replicas", [0, 1])
@pytest.mark.parametrize("membership", ["member", "follower"])
def test_a_proxy_that_lost_its_store_before_acknowledges_nothing_that_is_lost(
    etcd: Etcd, launch: Launch, replicas: int, membership: str
) -> None:
    with (
        pair_of(etcd, launch, replicas, membership) as pair,
        writing(pair.site.proxy, "one") as one,
        writing(pair.other, "two") as two,
    ):
        two.wait_more()
        if membership == "member":
            pair.lose_touch()
        else:
            pair.route.cut()
            wait_until(lambda: not pair.is_synced(), "it is out of touch")
        two.wait_more()
        assert two.refused == [], "that its store is away stops no writes"
        pair.move()
        two.wait_refused("slots have left it")
        one.wait_more()
        assert one.refused == []
        assert {error for error in two.refused if "slots" not in error} == set()
        one.close()
        assert two.lost(pair.site.proxy) == []
        pair.route.heal()
        wait_until(pair.is_synced, "it is in touch again")
        two.wait_more()
        two.close()
        assert two.lost(pair.site.proxy) == one.lost(pair.site.proxy) == []


def test_a_proxy_that_starts_without_its_store_acknowledges_nothing_that_is_lost(
    etcd: Etcd, launch: Launch
) -> None:
    with pair_of(etcd, launch, replicas=1) as pair:
        wait_until(lambda: pair.members() == 2, "both are there")
        pair.route.cut()
        pair.other.restart()
        with writing(pair.other, "before") as writer:
            writer.wait_more()
        assert writer.refused == [], "nothing has moved, and it serves what it knows"
        pair.other.freeze()
        pair.move()
        pair.other.thaw()
        pair.other.restart()
        with writing(pair.other, "after") as later:
            later.wait_refused("slots have left it")
        assert writer.lost(pair.site.proxy) == later.lost(pair.site.proxy) == []
        pair.route.heal()
        wait_until(pair.is_synced, "it is in touch again")
        with writing(pair.other, "last") as last:
            last.wait_more()
        assert last.lost(pair.site.proxy) == []
