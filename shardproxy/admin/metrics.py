"""What the workers count, as a table. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from shardproxy.admin.metric import COUNTER, GAUGE, Bounds, Histogram, Labels, Metric, Sample, each
from shardproxy.dataplane.statistics import (
    ClusterStatistics,
    Latency,
    NodeStatistics,
    Statistics,
    WorkerStatistics,
)
from shardproxy.insight.quantiles import cumulative


def _whole(statistics: Statistics) -> Iterator[tuple[Labels, Statistics]]:
    yield (), statistics


def _workers(statistics: Statistics) -> Iterator[tuple[Labels, WorkerStatistics]]:
    for index, worker in enumerate(statistics.workers):
        yield (str(index),), worker


def _clusters(statistics: Statistics) -> Iterator[tuple[Labels, ClusterStatistics]]:
    for name, cluster in statistics.clusters.items():
        yield (name,), cluster


def _nodes(statistics: Statistics) -> Iterator[tuple[Labels, NodeStatistics]]:
    for name, cluster in statistics.clusters.items():
        for address, node in cluster.nodes.items():
            yield (name, address), node


_process = each((), _whole)
_worker = each(("worker",), _workers)
_cluster = each(("cluster",), _clusters)
_node = each(("cluster", "node"), _nodes)


def _counted(
    pick: Callable[[ClusterStatistics], Mapping[str, int]],
) -> Callable[[Statistics], Iterator[Sample]]:
    """What a cluster counts by a word."""

    def read(statistics: Statistics) -> Iterator[Sample]:
        for name, cluster in statistics.clusters.items():
            for word, count in pick(cluster).items():
                yield (name, word), count

    return read


def _hottest(statistics: Statistics) -> Iterator[Sample]:
    for name, cluster in statistics.clusters.items():
        for number, shard in cluster.shards.items():
            yield (name, str(number)), shard.hottest_share


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


TABLE: tuple[Metric[Statistics], ...] = (
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
        _counted(lambda c: c.refused),
    ),
    Metric(
        "shardproxy_tls_handshakes_total",
        COUNTER,
        "TLS handshakes of clients, by outcome: full, or resumed from an earlier session.",
        ("cluster", "outcome"),
        _counted(lambda c: c.handshakes),
    ),
    Metric(
        "shardproxy_clients_closed_total",
        COUNTER,
        "Clients closed, by reason.",
        ("cluster", "reason"),
        _counted(lambda c: c.closed),
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
        "shardproxy_tracking_clients",
        GAUGE,
        "Clients that are told which keys change (CLIENT TRACKING).",
        lambda c: c.tracking,
    ),
    _cluster(
        "shardproxy_tracked_keys",
        GAUGE,
        "Keys that such clients have read and are told of, counted in each worker that has one of these.",
        lambda c: c.tracked_keys,
    ),
    _cluster(
        "shardproxy_fresh_reads_total",
        COUNTER,
        "Reads that went to primaries because their keys may have been written within max_staleness.",
        lambda c: c.fresh_reads,
    ),
    _cluster(
        "shardproxy_near_hits_total",
        COUNTER,
        "Keys whose reads were answered from the near cache.",
        lambda c: c.near.hits,
    ),
    _cluster(
        "shardproxy_near_misses_total",
        COUNTER,
        "Reads of keys the near cache may have, and had not.",
        lambda c: c.near.misses,
    ),
    _cluster("shardproxy_near_bytes", GAUGE, "Bytes that the near cache takes.", lambda c: c.near.bytes),
    _cluster("shardproxy_near_keys", GAUGE, "Replies in the near cache.", lambda c: c.near.keys),
    _cluster(
        "shardproxy_held_requests_total",
        COUNTER,
        "Requests whose clients were not read on until their shard's queue had room (limits.shard_queue).",
        lambda c: c.held,
    ),
    _cluster(
        "shardproxy_slow_commands_total",
        COUNTER,
        "Requests that took as long as the slow log's threshold (slow_log.threshold).",
        lambda c: c.slow,
    ),
    _cluster(
        "shardproxy_trace_dropped_total",
        COUNTER,
        "Requests that a trace did not tell of, as too many waited to be told.",
        lambda c: c.trace_dropped,
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
    Metric(
        "shardproxy_hot_key_share",
        GAUGE,
        "Which part (0-1) of a shard's requests within the last half minute is for its hottest key; sampled.",
        ("cluster", "shard"),
        _hottest,
    ),
    _cluster(
        "shardproxy_big_reply_bytes",
        GAUGE,
        "The largest reply of the last minutes; 0: none was larger than 16 KiB.",
        lambda c: c.big_reply,
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

Times = Iterator[tuple[Labels, Latency]]
DOUBLING = range(5, 25)  # of two, microseconds: 32 us to 16.8 s
COARSE = range(5, 25, 2)  # up to 8.4 s; there are hundreds of shards


def _of_clusters(statistics: Statistics) -> Times:
    for name, cluster in statistics.clusters.items():
        for command_class, latency in cluster.latency.items():
            yield (name, command_class), latency


def _of_shards(statistics: Statistics) -> Times:
    for name, cluster in statistics.clusters.items():
        for number, shard in cluster.shards.items():
            for command_class, latency in shard.latency.items():
                yield (name, str(number), command_class), latency


def _of_families(statistics: Statistics) -> Times:
    for name, cluster in statistics.clusters.items():
        for family, latency in cluster.families.items():
            yield (name, family), latency


def _within(
    powers: Sequence[int], find: Callable[[Statistics], Times]
) -> Callable[[Statistics], Iterator[tuple[Labels, Bounds, float]]]:
    """Buckets that scrapes show: up to these powers of two, microseconds, and all."""

    def read(statistics: Statistics) -> Iterator[tuple[Labels, Bounds, float]]:
        for labels, latency in find(statistics):
            bounds = [2**power / 1e6 for power in powers]
            counts = cumulative(latency.fine, powers)
            shown = [*zip(bounds, counts, strict=True), (float("inf"), latency.count)]
            yield labels, shown, latency.sum

    return read


TIMES: tuple[Histogram[Statistics], ...] = (
    Histogram(
        "shardproxy_command_seconds",
        "Time from a command's arrival to its reply, by class of command.",
        ("cluster", "class"),
        _within(DOUBLING, _of_clusters),
    ),
    Histogram(
        "shardproxy_shard_command_seconds",
        "The same by shard, of commands that a shard has answered.",
        ("cluster", "shard", "class"),
        _within(COARSE, _of_shards),
    ),
    Histogram(
        "shardproxy_family_command_seconds",
        "The same by family of keys (32 of a cluster, and other), for each key of a command; sampled, and"
        " scaled to all.",
        ("cluster", "family"),
        _within(DOUBLING, _of_families),
    ),
)
