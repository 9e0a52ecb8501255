"""A cluster with empty shards, several proxies in front of it, and the store by which they agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from shardproxy.fleet import Fleet
from shardproxy.model import Address
from tests.failover.moving.site import MovingSite
from tests.fixtures.etcd import Etcd
from tests.fixtures.proxy import Proxy, config_of, wait_until
from tests.fleet.recorded import Put, Recorded

PREFIX = "/moving"
TTL = 3.0  # seconds, of who is not heard from


@dataclass(frozen=True, slots=True)
class Several:
    """One cluster, `main`, asked at any of its proxies."""

    fleet: Fleet
    proxies: list[Proxy]
    recorded: Recorded

    def by(self, number: int) -> MovingSite:
        """As one proxy sees it."""
        return MovingSite(self.fleet, self.proxies[number])

    def leader(self) -> int:
        """Who carries the moves."""

        def find() -> int:
            leader = self.recorded.leader() or ""
            return next((n + 1 for n in range(len(self.proxies)) if leader.startswith(f"p{n}-")), 0)

        return int(wait_until(find, "somebody leads", timeout=30)) - 1

    def others(self, than: int) -> list[int]:
        return [number for number in range(len(self.proxies)) if number != than]

    def addresses(self, *numbers: int) -> list[Address]:
        return [self.proxies[number].address() for number in numbers]

    def wait_put(self, since: int, is_it: Callable[[Put], bool]) -> None:
        """Return once that was put after this revision."""
        assert any(is_it(put) for put in self.recorded.watch(since + 1, timeout=30)), "it never was"

    def revive(self, number: int) -> None:
        self.proxies[number].begin()
        self.proxies[number].wait_ready()

    def wait_whole(self) -> None:
        """Every proxy sees every shard whole."""
        for number in range(len(self.proxies)):
            for shard in range(len(self.fleet.shards)):
                self.by(number).wait_whole(shard)


@contextmanager
def open_several(
    count: int = 3, shards: int = 3, empty: int = 2, replicas: int = 1, **options: Any
) -> Iterator[Several]:
    """Options go to the cluster; its last shards own nothing at first."""
    with ExitStack() as stack:
        etcd = stack.enter_context(Etcd(3))
        fleet = stack.enter_context(Fleet(shards, replicas, managed=True))

        def start(number: int) -> Proxy:
            config = config_of(fleet, workers=1, replication="managed", **options)
            for shard in config["clusters"]["main"]["shards"][shards - empty :]:
                shard["slots"] = "none"
            config["name"] = f"p{number}"
            config["store"] = {"etcd": {"endpoints": etcd.endpoints, "prefix": PREFIX, "ttl": f"{TTL:g}s"}}
            proxy = Proxy(config)
            stack.callback(proxy.stop)
            return proxy

        with ThreadPoolExecutor(count) as pool:  # none is ready before one of them leads
            proxies = list(pool.map(start, range(count)))
        site = Several(fleet, proxies, Recorded(etcd, PREFIX))
        site.wait_whole()
        yield site
