"""Shards of real engines, many real proxies in front of them, and the store by which they agree."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.fleet.process import Launch, LocalProcess
from shardproxy.model import Address
from tests.failover.load import Ledger, Way, connect, tag_of, way_to
from tests.failover.network import Places
from tests.fixtures.etcd import Etcd
from tests.fixtures.proxy import Proxy, config_of, wait_until
from tests.fleet.arrangement import PATIENCE, is_in_sync
from tests.fleet.history import (
    History,
    served_read,
    told_read,
    why_late_acks,
    why_wrong,
)
from tests.fleet.recorded import Recorded

TTL = 3.0  # seconds, of who is not heard from
TIMEOUT = 5.0  # seconds, redis-py's default
PREFIX = "/fleet"
AT_ONCE = 4  # proxies that start


@dataclass(slots=True)
class Proxies:
    """One cluster, `main`. Who is killed or frozen is no longer asked."""

    name: str
    fleet: Fleet
    proxies: list[Proxy]
    etcd: Etcd | None
    recorded: Recorded | None
    places: Places | None
    followers: int = 0  # the last of the proxies
    gone: set[int] = field(default_factory=set)  # proxies that cannot be asked now
    since: float = 0.0  # when all was whole for the first time
    revision: int = 0  # of the store, then
    grace: float = 0.0  # seconds for which `fast`, which waits for nobody, lets one have the last primary

    @property
    def tag(self) -> str:
        return tag_of(0, len(self.fleet.shards))

    def ways(self) -> list[Way]:
        """Through each proxy that can be asked."""
        return [way_to(self.proxies[n].address(), f"proxy-{n}", TIMEOUT) for n in self.present]

    @property
    def present(self) -> list[int]:
        return [n for n in range(len(self.proxies)) if n not in self.gone]

    def reader(self) -> redis.Redis:
        return connect(self.proxies[self.present[0]].address())

    @property
    def store_ports(self) -> list[int]:
        """Where the store listens for proxies."""
        endpoints = [] if self.etcd is None else self.etcd.endpoints
        return [int(endpoint.rsplit(":", 1)[1]) for endpoint in endpoints]

    # What they say

    def status(self, number: int | None = None) -> dict[str, Any]:
        proxy = self.proxies[self.present[0] if number is None else number]
        return dict(json.loads(proxy.get("/api/status")[1]))

    def present_status(self) -> list[dict[str, Any]]:
        return [self.status(number) for number in self.present]

    def shard(self, shard: int = 0, number: int | None = None) -> dict[str, Any]:
        return dict(self.status(number)["clusters"]["main"]["shards"][shard])

    def events(self, number: int | None = None) -> list[dict[str, Any]]:
        proxy = self.proxies[self.present[0] if number is None else number]
        return list(json.loads(proxy.get("/api/events?count=1000")[1])["events"])

    def count(self, name: str, after: int = 0) -> int:
        """How many happened after the event of that number: who was frozen tells of its own late."""
        return sum(event["name"] == name and event["number"] > after for event in self.events())

    def latest(self) -> int:
        """The number of the last event, 0 before any."""
        return max((int(event["number"]) for event in self.events()), default=0)

    def post(self, path: str, *, number: int | None = None, **body: object) -> str | None:
        """Have something done by a proxy; why it was not, or None."""
        proxy = self.proxies[self.present[0] if number is None else number]
        data = json.dumps({"cluster": "main", **body}).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(proxy.admin + path, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                response.read()
                return None
        except urllib.error.HTTPError as error:
            with error:
                return str(json.loads(error.read())["error"])

    def node(self, address: str) -> RedisNode:
        port = Address.parse(address).port
        return next(n for n in self.fleet.nodes if isinstance(n, RedisNode) and n.port == port)

    def primary(self, shard: int = 0) -> RedisNode:
        found = [n["address"] for n in self.shard(shard)["nodes"] if n["role"] == "primary"]
        return self.node(found[0])

    def replicas(self, shard: int = 0) -> list[RedisNode]:
        return [self.node(n["address"]) for n in self.shard(shard)["nodes"] if n["role"] == "replica"]

    def controller(self) -> int:
        """The proxy that leads, as the store says; of one alone, itself."""
        if self.recorded is None:
            return 0
        found: int = wait_until(self._controller, "somebody leads", timeout=20.0)
        return found - 1

    def _controller(self) -> int:
        """Its number + 1, or 0."""
        assert self.recorded is not None
        leader = self.recorded.leader()
        numbers = [n for n in range(len(self.proxies)) if leader and leader.startswith(f"p{n}-")]
        return numbers[0] + 1 if numbers else 0

    # Whether all is well

    def is_whole(self, shard: int = 0) -> bool:
        """Every proxy sees the same primary, all nodes up, and they are in sync."""
        try:
            seen = [self.shard(shard, number) for number in self.present]
        except OSError:
            return False  # a busy machine
        if any(one["state"] != "ok" or not one["is_covered"] for one in seen):
            return False
        if any(node["state"] != "up" for one in seen for node in one["nodes"]):
            return False
        roles = {(node["address"], node["role"]) for one in seen for node in one["nodes"]}
        if len(roles) != len(seen[0]["nodes"]) or len({one["epoch"] for one in seen}) > 1:
            return False
        return is_in_sync(self.primary(shard), self.replicas(shard))

    def wait_whole(self) -> None:
        for shard in range(len(self.fleet.shards)):
            wait_until(
                lambda: self.is_whole(shard),  # noqa: B023
                lambda: f"shard {shard} is whole: {[self.shard(shard, n) for n in self.present]}",  # noqa: B023
                timeout=PATIENCE,
                interval=0.05,
            )
        self.post("/api/acknowledge", shard=0)  # of the last failover: the next one need not wait

    def switch_over(self) -> None:
        """Asked of the last member that can be asked, whoever leads."""
        members = [number for number in self.present if number < len(self.proxies) - self.followers]
        why_not = self.post("/api/switchover", shard=0, number=members[-1])
        assert why_not is None, why_not

    # What is done to proxies

    def kill(self, number: int) -> None:
        self.proxies[number].kill()
        self.gone.add(number)

    def revive(self, number: int) -> None:
        self.proxies[number].begin()
        self.proxies[number].wait_ready()
        self.gone.discard(number)

    # What was written down

    def history(self) -> History:
        logs = {f"p{n}": proxy.directory / "proxy.log" for n, proxy in enumerate(self.proxies)}
        records = []
        if self.recorded is not None:
            records = [put.record for put in self.recorded.since(self.revision)]
        nodes = [node for node in self.fleet.nodes if isinstance(node, RedisNode)]
        return History(
            told_read(nodes, self.since),
            served_read(logs, self.since),
            tuple(record for record in records if record is not None),
        )

    def ports(self) -> dict[int, list[int]]:
        return {shard.index: [node.port for node in shard.nodes] for shard in self.fleet.shards}

    def why_wrong(self, ledger: Ledger, found: Mapping[str, list[int]]) -> list[str]:
        """What no mode allows, over the histories of all."""
        history = self.history()
        promotions = history.promotions(self.ports()[0])
        wrong = why_wrong(history, self.ports())
        return wrong + why_late_acks(ledger.lost(found), promotions, self.grace)


@contextmanager
def open_proxies(
    count: int = 3,
    shards: int = 1,
    replicas: int = 2,
    *,
    name: str = "",
    members: int = 3,
    places: Places | None = None,
    launch: Launch | None = None,
    env: Mapping[int, Mapping[str, str]] | None = None,
    followers: int = 0,
    whole_within: float | None = None,
    **options: Any,
) -> Iterator[Proxies]:
    """`members` of etcd, 0 = none: one proxy with a file; `env`: of some; the last are `followers`.

    Options go to the cluster. With `whole_within` seconds each proxy is asked seldom whether all is well.
    """
    start = launch or (places.launch if places is not None else LocalProcess)
    with ExitStack() as stack:
        etcd = None
        if members:
            etcd = stack.enter_context(Etcd(members))
        fleet = stack.enter_context(Fleet(shards, replicas, managed=True, launch=start))

        def start_proxy(number: int) -> Proxy:
            config = config_of(fleet, workers=1, replication="managed", **options)
            config["name"] = f"p{number}"
            if etcd is not None:
                kept = {"endpoints": etcd.endpoints, "prefix": PREFIX, "ttl": f"{TTL:g}s"}
                membership = "follower" if number >= count - followers else "member"
                config["store"] = {"etcd": kept, "membership": membership}
            under = places.of_proxy(number) if places is not None else ()
            proxy = Proxy(config, env=(env or {}).get(number), under=under)
            stack.callback(end, proxy)
            return proxy

        with ThreadPoolExecutor(AT_ONCE) as pool:  # none is ready before one of them leads
            proxies = list(pool.map(start_proxy, range(count)))
        recorded = Recorded(etcd, PREFIX) if etcd is not None else None
        site = Proxies(name, fleet, proxies, etcd, recorded, places, followers)
        site.grace = TTL if options.get("failover", {}).get("fencing") == "fast" else 0.0
        if whole_within is None:
            site.wait_whole()
        else:
            wait_settled(site.proxies, whole_within)
        site.since = time.monotonic()
        site.revision = recorded.revision() if recorded is not None else 0
        yield site


def wait_settled(proxies: Sequence[Proxy], within: float) -> None:
    """All shards of all proxies are well. To tell how 500 nodes are takes one a tenth of a second."""

    def is_settled(proxy: Proxy) -> bool:
        try:
            shards = json.loads(proxy.get("/api/status")[1])["clusters"]["main"]["shards"]
        except OSError:
            return False  # it has more to do than to answer
        return all(
            one["state"] == "ok" and one["is_covered"] and all(n["state"] == "up" for n in one["nodes"])
            for one in shards
        )

    for proxy in proxies:
        wait_until(lambda: is_settled(proxy), "all shards are whole", timeout=within, interval=2.0)  # noqa: B023


def end(proxy: Proxy) -> None:
    """As a test may have left it: killed, or frozen."""
    if proxy.is_running:
        proxy.thaw()
    proxy.stop()
