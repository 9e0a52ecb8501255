"""What is wrong with how a cluster is used, in figures, and what to do about it. Pure.

Each finding is one function: figures in, findings out. Bounds stand beside it, with their reason.
"""

from __future__ import annotations

import enum
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shardproxy.insight.figures import ClusterFigures, ShardFigures

SKEWED = 1.5  # times the mean: scaling by the mean then leaves this shard too small
SKEWED_MUCH = 3.0
FEW_KEYS = 1000  # a shard: fewer say nothing of how keys spread
FEW_BYTES = 16 << 20  # the same of memory
FEW_REQUESTS = 50.0  # a second, of the cluster
HOT_KEY = 0.25  # of its shard's requests: no other shard can take a part of one key
HOT_KEY_MUCH = 0.5
HOT_FAMILY = 0.9
FULL, FULL_MUCH = 0.8, 0.95  # of maxmemory
UNALIKE = 1.1  # largest maxmemory to the smallest
PER_REQUEST = 3.0  # requests a connection, or fewer, are made by who opens one for each
MANY_CONNECTIONS = 5.0  # a second


class Severity(enum.Enum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. Figures are plain JSON values."""

    name: str
    severity: Severity
    title: str
    figures: Mapping[str, Any]
    advice: str

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "severity": self.severity.value,
            "title": self.title,
            "figures": dict(self.figures),
            "advice": self.advice,
        }


Hot = Mapping[str, Any]  # of one cluster, as /api/hotkeys has it; empty where it is not known
GRAVE_FIRST = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


def advise(figures: ClusterFigures, hot: Hot | None = None) -> tuple[Finding, ...]:
    """All findings, the gravest first."""
    found = [finding for look in LOOKS for finding in look(figures, hot or {})]
    return tuple(sorted(found, key=lambda finding: GRAVE_FIRST[finding.severity]))


# --- skew ---


def _key_skew(figures: ClusterFigures, hot: Hot) -> Iterator[Finding]:
    shards = _known(figures)
    if sum(shard.keys for shard in shards) < FEW_KEYS * len(shards):
        return
    advice = (
        f"shardproxy rebalance {figures.cluster} --by keys evens it out; if it comes back, a hash tag or a"
        " key family puts too many keys into one slot"
    )
    yield from _skew("key_skew", "keys", figures, shards, lambda shard: shard.keys, advice)


def _memory_skew(figures: ClusterFigures, hot: Hot) -> Iterator[Finding]:
    shards = _known(figures)
    if sum(shard.used for shard in shards) < FEW_BYTES * len(shards):
        return
    advice = (
        f"shardproxy rebalance {figures.cluster} --by memory moves slots; shardproxy bigkeys"
        f" {figures.cluster} --scan shows whether a few large keys are the cause, which no slot move cures"
    )
    yield from _skew("memory_skew", "memory", figures, shards, lambda shard: shard.used, advice)


def _load_skew(figures: ClusterFigures, hot: Hot) -> Iterator[Finding]:
    shards = figures.shards
    if sum(map(_load, shards)) < FEW_REQUESTS:
        return
    advice = (
        f"shardproxy hotkeys {figures.cluster} shows whether one key or one slot is the cause; else"
        f" shardproxy rebalance {figures.cluster} --by load moves slots"
    )
    if figures.engine != "redis":
        advice = (
            f"shardproxy hotkeys {figures.cluster} shows which keys are the cause: cache these in clients"
        )
    yield from _skew("load_skew", "requests", figures, shards, _load, advice)


def _load(shard: ShardFigures) -> float:
    return max(shard.requests_rate, shard.commands_rate)


def _skew(
    name: str,
    what: str,
    figures: ClusterFigures,
    shards: Sequence[ShardFigures],
    weight: Callable[[ShardFigures], float],
    advice: str,
) -> Iterator[Finding]:
    if len(shards) < 2 or not (mean := statistics.fmean(weight(shard) for shard in shards)):
        return
    most = max(shards, key=weight)
    times = weight(most) / mean
    if times < min(SKEWED, 0.9 * len(shards)):  # of two shards none has more than twice the mean
        return
    severity = Severity.CRITICAL if times >= SKEWED_MUCH else Severity.WARNING
    yield Finding(
        name,
        severity,
        f"shard {most.label} has {times:.1f} times the mean of {what}",
        {
            "shard": most.number,
            "value": round(weight(most), 1),
            "mean": round(mean, 1),
            "times": round(times, 2),
        },
        advice,
    )


# --- what is hot ---


def _hot_key(figures: ClusterFigures, hot: Hot) -> Iterator[Finding]:
    if sum(map(_load, figures.shards)) < FEW_REQUESTS:
        return
    for key in hot.get("keys", ())[:1]:
        share, reads = float(key["share"]), float(key.get("reads") or 0.0)
        if share < HOT_KEY:
            return
        cure = (
            "nearly all of it is reads: near_cache answers them from the proxy's memory"
            if reads > 0.9
            else "split it in the application into several keys, and add them up where it is read"
        )
        yield Finding(
            "hot_key",
            Severity.CRITICAL if share >= HOT_KEY_MUCH else Severity.WARNING,
            f"one key takes {share:.0%} of the requests of shard {key['shard']}: {key['key']}",
            {
                "key": key["key"],
                "shard": key["shard"],
                "share": share,
                "requests_per_second": key["requests_per_second"],
                "reads": reads,
            },
            f"No resharding cures it, as a key is on one shard; {cure}.",
        )


def _hot_family(figures: ClusterFigures, hot: Hot) -> Iterator[Finding]:
    if len(figures.shards) < 2:
        return
    labels = {str(shard.number): shard.label for shard in figures.shards}
    for family in hot.get("families", ()):
        for shard, share in family.get("shards", {}).items():
            if share >= HOT_FAMILY:
                yield Finding(
                    "hot_family",
                    Severity.WARNING,
                    f"keys {family['family']} are {share:.0%} of the requests of shard"
                    f" {labels.get(shard, shard)}",
                    {"family": family["family"], "shard": int(shard), "share": share},
                    "If they share a hash tag or a key family, hash a smaller part of them, so that they"
                    " spread; else give them a cluster of their own, sized for them.",
                )
                break


# --- memory ---


def _evictions(figures: ClusterFigures, hot: Hot) -> Iterator[Finding]:
    for shard in _known(figures):
        if shard.evicted_rate > 0:
            yield Finding(
                "evictions",
                Severity.WARNING,
                f"shard {shard.label} evicts {shard.evicted_rate:.0f} keys a second ({shard.policy})",
                {
                    "shard": shard.number,
                    "evicted_per_second": round(shard.evicted_rate, 1),
                    "evicted": shard.evicted,
                    "maxmemory": shard.maxmemory,
                    "policy": shard.policy,
                },
                "As a cache that is what it should do, if hits do not suffer; else more memory, more shards"
                f" (shardproxy plan {figures.cluster} --shards N) or shorter lives (EXPIRE).",
            )
            return


def _full(figures: ClusterFigures, hot: Hot) -> Iterator[Finding]:
    for shard in sorted(_known(figures), key=lambda shard: -(shard.full or 0.0)):
        if shard.full is None or shard.full < FULL:
            return
        refuses = shard.policy == "noeviction"
        yield Finding(
            "nearly_full",
            Severity.CRITICAL if refuses and shard.full >= FULL_MUCH else Severity.WARNING,
            f"shard {shard.label} has {shard.full:.0%} of its maxmemory in use ({shard.policy})",
            {"shard": shard.number, "used": shard.used, "maxmemory": shard.maxmemory, "policy": shard.policy},
            f"At 100 % {'writes are refused' if refuses else 'keys are evicted'}: shardproxy plan"
            f" {figures.cluster} --shards N shows what more shards would make of it.",
        )
        return


def _maxmemory(figures: ClusterFigures, hot: Hot) -> Iterator[Finding]:
    shards = _known(figures)
    limits = {shard.maxmemory for shard in shards}
    if len(limits) < 2:
        return
    least, most = min(limits), max(limits)
    if least and most / least < UNALIKE:
        return
    named = {shard.label: shard.maxmemory for shard in shards}
    yield Finding(
        "unbalanced_maxmemory",
        Severity.WARNING,
        "the shards' maxmemory differ, and slots are spread as if they were alike",
        {"least": least, "most": most, "shards": dict(list(named.items())[:10])},
        "Set the same maxmemory on every node (CONFIG SET, and in their files); 0 is no limit: such a node"
        " takes all memory of its machine.",
    )


# --- where nodes are, and how clients behave ---


def _zones(figures: ClusterFigures, hot: Hot) -> Iterator[Finding]:
    known = {zone for shard in figures.shards for zone in shard.zones if zone is not None}
    alone = [
        shard
        for shard in figures.shards
        if len(shard.zones) > 1 and None not in shard.zones and len(set(shard.zones)) == 1
    ]
    if not alone:
        return
    first = alone[0]
    yield Finding(
        "one_zone",
        Severity.WARNING,
        f"{len(alone)} of {len(figures.shards)} shards have all nodes in one zone, as {first.label} in"
        f" {first.zones[0]}",
        {"shards": [shard.number for shard in alone[:100]], "zones": sorted(known)},
        "When that zone is lost so is the shard: put a replica of each into another zone, and say so in the"
        " config (zone).",
    )


def _no_replica(figures: ClusterFigures, hot: Hot) -> Iterator[Finding]:
    alone = [shard for shard in figures.shards if shard.zones and not shard.replicas]
    if figures.engine != "redis" or not alone:
        return
    yield Finding(
        "no_replica",
        Severity.INFO,
        f"{len(alone)} of {len(figures.shards)} shards have no replica",
        {"shards": [shard.number for shard in alone[:100]]},
        "When their node is lost, so is what it holds in memory: list a second node for each.",
    )


def _connections(figures: ClusterFigures, hot: Hot) -> Iterator[Finding]:
    if figures.accepted_rate < MANY_CONNECTIONS:
        return
    per_connection = figures.requests_rate / figures.accepted_rate
    if per_connection > PER_REQUEST:
        return
    yield Finding(
        "connection_per_request",
        Severity.WARNING,
        f"clients open {figures.accepted_rate:.0f} connections a second, for {per_connection:.1f} requests"
        " each",
        {
            "connections_per_second": round(figures.accepted_rate, 1),
            "requests_per_second": round(figures.requests_rate, 1),
            "requests_per_connection": round(per_connection, 2),
        },
        "A client library opens a connection for each request: keep one client or pool for the life of the"
        " process (persistent connections in PHP); a connection costs many times what a request does.",
    )


def _known(figures: ClusterFigures) -> list[ShardFigures]:
    """The shards with slots that could be asked."""
    return [shard for shard in figures.shards if shard.why_not is None and shard.slots and shard.used]


LOOKS = (
    _hot_key,
    _key_skew,
    _memory_skew,
    _load_skew,
    _full,
    _evictions,
    _hot_family,
    _maxmemory,
    _zones,
    _connections,
    _no_replica,
)
