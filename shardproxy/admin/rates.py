"""What the workers did between two moments: rates, and percentiles out of histograms. Pure.

counters now ─┐                       ┌─> commands a second, by class and by shard
a second ago ─┼─ difference ─ divide ─┤
seconds ago  ─┘                       └─> p50, p99, p99.9 of a few seconds: of one second they jump about
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shardproxy.dataplane.statistics import ClusterStatistics, Latency, Statistics
from shardproxy.insight.quantiles import added, quantile, since
from shardproxy.model import Topology

QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The counters of one moment (`at`: seconds of a clock that only goes forward)."""

    at: float
    statistics: Statistics


def rates_document(kept: Sequence[Snapshot], topologies: Mapping[str, Topology]) -> dict[str, Any]:
    """Rates of the last two of these moments, percentiles of all the time they span; nothing of one alone."""
    if len(kept) < 2:
        return {"clusters": {}}
    first, before, now = kept[0], kept[-2], kept[-1]
    seconds = max(now.at - before.at, 1e-3)
    return {
        "clusters": {
            name: _cluster(
                counts,
                before.statistics.clusters.get(name),
                first.statistics.clusters.get(name),
                seconds,
                topologies.get(name),
            )
            for name, counts in now.statistics.clusters.items()
        }
    }


def _cluster(
    now: ClusterStatistics,
    before: ClusterStatistics | None,
    first: ClusterStatistics | None,
    seconds: float,
    topology: Topology | None,
) -> dict[str, Any]:
    classes: dict[str, dict[str, Any]] = {}
    for name, latency in now.latency.items():
        done = _grown(latency.count, _count(before, name))
        classes[name] = {"rate": _rate(done, seconds), **percentiles((latency,), _known(first, name))}
    return {
        "requests_per_second": round(sum(of["rate"] for of in classes.values()), 1),
        "clients": now.clients,
        "received": _rate(_grown(now.bytes_in, before.bytes_in if before else now.bytes_in), seconds),
        "sent": _rate(_grown(now.bytes_out, before.bytes_out if before else now.bytes_out), seconds),
        "classes": classes,
        "shards": _shards(now, before, first, seconds, topology),
        "nodes": _nodes(now, before, seconds),
    }


def _shards(
    now: ClusterStatistics,
    before: ClusterStatistics | None,
    first: ClusterStatistics | None,
    seconds: float,
    topology: Topology | None,
) -> dict[str, Any]:
    """Requests that a shard's nodes were sent, and how long those of all classes took."""
    shards = topology.shards if topology is not None else ()
    return {
        str(shard.number): {
            "rate": round(sum(_node_rate(now, before, str(n.address), seconds) for n in shard.nodes), 1),
            **percentiles(_of_shard(now, shard.number), _of_shard(first, shard.number)),
        }
        for shard in shards
    }


def _of_shard(cluster: ClusterStatistics | None, number: int) -> tuple[Latency, ...]:
    shard = cluster.shards.get(number) if cluster is not None else None
    return tuple(shard.latency.values()) if shard is not None else ()


def _nodes(now: ClusterStatistics, before: ClusterStatistics | None, seconds: float) -> dict[str, Any]:
    return {
        address: {"rate": _node_rate(now, before, address, seconds), "connections": counts.connections}
        for address, counts in now.nodes.items()
    }


def _node_rate(
    now: ClusterStatistics, before: ClusterStatistics | None, address: str, seconds: float
) -> float:
    counts = now.nodes.get(address)
    known = before.nodes.get(address) if before is not None else None
    return _rate(_grown(counts.requests, known.requests), seconds) if counts and known else 0.0


def percentiles(now: Iterable[Latency], before: Iterable[Latency]) -> dict[str, float | None]:
    """Seconds that so many of the commands in between took at most; None where there were none."""
    grown = since(added(of.fine for of in now), added(of.fine for of in before))
    return {name: quantile(grown, q) for name, q in QUANTILES.items()}


def _count(cluster: ClusterStatistics | None, name: str) -> int:
    latency = _latency(cluster, name)
    return latency.count if latency is not None else 0


def _known(cluster: ClusterStatistics | None, name: str) -> tuple[Latency, ...]:
    latency = _latency(cluster, name)
    return (latency,) if latency is not None else ()


def _latency(cluster: ClusterStatistics | None, name: str) -> Latency | None:
    return cluster.latency.get(name) if cluster is not None else None


def _grown(now: float, before: float) -> float:
    """Never less than nothing: counters begin anew when a worker or a cluster does."""
    return max(0, now - before)


def _rate(count: float, seconds: float) -> float:
    return round(count / seconds, 1)
