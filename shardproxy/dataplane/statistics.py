"""What the workers counted, as frozen values. Knows nothing of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """One worker thread."""

    turns: int
    age: float  # seconds since its loop last turned
    clients: int
    buffers: int  # bytes
    restarts: int


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
class Latency:
    """Times of one class of commands; buckets are (at most this many seconds, cumulative count)."""

    buckets: tuple[tuple[float, int], ...]
    sum: float  # seconds
    count: int


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
class ClusterStatistics:
    """One cluster, of all workers together."""

    clients: int
    blocked: int  # clients whose command waits at a node, for a connection to do so, or for a pause to end
    accepted: int
    refused: Mapping[str, int]  # connections, by reason
    closed: Mapping[str, int]
    handshakes: Mapping[str, int]  # TLS of clients: full and resumed; those that failed are refused
    bytes_in: int
    bytes_out: int
    commands: Mapping[str, CommandStatistics]
    latency: Mapping[str, Latency]
    offloads: int
    protocol_errors: int
    deliveries: int  # of messages to subscribers
    subscription_gaps: int
    waiting: int  # clients that wait for keys now
    fresh_reads: int  # that replicas were not asked for, so soon after a write
    held: int  # requests whose clients were not read on until a queue had room
    parked: int  # requests that wait for a primary now
    parked_bytes: int
    tryagain: int  # requests the proxy refused as not executed; for each shard of a command over several
    indoubt: int  # requests that may have been executed, or too few replicas have; likewise
    nodes: Mapping[str, NodeStatistics]
    relaxed: Mapping[str, LibertyStatistics]  # by command; of a transaction, multi

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> ClusterStatistics:
        return cls(
            clients=values["clients"],
            blocked=values["blocked"],
            accepted=values["accepted"],
            refused=dict(values["refused"]),
            closed=dict(values["closed"]),
            handshakes=dict(values["handshakes"]),
            bytes_in=values["bytes_in"],
            bytes_out=values["bytes_out"],
            commands={name: CommandStatistics(c["ok"], c["error"]) for name, c in values["commands"].items()},
            latency={name: _latency(times) for name, times in values["latency"].items()},
            offloads=values["offloads"],
            protocol_errors=values["protocol_errors"],
            deliveries=values["deliveries"],
            subscription_gaps=values["subscription_gaps"],
            waiting=values["waiting"],
            fresh_reads=values["fresh_reads"],
            held=values["held"],
            parked=values["parked"],
            parked_bytes=values["parked_bytes"],
            tryagain=values["tryagain"],
            indoubt=values["indoubt"],
            nodes={address: _node(counts) for address, counts in values["nodes"].items()},
            relaxed={
                name: LibertyStatistics(of["count"], of["example"]) for name, of in values["relaxed"].items()
            },
        )


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
            workers=tuple(_worker(worker) for worker in values["workers"]),
            clusters={name: ClusterStatistics.read(c) for name, c in values["clusters"].items()},
            buffers=values["buffers"],
            epoch=dict(values["epoch"]),
            dedicated=values["dedicated"],
            lacking=values["lacking"],
            accesses={(cluster, kind, of): count for cluster, kind, of, count in values["accesses"]},
            access_untold=values["access_untold"],
        )

    @property
    def clients(self) -> int:
        return sum(cluster.clients for cluster in self.clusters.values())


def _worker(values: Mapping[str, Any]) -> WorkerStatistics:
    return WorkerStatistics(**{name: values[name] for name in WorkerStatistics.__slots__})


def _node(values: Mapping[str, Any]) -> NodeStatistics:
    return NodeStatistics(**{name: values[name] for name in NodeStatistics.__slots__})


def _latency(values: Mapping[str, Any]) -> Latency:
    return Latency(tuple((le, count) for le, count in values["buckets"]), values["sum"], values["count"])
