"""A proxy that follows real Sentinels, and what it says."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from shardproxy.model import Address
from tests.failover.load import connect
from tests.fixtures.proxy import Proxy, wait_until
from tests.fixtures.sentinel import SentinelFleet

PARK = "15s"  # a busy machine gives Sentinel its time


@dataclass(frozen=True, slots=True)
class SentinelSite:
    """One cluster, `main`."""

    sentinels: SentinelFleet
    proxy: Proxy

    @property
    def client(self) -> redis.Redis:
        return connect(self.proxy.address())

    def cluster(self) -> dict[str, Any]:
        return dict(json.loads(self.proxy.get("/api/status")[1])["clusters"]["main"])

    def shard(self, shard: int = 0) -> dict[str, Any]:
        return dict(self.cluster()["shards"][shard])

    def trouble(self) -> str | None:
        found = self.cluster()["decider"]["trouble"]
        return None if found is None else str(found)

    def silent(self) -> list[str | None]:
        """Why each Sentinel does not answer; None: it does."""
        return [asked["why_silent"] for asked in self.cluster()["decider"]["asked"]]

    def nodes(self, role: str, shard: int = 0) -> set[Address]:
        return nodes_of(self.shard(shard), role)

    def serves(self, primary: Address, shard: int = 0) -> bool:
        found = self.shard(shard)
        return found["state"] == "ok" and nodes_of(found, "primary") == {primary}

    def wait_served(self, primary: Address, shard: int = 0) -> None:
        wait_until(lambda: self.serves(primary, shard), lambda: f"{primary} serves: {self.shard(shard)}")

    def wait_other(self, than: Address, shard: int = 0) -> Address:
        """Wait until another node serves."""

        def other() -> Address | None:
            found = self.shard(shard)
            named = nodes_of(found, "primary") - {than} if found["state"] == "ok" else set()
            return next(iter(named), None)

        found: Address = wait_until(other, lambda: f"another than {than}: {self.shard(shard)}", timeout=20.0)
        return found

    def events(self) -> list[dict[str, Any]]:
        return list(json.loads(self.proxy.get("/api/events?count=1000")[1])["events"])

    def post(self, path: str, **body: object) -> str | None:
        """Have something done; why it was not, or None."""
        request = urllib.request.Request(
            self.proxy.admin + path,
            data=json.dumps({"cluster": "main", **body}).encode(),
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                response.read()
                return None
        except urllib.error.HTTPError as error:
            with error:
                return str(json.loads(error.read())["error"])


def nodes_of(shard: dict[str, Any], role: str) -> set[Address]:
    """The nodes of that role, in a shard of /api/status."""
    return {Address.parse(row["address"]) for row in shard["nodes"] if row["role"] == role}


@contextmanager
def open_sentinel_site(
    shards: int = 1, replicas: int = 2, *, engines: dict[str, Any] | None = None, **options: Any
) -> Iterator[SentinelSite]:
    """`engines`: options of the Sentinels and nodes; the others are the cluster's."""
    options.setdefault("timeouts", {"park": PARK})
    env = options.pop("env", None)
    with SentinelFleet(shards, replicas, **(engines or {})) as sentinels:
        proxy = Proxy(sentinels.config(**options), env=env)
        try:
            yield SentinelSite(sentinels, proxy)
        finally:
            proxy.stop()
