"""What the workers counted, as frozen values. Knows nothing of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """One worker thread."""

    turns: int
    age: float  # seconds since its loop last turned
    clients: int
    buffers: int  # bytes
    restarts: int

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Take the native module's plain values; raise KeyError when one is missing."""
        return cls(**{name: values[name] for name in WorkerStatistics.__slots__})


@dataclass(frozen=True, slots=True)
class CommandStatistics:
    """One command: how often it was answered well, and with an error."""

    ok: int
    error: int


@dataclass(frozen=True, slots=True)
class LibertyStatistics:
    """One command that a cluster of one shard served and several would have refused."""

    count: int
    example: str  # the command and what its keys look like


@dataclass(frozen=True, slots=True)
class RuleStatistics:
    """What became of requests that one caching rule is about."""

    hits: int  # reads the engine had something for
    misses: int  # reads handed over, as it had not
    writes: int  # handed over unsent
    cancelled: int  # leases deleted before other writes
    unhanded: int  # what could not be handed over: too much was already


@dataclass(frozen=True, slots=True)
class Latency:
    """How long some requests took."""

    fine: tuple[tuple[int, int], ...]  # number of a bucket, and its count: see insight/quantiles.py
    sum: float  # seconds

    @property
    def count(self) -> int:
        return sum(count for _, count in self.fine)


@dataclass(frozen=True, slots=True)
class ShardStatistics:
    """What one shard was asked."""

    latency: Mapping[str, Latency]  # by class, of those that there were any
    sampled: int  # keys in the requests looked at within the last half minute
    hottest: int  # of these, the hottest key's; of each worker its own

    @property
    def hottest_share(self) -> float:
        """Which part of the shard's requests is for its hottest key, 0-1."""
        return min(self.hottest / self.sampled, 1.0) if self.sampled else 0.0


@dataclass(frozen=True, slots=True)
class NodeStatistics:
    """The upstream connections to one node, of all workers together."""

    connections: int
    connects: int
    connect_failures: int
    requests: int
    errors: int
    lost: int
    strangers: int  # connections closed because another process than the named primary answered
    timeouts: int
    bytes_in: int
    bytes_out: int
    queued: int


@dataclass(frozen=True, slots=True)
class NearStatistics:
    """Of replies that are kept near."""

    hits: int  # keys
    misses: int  # requests
    bytes: int
    keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterCounts:
    """One cluster, of all workers together: what is cheap to ask for."""

    clients: int
    blocked: int  # clients whose command waits at a node, for a connection to do so, or for a pause to end
    accepted: int
    refused: Mapping[str, int]  # connections, by reason
    closed: Mapping[str, int]
    handshakes: Mapping[str, int]  # TLS of clients: full and resumed; those that failed are refused
    bytes_in: int
    bytes_out: int
    commands: Mapping[str, CommandStatistics]
    offloads: int
    protocol_errors: int
    deliveries: int  # of messages to subscribers
    subscription_gaps: int
    waiting: int  # clients that wait for keys now
    tracking: int  # clients that track keys (CLIENT TRACKING)
    tracked_keys: int  # which they have read, by worker
    tracked_items: int  # for each of these its readers
    tracked_prefixes: int
    fresh_reads: int  # that replicas were not asked for, so soon after a write
    held: int  # requests whose clients were not read on until a queue had room
    parked: int  # requests that wait for a primary now
    parked_bytes: int
    tryagain: int  # requests the proxy refused as not executed; for each shard of a command over several
    indoubt: int  # requests that may have been executed, or too few replicas have; likewise
    near: NearStatistics
    slow: int  # requests that took as long as the slow log's threshold
    trace_dropped: int  # that traces did not tell of, as too many waited
    relaxed: Mapping[str, LibertyStatistics]  # by command; of a transaction, multi
    caching: Mapping[str, RuleStatistics] = field(default_factory=dict)  # by what the rule matches
    big_reply: int = 0  # bytes of the largest reply of the last minutes; 0 = none was large

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Take the native module's plain values; raise KeyError when one is missing."""
        return cls(**cls._fields(values))

    @staticmethod
    def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
        plain = {name: values[name] for name in PLAIN}
        return {
            **plain,
            "refused": dict(values["refused"]),
            "closed": dict(values["closed"]),
            "handshakes": dict(values["handshakes"]),
            "commands": {
                name: CommandStatistics(c["ok"], c["error"]) for name, c in values["commands"].items()
            },
            "near": NearStatistics(**values["near"]),
            "relaxed": {
                name: LibertyStatistics(of["count"], of["example"]) for name, of in values["relaxed"].items()
            },
            "caching": {rule: RuleStatistics(**counts) for rule, counts in values["caching"].items()},
            "big_reply": values["big_reply"] or 0,
        }


PLAIN = tuple(name for name, kind in ClusterCounts.__annotations__.items() if kind == "int")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatistics(ClusterCounts):
    """One cluster, of all workers together."""

    latency: Mapping[str, Latency]  # by class
    nodes: Mapping[str, NodeStatistics]  # by address
    shards: Mapping[int, ShardStatistics] = field(default_factory=dict)  # by number
    families: Mapping[str, Latency] = field(default_factory=dict)  # of keys, of requests that were looked at

    @staticmethod
    def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **ClusterCounts._fields(values),
            "latency": {name: _latency(times) for name, times in values["latency"].items()},
            "nodes": {address: _node(counts) for address, counts in values["nodes"].items()},
            "shards": {int(number): _shard(counts) for number, counts in values["shards"].items()},
            "families": {family: _latency(times) for family, times in values["families"].items()},
        }


@dataclass(frozen=True, slots=True)
class Statistics:
    """The whole data plane at one moment."""

    workers: tuple[WorkerStatistics, ...]
    clusters: Mapping[str, ClusterStatistics]
    buffers: int  # bytes
    epoch: Mapping[str, int]
    dedicated: int = 0  # connections of clients' own
    lacking: int = 0  # what could not be opened for want of a file descriptor
    accesses: Mapping[tuple[str, str, str], int] = field(default_factory=dict)  # by cluster, kind, what of
    access_untold: int = 0  # of who came in or was kept out: too many waited to be told

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Statistics:
        """Take the native module's plain values; raise KeyError when one is missing."""
        return cls(
            workers=tuple(WorkerStatistics.read(worker) for worker in values["workers"]),
            clusters={name: ClusterStatistics.read(c) for name, c in values["clusters"].items()},
            buffers=values["buffers"],
            epoch=dict(values["epoch"]),
            dedicated=values["dedicated"],
            lacking=values["lacking"],
            accesses={(cluster, kind, of): count for cluster, kind, of, count in values["accesses"]},
            access_untold=values["access_untold"],
        )


def _node(values: Mapping[str, Any]) -> NodeStatistics:
    return NodeStatistics(**values)


def _latency(values: Mapping[str, Any]) -> Latency:
    return Latency(values["fine"], values["sum"])


def _shard(values: Mapping[str, Any]) -> ShardStatistics:
    latency = {name: _latency(times) for name, times in values["latency"].items()}
    return ShardStatistics(latency, values["sampled"], values["hottest"])
