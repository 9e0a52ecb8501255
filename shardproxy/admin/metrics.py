"""Every metric there is, as a table. Knows nothing of HTTP."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from shardproxy.dataplane.statistics import ClusterStatistics, NodeStatistics, Statistics, WorkerStatistics

Labels = tuple[str, ...]
Sample = tuple[Labels, float]


class Kind(enum.Enum):
    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the table; `read` gives its samples from the workers' counters."""

    name: str
    kind: Kind
    help: str
    labels: Labels
    read: Callable[[Statistics], Iterable[Sample]]


def _process(name: str, kind: Kind, text: str, value: Callable[[Statistics], float]) -> Metric:
    def read(statistics: Statistics) -> Iterator[Sample]:
        yield (), value(statistics)

    return Metric(name, kind, text, (), read)


def _worker(name: str, kind: Kind, text: str, value: Callable[[WorkerStatistics], float]) -> Metric:
    def read(statistics: Statistics) -> Iterator[Sample]:
        for index, worker in enumerate(statistics.workers):
            yield (str(index),), value(worker)

    return Metric(name, kind, text, ("worker",), read)


def _cluster(name: str, kind: Kind, text: str, value: Callable[[ClusterStatistics], float]) -> Metric:
    def read(statistics: Statistics) -> Iterator[Sample]:
        for cluster, counts in statistics.clusters.items():
            yield (cluster,), value(counts)

    return Metric(name, kind, text, ("cluster",), read)


def _node(name: str, kind: Kind, text: str, value: Callable[[NodeStatistics], float]) -> Metric:
    def read(statistics: Statistics) -> Iterator[Sample]:
        for cluster, counts in statistics.clusters.items():
            for address, node in counts.nodes.items():
                yield (cluster, address), value(node)

    return Metric(name, kind, text, ("cluster", "node"), read)


def _closed(statistics: Statistics) -> Iterator[Sample]:
    for name, cluster in statistics.clusters.items():
        for reason, count in cluster.closed.items():
            yield (name, reason), count


def _refused(statistics: Statistics) -> Iterator[Sample]:
    for name, cluster in statistics.clusters.items():
        for reason, count in cluster.refused.items():
            yield (name, reason), count


def _handshakes(statistics: Statistics) -> Iterator[Sample]:
    for name, cluster in statistics.clusters.items():
        for kind, count in cluster.handshakes.items():
            yield (name, kind), count


def _accesses(statistics: Statistics) -> Iterator[Sample]:
    for (cluster, kind, denied), count in statistics.accesses.items():
        yield (cluster, f"{kind}_{denied}" if denied else kind), count


def _relaxed(statistics: Statistics) -> Iterator[Sample]:
    for name, cluster in statistics.clusters.items():
        for command, counts in cluster.relaxed.items():
            yield (name, command), counts.count


def _commands(statistics: Statistics) -> Iterator[Sample]:
    for name, cluster in statistics.clusters.items():
        for command, counts in cluster.commands.items():
            yield (name, command, "ok"), counts.ok
            yield (name, command, "error"), counts.error


def _epochs(statistics: Statistics) -> Iterator[Sample]:
    for name, epoch in statistics.epoch.items():
        yield (name,), epoch


