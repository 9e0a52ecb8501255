"""Pools of memcached: nodes without replicas, judged by how requests fare."""

from __future__ import annotations

from dashboards.build.page import INSTANCE, POOL, Page, Row
from dashboards.build.pages.shared import (
    ARRIVAL_TO_REPLY,
    BY_CLASS,
    CLIENTS_NOW,
    COMMANDS_BY_NAME,
    COMMANDS_NOW,
)
from dashboards.build.panels import GREEN, NONE_IS_RIGHT, RED, now, rate, series, stat, states

NOW = Row(
    "Now",
    (
        (
            CLIENTS_NOW,
            COMMANDS_NOW,
            stat(
                "p99",
                "99 of 100 commands are answered within this time.",
                "s",
                "histogram_quantile(0.99, sum by (le) (rate(shardproxy_command_seconds_bucket{@c}[@r])))",
            ),
            stat(
                "Nodes not up",
                "Their keys are missed, or elsewhere.",
                "short",
                "count(min by (cluster, node) (shardproxy_node_up{@c}) == 0) or vector(0)",
                steps=NONE_IS_RIGHT,
            ),
        ),
    ),
)

COMMANDS = Row(
    "Commands",
    (
        (
            COMMANDS_BY_NAME,
            series(
                "Errors",
                "Part of the commands; a miss is none.",
                "percentunit",
                (
                    'sum by (cluster) (rate(shardproxy_commands_total{@c, outcome="error"}[@r]))'
                    " / sum by (cluster) (rate(shardproxy_commands_total{@c}[@r]))",
                    "{{cluster}}",
                ),
            ),
            series(
                "Latency",
                ARRIVAL_TO_REPLY,
                "s",
                *BY_CLASS,
            ),
        ),
    ),
)

NODES = Row(
    "Nodes",
    (
        (
            states(
                "Health",
                "Whether requests to each fare well.",
                now("min", "shardproxy_node_up", "cluster", "node"),
                words={0: ("not up", RED), 1: ("up", GREEN)},
            ),
            series(
                "Requests by node",
                "Alike, unless few keys have most of the requests.",
                "reqps",
                rate("shardproxy_node_requests_total", "cluster", "node"),
            ),
            series(
                "Trouble by node",
                "Requests lost, timeouts, failed connections.",
                "reqps",
                rate("shardproxy_node_lost_total", "cluster", "node", legend="{{node}} lost"),
                rate("shardproxy_node_timeouts_total", "cluster", "node", legend="{{node}} timeouts"),
                rate(
                    "shardproxy_node_connect_failures_total",
                    "cluster",
                    "node",
                    legend="{{node}} failed connections",
                ),
            ),
        ),
        (
            series(
                "Bytes by node",
                "To and from each node.",
                "Bps",
                rate("shardproxy_node_received_bytes_total", "cluster", "node", legend="{{node}} received"),
                rate("shardproxy_node_sent_bytes_total", "cluster", "node", legend="{{node}} sent"),
            ),
            series(
                "Connections by node",
                "Open ones, and those made.",
                "short",
                now("sum", "shardproxy_node_connections", "cluster", "node", legend="{{node}} open"),
                (
                    "sum by (cluster, node) (increase(shardproxy_node_connects_total{@c}[@r]))",
                    "{{node}} made",
                ),
            ),
            series(
                "Waiting by node",
                "Bytes of requests that wait for a node.",
                "bytes",
                now("sum", "shardproxy_node_queued_bytes", "cluster", "node"),
            ),
        ),
    ),
)

MEMCACHED = Page(
    "memcached",
    "shardproxy: memcached",
    "Pools of memcached: what is asked, and how the nodes fare.",
    (INSTANCE, POOL),
    (NOW, COMMANDS, NODES),
)
