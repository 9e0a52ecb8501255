"""One shard: its nodes, what they hold, and what they are asked."""

from __future__ import annotations

from dashboards.build.page import INSTANCE, ONE_REDIS, ONE_SHARD, Page, Row
from dashboards.build.panels import (
    GREEN,
    ORANGE,
    RED,
    Query,
    if_any,
    named,
    now,
    percentiles,
    series,
    stat,
    states,
)

# A worker counts by node and knows no shards: those nodes that the control plane says are this shard's.
HERE = "and on (instance, cluster, node) shardproxy_node_up{@s}"


def of_workers(how: str, metric: str, word: str = "") -> Query:
    """What workers count of this shard's nodes; `how`: with {} for the metric."""
    asked = how.format(f"{metric}{{@c}}")
    return f"sum by (node) ({asked} {HERE})", named("node", word=word)


NOW = Row(
    "Now",
    (
        (
            stat(
                "Nodes up",
                "Nodes that answer and are fit.",
                "short",
                "sum(min by (node) (shardproxy_node_up{@s}))",
                steps=(),
            ),
            stat(
                "Primaries up",
                "One, or its writes wait.",
                "short",
                "sum(max by (node) (shardproxy_node_primary{@s} * shardproxy_node_up{@s}))",
                steps=((1, GREEN), (2, RED)),
            ),
            stat(
                "Keys",
                "Of the primary.",
                "short",
                "max(shardproxy_node_keys{@s} and shardproxy_node_primary == 1)",
            ),
            stat(
                "Memory",
                "Data of the primary.",
                "bytes",
                "max(shardproxy_node_memory_used_bytes{@s} and shardproxy_node_primary == 1)",
            ),
            stat(
                "Alarms",
                "What needs an operator: `shardproxy events` says what.",
                "short",
                "sum(max by (alarm) (shardproxy_alarm{@s}))",
                steps=((1, RED),),
            ),
            stat(
                "Hottest key",
                "Part of the shard's requests that its hottest key has; no resharding splits one key.",
                "percentunit",
                "max(shardproxy_hot_key_share{@s})",
                steps=((0.25, ORANGE), (0.5, RED)),
            ),
        ),
    ),
)

NODES = Row(
    "Nodes",
    (
        (
            states(
                "Roles",
                "Who is primary.",
                now("max", "shardproxy_node_primary", "node", of="@s"),
                words={0: ("replica", "blue"), 1: ("primary", GREEN)},
            ),
            states(
                "Health",
                "Whether each answers and is fit.",
                now("min", "shardproxy_node_up", "node", of="@s"),
                words={0: ("not up", RED), 1: ("up", GREEN)},
            ),
            states(
                "Replication",
                "Of replicas: whether they get the primary's writes, and whether reads may go there.",
                now("min", "shardproxy_node_in_sync", "node", of="@s", word="in sync"),
                now("max", "shardproxy_node_readable", "node", of="@s", word="readable"),
                words={0: ("no", ORANGE), 1: ("yes", GREEN)},
            ),
        ),
        (
            series(
                "Lag of replicas",
                "Writes of the primary that a replica does not have yet.",
                "bytes",
                now("max", "shardproxy_node_lag_bytes", "node", of="@s"),
            ),
            series(
                "Memory",
                "Data, the most it may be, and the process. A process far larger than its data: fragmentation, or a save.",
                "bytes",
                now("max", "shardproxy_node_memory_used_bytes", "node", of="@s", word="data"),
                if_any(now("max", "shardproxy_node_memory_max_bytes", "node", of="@s", word="maxmemory")),
                now("max", "shardproxy_node_memory_resident_bytes", "node", of="@s", word="process"),
            ),
            series(
                "CPU",
                "Of the thread that runs commands: 1 is all it can do.",
                "percentunit",
                ("max by (node) (rate(shardproxy_node_cpu_seconds_total{@s}[1m]))", "{{node}}"),
            ),
        ),
        (
            series("Keys", "Of each node.", "short", now("max", "shardproxy_node_keys", "node", of="@s")),
            series(
                "Keys that went",
                "Evicted for want of memory, and expired, per second.",
                "ops",
                ("max by (node) (rate(shardproxy_node_evicted_keys_total{@s}[1m]))", "{{node}} evicted"),
                ("max by (node) (rate(shardproxy_node_expired_keys_total{@s}[1m]))", "{{node}} expired"),
            ),
            series(
                "Hits",
                "Part of the lookups that found their key.",
                "percentunit",
                (
                    "max by (node) (rate(shardproxy_node_keyspace_hits_total{@s}[1m])"
                    " / (rate(shardproxy_node_keyspace_hits_total{@s}[1m])"
                    " + rate(shardproxy_node_keyspace_misses_total{@s}[1m])))",
                    "{{node}}",
                ),
            ),
        ),
        (
            series(
                "Connections",
                "As the nodes count them, all clients'; and those refused beyond maxclients.",
                "short",
                now("max", "shardproxy_node_clients", "node", of="@s"),
                (
                    "max by (node) (increase(shardproxy_node_clients_refused_total{@s}[1m]))",
                    "{{node}} refused",
                ),
            ),
            series(
                "Busy with one command",
                "How long a node has owed the reply to a command that may take long.",
                "s",
                now("max", "shardproxy_node_busy_seconds", "node", of="@s"),
            ),
            series(
                "Disk, whole copies, changes of primary",
                "Saves that go well are 1; whole copies given to replicas within five minutes; the shard's epoch.",
                "short",
                now("min", "shardproxy_node_saves_ok", "node", of="@s", word="saves"),
                (
                    "max by (node) (increase(shardproxy_node_full_syncs_total{@s}[5m]))",
                    "{{node}} whole copies",
                ),
                now("max", "shardproxy_shard_epoch", "shard", of="@s", legend="epoch"),
            ),
        ),
    ),
)