COUNTER, GAUGE = Kind.COUNTER, Kind.GAUGE
TABLE: tuple[Metric, ...] = (
    _process("shardproxy_workers", GAUGE, "Worker threads.", lambda s: len(s.workers)),
    _process("shardproxy_buffers_bytes", GAUGE, "All buffers of the data plane.", lambda s: s.buffers),
    _process(
        "shardproxy_dedicated_connections",
        GAUGE,
        "Connections of clients that block or watch, to all nodes.",
        lambda s: s.dedicated,
    ),
    _process(
        "shardproxy_descriptors_lacking_total",
        COUNTER,
        "Connections not opened or not accepted for want of a file descriptor.",
        lambda s: s.lacking,
    ),
    _worker("shardproxy_worker_turns_total", COUNTER, "Turns of the event loop.", lambda w: w.turns),
    _worker("shardproxy_worker_turn_age_seconds", GAUGE, "Time since the last turn.", lambda w: w.age),
    _worker("shardproxy_worker_clients", GAUGE, "Clients of a worker.", lambda w: w.clients),
    _worker("shardproxy_worker_buffers_bytes", GAUGE, "Buffers of a worker.", lambda w: w.buffers),
    _worker("shardproxy_worker_restarts_total", COUNTER, "Restarts after a panic.", lambda w: w.restarts),
    Metric("shardproxy_topology_epoch", GAUGE, "Epoch of the topology served.", ("cluster",), _epochs),
    _cluster("shardproxy_clients", GAUGE, "Connected clients.", lambda c: c.clients),
    _cluster(
        "shardproxy_clients_blocked",
        GAUGE,
        "Clients whose command waits at a node or for a connection to do so, or is held by CLIENT PAUSE.",
        lambda c: c.blocked,
    ),
    _cluster("shardproxy_clients_accepted_total", COUNTER, "Clients accepted.", lambda c: c.accepted),
    Metric(
        "shardproxy_connections_refused_total",
        COUNTER,
        "Connections refused, by reason: limit, security_group, no_balancer, proxy_header, handshake,"
        " handshake_limit.",
        ("cluster", "reason"),
        _refused,
    ),
    Metric(
        "shardproxy_tls_handshakes_total",
        COUNTER,
        "TLS handshakes of clients, by outcome: full, or resumed from an earlier session.",
        ("cluster", "outcome"),
        _handshakes,
    ),
    Metric(
        "shardproxy_clients_closed_total",
        COUNTER,
        "Clients closed, by reason.",
        ("cluster", "reason"),
        _closed,
    ),
    _cluster("shardproxy_client_received_bytes_total", COUNTER, "Bytes from clients.", lambda c: c.bytes_in),
    _cluster("shardproxy_client_sent_bytes_total", COUNTER, "Bytes to clients.", lambda c: c.bytes_out),
    _cluster(
        "shardproxy_protocol_errors_total",
        COUNTER,
        "Clients that broke the protocol.",
        lambda c: c.protocol_errors,
    ),
    _cluster(
        "shardproxy_deliveries_total", COUNTER, "Messages given to subscribers.", lambda c: c.deliveries
    ),
    _cluster(
        "shardproxy_subscription_gaps_total",
        COUNTER,
        "Subscribing connections lost: what was published there until they were back was not heard.",
        lambda c: c.subscription_gaps,
    ),
    _cluster(
        "shardproxy_waiting_clients",
        GAUGE,
        "Clients that wait for keys: lists, sorted sets or streams in which there is nothing yet.",
        lambda c: c.waiting,
    ),
    _cluster(
        "shardproxy_fresh_reads_total",
        COUNTER,
        "Reads that went to primaries because their keys may have been written within max_staleness.",
        lambda c: c.fresh_reads,
    ),
    _cluster(
        "shardproxy_held_requests_total",
        COUNTER,
        "Requests whose clients were not read on until their shard's queue had room (limits.shard_queue).",
        lambda c: c.held,
    ),
    _cluster(
        "shardproxy_parked_requests",
        GAUGE,
        "Requests that wait for their shard to have a primary.",
        lambda c: c.parked,
    ),
    _cluster("shardproxy_parked_bytes", GAUGE, "Bytes of these requests.", lambda c: c.parked_bytes),
    _cluster(
        "shardproxy_tryagain_replies_total",
        COUNTER,
        "Commands refused with TRYAGAIN: not executed.",
        lambda c: c.tryagain,
    ),
    _cluster(
        "shardproxy_indoubt_replies_total",
        COUNTER,
        "Replies INDOUBT: executed perhaps, or on too few replicas.",
        lambda c: c.indoubt,
    ),
    Metric(
        "shardproxy_access_total",
        COUNTER,
        "Logins, and whatever was refused: who may not connect, log in, or do what it asked for.",
        ("cluster", "event"),
        _accesses,
    ),
    _process(
        "shardproxy_access_untold_total",
        COUNTER,
        "Of these, what is missing in ACL LOG and in the audit log: too many came at once.",
        lambda s: s.access_untold,
    ),
    _cluster("shardproxy_offloads_total", COUNTER, "Commands answered in Python.", lambda c: c.offloads),
    Metric(
        "shardproxy_commands_total",
        COUNTER,
        "Commands answered, by name and outcome (ok, error).",
        ("cluster", "command", "outcome"),
        _commands,
    ),
    Metric(
        "shardproxy_relaxed_commands_total",
        COUNTER,
        "Commands that one shard served and several would refuse, by name (multi: a transaction).",
        ("cluster", "command"),
        _relaxed,
    ),
    _node("shardproxy_node_connections", GAUGE, "Open connections to a node.", lambda n: n.connections),
    _node("shardproxy_node_connects_total", COUNTER, "Connections made to a node.", lambda n: n.connects),
    _node(
        "shardproxy_node_connect_failures_total",
        COUNTER,
        "Connections to a node that failed.",
        lambda n: n.connect_failures,
    ),
    _node("shardproxy_node_requests_total", COUNTER, "Requests sent to a node.", lambda n: n.requests),
    _node("shardproxy_node_errors_total", COUNTER, "Error replies of a node.", lambda n: n.errors),
    _node("shardproxy_node_lost_total", COUNTER, "Requests whose connection was lost.", lambda n: n.lost),
    _node(
        "shardproxy_node_strangers_total",
        COUNTER,
        "Connections on which another process than the primary answered.",
        lambda n: n.strangers,
    ),
    _node("shardproxy_node_timeouts_total", COUNTER, "Requests not answered in time.", lambda n: n.timeouts),
    _node("shardproxy_node_received_bytes_total", COUNTER, "Bytes from a node.", lambda n: n.bytes_in),
    _node("shardproxy_node_sent_bytes_total", COUNTER, "Bytes to a node.", lambda n: n.bytes_out),
    _node(
        "shardproxy_node_queued_bytes",
        GAUGE,
        "Bytes of requests that wait for a node: sent without a reply yet, or not sent.",
        lambda n: n.queued,
    ),
)

LATENCY = "shardproxy_command_seconds"
LATENCY_HELP = "Time from a command's arrival to its reply, by class of command."
LATENCY_LABELS: Labels = ("cluster", "class")
INFO = "shardproxy_info"
INFO_HELP = "Always 1; says which version runs."
RELOADS = "shardproxy_config_reloads_total"
AUDIT = "shardproxy_audit_lines_total"
AUDIT_HELP = "Lines of the audit log, by outcome (written, lost)."
CERTIFICATES = "shardproxy_certificate_expiry_timestamp_seconds"
CERTIFICATES_HELP = "When a certificate that is served or shown to nodes ends to be valid."
RELOADS_HELP = "Reloads of the config, by outcome (ok, refused)."


def metric_names() -> frozenset[str]:
    """Every series a scrape can show, as Prometheus names them."""
    histogram = {f"{LATENCY}_{part}" for part in ("bucket", "sum", "count")}
    return frozenset({metric.name for metric in TABLE} | histogram | {INFO, RELOADS, AUDIT, CERTIFICATES})
