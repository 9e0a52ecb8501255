"""What is set up for each mode: ours in several, and the peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from shardproxy.fleet.process import LocalProcess
from tests.failover.network import Places
from tests.fleet.arrangement import Arrangement
from tests.fleet.peers import open_cluster, open_sentinel
from tests.fleet.site import open_proxies

Open = Callable[[Places | None], AbstractContextManager[Arrangement]]


@dataclass(frozen=True, slots=True)
class Mode:
    """`proxies`: how many of ours, 0 = none; with more than one they agree by etcd."""

    name: str
    proxies: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)  # of the cluster
    peer: Open | None = None

    def open(self, places: Places | None) -> AbstractContextManager[Arrangement]:
        if self.peer is not None:
            return self.peer(places)
        members = 3 if self.proxies > 1 else 0
        return open_proxies(self.proxies, name=self.name, members=members, places=places, **self.options)


def sentinel(places: Places | None, *, haproxy: bool) -> AbstractContextManager[Arrangement]:
    return open_sentinel(haproxy=haproxy, launch=places.launch if places else LocalProcess)


def cluster(places: Places | None) -> AbstractContextManager[Arrangement]:
    return open_cluster(launch=places.launch if places else LocalProcess)


def many(fencing: str, **writes: int) -> Mapping[str, Any]:
    return {"failover": {"fencing": fencing}, **({"writes": writes} if writes else {})}


MODES = {
    mode.name: mode
    for mode in (
        Mode("1 proxy", 1),
        Mode("1 proxy, min-replicas 1", 1, {"writes": {"min_replicas": 1}}),
        Mode("1 proxy, wait 1", 1, {"writes": {"wait": 1}}),
        Mode("3 proxies, fast", 3, many("fast")),
        Mode("3 proxies, fast, wait 1", 3, many("fast", wait=1)),
        Mode("3 proxies, strict", 3, many("strict")),
        Mode("3 proxies, strict, min-replicas 1", 3, many("strict", min_replicas=1)),
        Mode("3 proxies, strict, wait 1", 3, many("strict", wait=1)),
        Mode("Sentinel + HAProxy", peer=lambda places: sentinel(places, haproxy=True)),
        Mode("Sentinel client", peer=lambda places: sentinel(places, haproxy=False)),
        Mode("Redis Cluster", peer=cluster),
    )
}