REQUESTS = Row(
    "Requests",
    (
        (
            series(
                "Requests",
                "Sent to each node.",
                "reqps",
                of_workers("rate({}[@r])", "shardproxy_node_requests_total"),
            ),
            series(
                "Latency",
                "Of this shard's commands, by class.",
                "s",
                *percentiles("shardproxy_shard_command_seconds", "@s", "class"),
            ),
            series(
                "Hottest key",
                "Part of the shard's requests that its hottest key has: `shardproxy hotkeys` says which.",
                "percentunit",
                now(
                    "max",
                    "shardproxy_hot_key_share",
                    "cluster",
                    "shard",
                    of="@s",
                    legend="{{cluster}}/{{shard}}",
                ),
            ),
        ),
        (
            series(
                "Bytes",
                "To and from each node.",
                "Bps",
                of_workers("rate({}[@r])", "shardproxy_node_received_bytes_total", "received"),
                of_workers("rate({}[@r])", "shardproxy_node_sent_bytes_total", "sent"),
            ),
            series(
                "Waiting",
                "Bytes of requests that wait for a node: sent without a reply yet, or not sent.",
                "bytes",
                of_workers("{}", "shardproxy_node_queued_bytes"),
            ),
            series(
                "Connections of the proxies",
                "Open ones, and those made (reconnects show as steps).",
                "short",
                of_workers("{}", "shardproxy_node_connections", "open"),
                of_workers("increase({}[@r])", "shardproxy_node_connects_total", "made"),
            ),
        ),
        (
            series(
                "Trouble",
                "Error replies, requests lost in doubt, timeouts, failed connections, others that answered.",
                "reqps",
                of_workers("rate({}[@r])", "shardproxy_node_errors_total", "errors"),
                of_workers("rate({}[@r])", "shardproxy_node_lost_total", "lost"),
                of_workers("rate({}[@r])", "shardproxy_node_timeouts_total", "timeouts"),
                of_workers("rate({}[@r])", "shardproxy_node_connect_failures_total", "failed connections"),
                of_workers("rate({}[@r])", "shardproxy_node_strangers_total", "strangers"),
            ),
        ),
    ),
)

SHARD = Page(
    "shard",
    "shardproxy: one shard",
    "The nodes of one shard of Redis or Valkey: roles, health, what they hold and what they are asked.",
    (INSTANCE, ONE_REDIS, ONE_SHARD),
    (NOW, NODES, REQUESTS),
)
