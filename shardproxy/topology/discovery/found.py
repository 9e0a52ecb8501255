"""What was found where a config has nodes discovered, and the config with it in their place. Pure.

Damped: what is new counts at once, what is not found any more stays for a while, and an answer without any
node changes nothing: an engine that restarts is no reason to deal its keys to others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shardproxy.config import Config, MemcachedCluster, RedisCluster
from shardproxy.config.discovery import Discovery, ServiceNodes
from shardproxy.config.nodes import MemcachedNode, RedisNode
from shardproxy.config.shards import MAX_REPLICAS, MAX_SHARDS
from shardproxy.model import Address


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """A node where it was found. Pods of a StatefulSet keep their address, as it is a name."""

    address: Address
    zone: str | None = None
    name: str | None = None  # of the pod


def found_in_slices(
    slices: Iterable[Mapping[str, Any]], wanted: ServiceNodes, namespace: str
) -> tuple[Found, ...]:
    """The pods that EndpointSlices list for a Service, ready or not: who is well the proxy finds itself.

    Raise ValueError for what are no EndpointSlices.
    """
    found = {}
    try:
        for one in slices:
            for endpoint in one.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("terminating"):
                    continue
                hostname, target = endpoint.get("hostname"), endpoint.get("targetRef") or {}
                host = (
                    f"{hostname}.{wanted.service}.{namespace}.svc" if hostname else endpoint["addresses"][0]
                )
                address = Address(str(host), wanted.port)
                found[address] = Found(address, endpoint.get("zone"), target.get("name"))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"not an EndpointSlice: {error!r}") from error
    return tuple(sorted(found.values(), key=lambda one: one.address))


@dataclass(slots=True)
class Kept:
    """The nodes of one place: what was found, and what was not long ago."""

    seconds: float
    limit: int
    nodes: tuple[Found, ...] = ()
    why_not: str | None = None  # the last answer is not taken
    _seen: dict[Address, tuple[Found, float]] = field(default_factory=dict)

    def take(self, found: tuple[Found, ...], now: float) -> bool:
        """Whether the nodes are others now."""
        if not found:
            self.why_not = "no node was found"
            return False
        seen = {address: one for address, one in self._seen.items() if now - one[1] < self.seconds}
        seen |= {one.address: (one, now) for one in found}
        if len(seen) > self.limit:  # who is gone makes room first
            seen = {one.address: (one, now) for one in found}
        if len(seen) > self.limit:
            self.why_not = f"{len(seen)} nodes were found, and at most {self.limit} can be served"
            return False
        self._seen, self.why_not = seen, None
        before, self.nodes = self.nodes, tuple(one for _, (one, _) in sorted(seen.items()))
        return self.nodes != before


def places_of(config: Config) -> dict[Discovery, int]:
    """Where nodes are to be found, and how many there may be."""
    places: dict[Discovery, int] = {}
    for cluster in config.clusters.values():
        if isinstance(cluster, MemcachedCluster):
            if cluster.discover is not None:
                places[cluster.discover] = MAX_SHARDS
        else:
            for shard in cluster.shards:
                if shard.discover is not None:
                    places[shard.discover] = 1 + MAX_REPLICAS
    return places


def with_found(config: Config, found: Mapping[Discovery, tuple[Found, ...]]) -> Config:
    """The config with the nodes that were found in the place of those that were not listed."""
    clusters = {name: _cluster_with(cluster, found) for name, cluster in config.clusters.items()}
    return config.model_copy(update={"clusters": clusters})


def _cluster_with(
    cluster: RedisCluster | MemcachedCluster, found: Mapping[Discovery, tuple[Found, ...]]
) -> RedisCluster | MemcachedCluster:
    if isinstance(cluster, MemcachedCluster):
        if cluster.discover is None:
            return cluster
        nodes = tuple(
            MemcachedNode(address=one.address, zone=one.zone, name=one.name)
            for one in found[cluster.discover]
        )
        return cluster.model_copy(update={"nodes": nodes})
    shards = tuple(
        shard.model_copy(
            update={
                "nodes": tuple(RedisNode(address=one.address, zone=one.zone) for one in found[shard.discover])
            }
        )
        if shard.discover is not None
        else shard
        for shard in cluster.shards
    )
    return cluster.model_copy(update={"shards": shards})
