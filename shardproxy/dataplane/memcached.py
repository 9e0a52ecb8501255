"""What the data plane is told of memcached clusters only."""

from __future__ import annotations

import math
import time
from typing import TypedDict

from shardproxy.config import Credentials, MemcachedCluster, Mode
from shardproxy.model import Address, Topology

VERSION = "1.6.18"  # what `version` answers; discovery clients ask whether it is 1.4.14 or later

FIRST_VERSION = int(time.time())
"""Clients take a layout only if its version is above the one they know, also after a restart of the proxy."""


class OnFailureSpec(TypedDict):
    action: str
    failures: int
    retry: float
    gutter_ttl: int


class AuthSpec(TypedDict):
    username: str | None
    password: str | None


class DiscoverySpec(TypedDict):
    version: int
    nodes: list[tuple[str, str, int]]  # host, IP address, port; none: the address a client is connected to


class MemcachedSpec(TypedDict):
    hash: str | None
    tag: str | None
    on_failure: OnFailureSpec
    gutter: int  # so many of the shards, the last ones
    client_auth: AuthSpec | None
    discovery: DiscoverySpec


def memcached_spec(config: MemcachedCluster, topology: Topology, client: Credentials | None) -> MemcachedSpec:
    """Describe a memcached cluster beyond what it shares with others."""
    rule = config.on_failure
    return MemcachedSpec(
        hash=config.hashing.hash.value if config.hashing.hash else None,
        tag=config.hashing.tag,
        on_failure=OnFailureSpec(
            action=rule.action.value,
            failures=rule.failures,
            retry=rule.retry,
            gutter_ttl=max(1, math.ceil(rule.gutter_ttl)),
        ),
        gutter=len(rule.gutter),
        client_auth=AuthSpec(username=client.username, password=client.password) if client else None,
        discovery=DiscoverySpec(
            version=FIRST_VERSION + topology.epoch,
            nodes=sorted(entry(address) for address in _told(config, topology)),
        ),
    )


def _told(config: MemcachedCluster, topology: Topology) -> list[Address]:
    endpoint = config.endpoints.configuration
    if endpoint.mode is Mode.DIRECT:
        return [node.address for node in topology.nodes if not node.address.is_unix]
    return [endpoint.advertise] if endpoint.advertise else []


def entry(address: Address) -> tuple[str, str, int]:
    """Host, IP address and port as Auto Discovery lists a node."""
    return address.host, address.host, address.port
