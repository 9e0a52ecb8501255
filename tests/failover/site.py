"""A managed fleet, a proxy in front of it, and what an operator can see and do."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.fleet.process import Launch, LocalProcess
from shardproxy.model import Address
from tests.fixtures.proxy import Proxy, config_of, wait_until


@dataclass(frozen=True, slots=True)
class Site:
    """One cluster, `main`."""

    fleet: Fleet
    proxy: Proxy

    def status(self, shard: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.proxy.get("/api/status")[1])["clusters"]["main"]["shards"][
            shard
        ]
        return found

    def events(self) -> list[dict[str, Any]]:
        return list(json.loads(self.proxy.get("/api/events?count=1000")[1])["events"])

    def count(self, name: str) -> int:
        return sum(event["name"] == name for event in self.events())

    def post(self, path: str, **body: object) -> str | None:
        """Have something done; why it was not, or None."""
        data = json.dumps({"cluster": "main", **body}).encode()
        request = urllib.request.Request(
            self.proxy.admin + path, data=data, headers={"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                response.read()
                return None
        except urllib.error.HTTPError as error:
            with error:
                return str(json.loads(error.read())["error"])

    def node(self, address: str) -> RedisNode:
        port = Address.parse(address).port  # the proxy may know the host by a name
        node = next(node for node in self.fleet.nodes if node.port == port)
        assert isinstance(node, RedisNode)
        return node

    def primary(self, shard: int = 0) -> RedisNode:
        """The shard's primary as the proxy sees it."""
        found = [node["address"] for node in self.status(shard)["nodes"] if node["role"] == "primary"]
        return self.node(found[0])

    def replicas(self, shard: int = 0) -> list[RedisNode]:
        return [self.node(n["address"]) for n in self.status(shard)["nodes"] if n["role"] == "replica"]

    def is_whole(self, shard: int = 0) -> bool:
        """One primary, up, and every replica up and in sync with it, as they themselves say."""
        status = self.status(shard)
        if status["state"] != "ok" or any(node["state"] != "up" for node in status["nodes"]):
            return False
        if len(status["nodes"]) > 1 and not status["is_covered"]:
            return False
        primary = self.primary(shard)
        if primary.info("replication")["role"] != "master":
            return False
        # an engine may stream nothing to a replica for a second after its sync, though their link is up
        primary.ask("PUBLISH", "is anybody there?", "")
        offset = int(primary.info("replication")["master_repl_offset"])
        for replica in self.replicas(shard):
            seen = replica.info("replication")
            if seen.get("master_link_status") != "up" or seen["master_port"] != str(primary.port):
                return False
            if int(seen["slave_repl_offset"]) < offset:
                return False
        return True

    def wait_whole(self, shard: int = 0) -> None:
        wait_until(
            lambda: self.is_whole(shard),
            lambda: f"shard {shard} is whole: {self.status(shard)}",
            timeout=20.0,
        )


@contextmanager
def open_site(
    shards: int = 2,
    replicas: int = 1,
    *,
    launch: Launch = LocalProcess,
    args: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    engines: Mapping[str, Any] | None = None,
    host: str | None = None,
    is_waiting: bool = True,
    **options: Any,
) -> Iterator[Site]:
    """`engines`: more options of the fleet; `host`: what the config calls the host of its nodes.

    Without waiting the caller waits until all is whole.
    """
    with Fleet(shards, replicas, managed=True, launch=launch, args=args, **(engines or {})) as fleet:
        config = config_of(fleet, replication="managed", **options)
        if host is not None:
            for shard in config["clusters"]["main"]["shards"]:
                shard["nodes"] = [f"{host}:{Address.parse(node).port}" for node in shard["nodes"]]
        proxy = Proxy(config, env=env)
        try:
            site = Site(fleet, proxy)
            for shard in range(shards if is_waiting else 0):
                site.wait_whole(shard)
            yield site
        finally:
            proxy.stop()


OpenSite = Callable[..., Site]
