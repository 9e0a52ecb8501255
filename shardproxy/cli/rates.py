"""Rates and percentiles from two readings of /metrics. Pure.

/metrics at t0 ─> Counters ─┐
/metrics at t1 ─> Counters ─┴─> ClusterRates: requests, bytes, classes with p50, p99, p99.9, nodes
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

LATENCY = "shardproxy_command_seconds_bucket"
QUANTILES = (0.5, 0.99, 0.999)

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Counters:
    """Every sample of a scrape, by name and labels; `at` is of a clock that only goes forward."""

    at: float
    samples: Mapping[str, Mapping[Labels, float]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str, at: float) -> Counters:
        """Raise ValueError for what is no exposition."""
        samples: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                samples.setdefault(one.name, {})[frozenset(one.labels.items())] = float(one.value)
        return cls(at, samples)

    def value(self, name: str, **labels: str) -> float:
        return self.samples.get(name, {}).get(frozenset(labels.items()), 0.0)

    def of(self, name: str, cluster: str) -> Iterator[tuple[dict[str, str], float]]:
        """The samples of one cluster with that name."""
        for labels, value in self.samples.get(name, {}).items():
            found = dict(labels)
            if found.get("cluster") == cluster:
                yield found, value


@dataclass(frozen=True, slots=True)
class ClassRates:
    """One class of commands: requests a second; and seconds that 50, 99 and 99.9 % of them took at most."""

    rate: float
    percentiles: tuple[float | None, ...] = (None, None, None)


@dataclass(frozen=True, slots=True)
class ClusterRates:
    clients: int = 0
    rate: float = 0.0  # requests a second
    bytes: float = 0.0  # from and to clients, a second
    all: ClassRates = ClassRates(0.0)
    classes: Mapping[str, ClassRates] = field(default_factory=dict)
    nodes: Mapping[str, float] = field(default_factory=dict)  # requests a second, by address
    parked: int = 0


def rates_of(cluster: str, before: Counters, now: Counters) -> ClusterRates:
    """What happened between two readings; nothing of counters that began anew."""
    seconds = max(now.at - before.at, 1e-9)

    def rate(name: str, **labels: str) -> float:
        grown = now.value(name, cluster=cluster, **labels) - before.value(name, cluster=cluster, **labels)
        return max(0.0, grown) / seconds

    counts = _grown(cluster, before, now)
    classes = {name: _class(buckets, seconds) for name, buckets in counts.items()}
    together: dict[float, float] = {}
    for buckets in counts.values():
        for bound, number in buckets.items():
            together[bound] = together.get(bound, 0.0) + number
    whole = _class(together, seconds)
    return ClusterRates(
        int(now.value("shardproxy_clients", cluster=cluster)),
        whole.rate,
        rate("shardproxy_client_received_bytes_total") + rate("shardproxy_client_sent_bytes_total"),
        whole,
        {name: found for name, found in classes.items() if found.rate},
        {
            labels["node"]: rate("shardproxy_node_requests_total", node=labels["node"])
            for labels, _ in now.of("shardproxy_node_requests_total", cluster)
        },
        int(now.value("shardproxy_parked_requests", cluster=cluster)),
    )


def _grown(cluster: str, before: Counters, now: Counters) -> dict[str, dict[float, float]]:
    """By class, how many there were of each cumulative bucket."""
    found: dict[str, dict[float, float]] = {}
    for labels, value in now.of(LATENCY, cluster):
        was = before.samples.get(LATENCY, {}).get(frozenset(labels.items()), 0.0)
        found.setdefault(labels["class"], {})[float(labels["le"])] = max(0.0, value - was)
    return found


def _class(buckets: Mapping[float, float], seconds: float) -> ClassRates:
    total = max(buckets.values(), default=0.0)
    return ClassRates(total / seconds, tuple(quantile(buckets, part) for part in QUANTILES))


def quantile(buckets: Mapping[float, float], part: float) -> float | None:
    """As Prometheus' histogram_quantile: within a bucket all are taken to be spread evenly."""
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    wanted = part * buckets[bounds[-1]]
    for low, high in pairwise([0.0, *bounds]):
        below = buckets.get(low, 0.0)
        if buckets[high] >= wanted:
            if high == float("inf"):
                return low  # no bucket says more
            inside = buckets[high] - below
            return low + (high - low) * ((wanted - below) / inside if inside else 1.0)
    return bounds[-1]
