"""File descriptors: every client and every connection to a node takes one; who blocks or watches takes two.

available = spare + what workers share + clients + connections of clients' own
"""

from __future__ import annotations

import resource
from dataclasses import dataclass

from shardproxy.config import Config
from shardproxy.model import Engine

SPARE = 256  # listeners, worker threads, admin and control-plane connections, files
SHARED_LINKS = 4  # of a worker to a node: one for each RESP version, and for usual and for large values
DEDICATED_SHARE = 4  # where too few are left, one in so many is kept for connections of clients' own


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the config lets clients and workers open."""

    clients: int  # of all clusters; 0 = no limit
    dedicated: int  # connections of clients' own, of one worker to all nodes
    nodes: int
    shards: int  # that clients may subscribe to
    workers: int

    @property
    def shared(self) -> int:
        """Connections that workers have at all times: one of them subscribes, to each shard."""
        return self.workers * (SHARED_LINKS * self.nodes + self.shards)

    @property
    def own(self) -> int:
        """Connections of clients' own: no client has two."""
        most = self.workers * self.dedicated
        return min(most, self.clients) if self.clients else most


@dataclass(frozen=True, slots=True)
class Share:
    """How many of each there may be in the whole process; 0 = no limit."""

    clients: int
    dedicated: int


def wanted_by(config: Config, workers: int) -> Wanted:
    """What all clusters of a config let open."""
    limits = [cluster.limits.clients for cluster in config.clusters.values()]
    topologies = config.topologies()
    redis = [topology for topology in topologies if topology.engine is Engine.REDIS]
    return Wanted(
        clients=sum(limits) if all(limits) else 0,
        dedicated=sum(len(t.nodes) * config.clusters[t.cluster].limits.dedicated for t in redis),
        nodes=sum(len(topology.nodes) for topology in topologies),
        shards=sum(len(topology.shards) for topology in redis),
        workers=workers,
    )


def descriptors_raise() -> int:
    """Let this process open as many files as it may at all; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def descriptors_share(available: int, wanted: Wanted) -> Share:
    """Share out what is left beside all else: what is wanted if it suffices, else most of it to clients."""
    if available in (resource.RLIM_INFINITY, -1):
        return Share(0, 0)
    left = max(0, available - wanted.shared - min(SPARE, available // 2))
    kept = max(left // DEDICATED_SHARE, left - wanted.clients if wanted.clients else 0)
    dedicated = min(wanted.own, kept)
    return Share(max(1, left - dedicated), max(1, dedicated))


def why_too_few(available: int, wanted: Wanted) -> str | None:
    """Say what to do when all that is wanted needs more descriptors than there are."""
    needed = wanted.clients + wanted.own + wanted.shared + SPARE
    if available in (resource.RLIM_INFINITY, -1) or needed <= available:
        return None
    return (
        f"limits.clients of all clusters, their nodes and limits.dedicated need {needed} file descriptors, "
        f"{available} are allowed: raise LimitNOFILE= (systemd) or `ulimit -Hn`, or lower these limits"
    )
