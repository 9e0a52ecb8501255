"""What the data plane is told of memcached clusters only."""

from __future__ import annotations

import math
from typing import TypedDict

from shardproxy.config import MemcachedCluster

VERSION = "1.6.18"  # what `version` answers; discovery clients ask whether it is 1.4.14 or later

Entry = tuple[str, str, int]  # host, IP address and port, as Auto Discovery lists a node


class OnFailureSpec(TypedDict):
    action: str
    failures: int
    retry: float
    gutter_ttl: int


class DiscoverySpec(TypedDict):
    version: int
    nodes: list[Entry]  # none: the address a client is connected to


class MemcachedSpec(TypedDict):
    hash: str | None
    tag: str | None
    on_failure: OnFailureSpec
    gutter: int  # so many of the shards, the last ones
    discovery: DiscoverySpec


def memcached_spec(config: MemcachedCluster, discovery: DiscoverySpec | None) -> MemcachedSpec:
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
        discovery=discovery or DiscoverySpec(version=0, nodes=[]),
    )
