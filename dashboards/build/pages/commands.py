"""Clients and commands: who is connected, what is asked, how long it takes, what is refused."""

from __future__ import annotations

from dashboards.build.page import CLUSTER, INSTANCE, Page, Row
from dashboards.build.pages.shared import ARRIVAL_TO_REPLY, BY_CLASS, COMMANDS_BY_NAME
from dashboards.build.panels import if_any, now, rate, series

COMMANDS_ROW = Row(
    "Commands",
    (
        (
            COMMANDS_BY_NAME,
            series(
                "Error replies by command",
                "Error replies, whoever made them; nothing is shown while there are none.",
                "reqps",
                (
                    'topk(10, sum by (cluster, command) (rate(shardproxy_commands_total{@c, outcome="error"}[@r])) > 0)',
                    "{{cluster}} {{command}}",
                ),
            ),
        ),
        (
            series(
                "Latency by class",
                ARRIVAL_TO_REPLY,
                "s",
                *BY_CLASS,
            ),
            series(
                "Latency by family of keys",
                "p99 of the ten slowest families.",
                "s",
                (
                    "topk(10, histogram_quantile(0.99, sum by (cluster, family, le)"
                    " (rate(shardproxy_family_command_seconds_bucket{@c}[@r]))))",
                    "{{cluster}} {{family}} p99",
                ),
            ),
            series(
                "Latency by shard",
                "p99 of reads and writes of the ten slowest shards.",
                "s",
                (
                    "topk(10, histogram_quantile(0.99, sum by (cluster, shard, le)"
                    ' (rate(shardproxy_shard_command_seconds_bucket{@c, class=~"read|write"}[@r]))))',
                    "{{cluster}}/{{shard}} p99",
                ),
            ),
        ),
        (
            series(
                "Mean latency",
                "Sum of all times over their count.",
                "s",
                (
                    "sum by (cluster) (rate(shardproxy_command_seconds_sum{@c}[@r]))"
                    " / sum by (cluster) (rate(shardproxy_command_seconds_count{@c}[@r]))",
                    "{{cluster}}",
                ),
            ),
            series(
                "Slow commands",
                "Beyond the threshold of the slow log: `shardproxy slowlog` says where their time went.",
                "ops",
                rate("shardproxy_slow_commands_total", "cluster"),
                rate("shardproxy_trace_dropped_total", "cluster", word="not traced"),
            ),
            series(
                "Largest reply",
                "Of the last minutes: `shardproxy bigkeys` says whose.",
                "bytes",
                now("max", "shardproxy_big_reply_bytes", "cluster"),
            ),
        ),
        (
            series(
                "Answered in Python",
                "Commands the workers hand to the control plane.",
                "reqps",
                rate("shardproxy_offloads_total", "cluster"),
            ),
            series(
                "Needs one shard",
                "Commands that one shard served and several would refuse, by name (multi: a transaction).",
                "reqps",
                rate("shardproxy_relaxed_commands_total", "cluster", "command"),
            ),
            series(
                "Reads of what was just written",
                "Reads that went to primaries because their keys may have been written within max_staleness.",
                "reqps",
                rate("shardproxy_fresh_reads_total", "cluster"),
            ),
        ),
    ),
)

CLIENTS = Row(
    "Clients",
    (
        (
            series(
                "Clients",
                "Connected; blocked: their command waits at a node, or CLIENT PAUSE holds it.",
                "short",
                now("sum", "shardproxy_clients", "cluster"),
                now("sum", "shardproxy_clients_blocked", "cluster", word="blocked"),
                now("sum", "shardproxy_waiting_clients", "cluster", word="wait for keys"),
            ),
            series(
                "Coming and going",
                "Accepted, and closed by reason. As many new ones as commands: a client that connects for each.",
                "cps",
                rate("shardproxy_clients_accepted_total", "cluster", word="accepted"),
                if_any(
                    rate(
                        "shardproxy_clients_closed_total",
                        "cluster",
                        "reason",
                        legend="{{cluster}} closed: {{reason}}",
                    )
                ),
                rate(
                    "shardproxy_tls_handshakes_total",
                    "cluster",
                    "outcome",
                    legend="{{cluster}} TLS: {{outcome}}",
                ),
            ),
            series(
                "Refused connections",
                "By reason, and clients that broke the protocol.",
                "cps",
                rate("shardproxy_connections_refused_total", "cluster", "reason"),
                rate("shardproxy_protocol_errors_total", "cluster", word="protocol errors"),
            ),
        ),
        (
            series(
                "Clients held",
                "Requests whose clients were not read on until their shard's queue had room (limits.shard_queue).",
                "reqps",
                rate("shardproxy_held_requests_total", "cluster"),
            ),
            series(
                "Messages to subscribers",
                "Each subscriber of a message counts.",
                "reqps",
                rate("shardproxy_deliveries_total", "cluster"),
            ),
            series(
                "Gaps of subscriptions",
                "Subscribing connections lost: until they were back, messages may have been missed.",
                "ops",
                rate("shardproxy_subscription_gaps_total", "cluster"),
            ),
        ),
        (
            series(
                "Clients that track keys",
                "CLIENT TRACKING: who is told of changes, and of how many keys.",
                "short",
                now("sum", "shardproxy_tracking_clients", "cluster", word="clients"),
                now("sum", "shardproxy_tracked_keys", "cluster", word="keys"),
            ),
            series(
                "Near cache: hits",
                "Part of the reads of its keys that the workers answered themselves.",
                "percentunit",
                (
                    "sum by (cluster) (rate(shardproxy_near_hits_total{@c}[@r]))"
                    " / (sum by (cluster) (rate(shardproxy_near_hits_total{@c}[@r]))"
                    " + sum by (cluster) (rate(shardproxy_near_misses_total{@c}[@r])))",
                    "{{cluster}}",
                ),
            ),
            series(
                "Near cache: memory",
                "What its replies take.",
                "bytes",
                now("sum", "shardproxy_near_bytes", "cluster"),
            ),
            series(
                "Near cache: keys",
                "Replies in it, of all proxies.",
                "short",
                now("sum", "shardproxy_near_keys", "cluster"),
            ),
        ),
    ),
)

ACCESS = Row(
    "Access",
    (
        (
            series(
                "Logins and refusals",
                "By what happened.",
                "ops",
                rate("shardproxy_access_total", "cluster", "event"),
            ),
            series(
                "Logins that are verified elsewhere",
                "By IAM tokens, or a verifier.",
                "ops",
                rate("shardproxy_verified_logins_total", "cluster", word="accepted"),
                rate(
                    "shardproxy_verified_logins_refused_total",
                    "cluster",
                    "reason",
                    legend="{{cluster}} refused: {{reason}}",
                ),
                rate("shardproxy_verified_logins_throttled_total", "cluster", word="throttled"),
            ),
            series(
                "Verifiers",
                "Questions to external verifiers, and those without a usable answer.",
                "ops",
                rate("shardproxy_verifier_calls_total", "cluster", word="asked"),
                rate("shardproxy_verifier_failures_total", "cluster", word="failed"),
            ),
        ),
    ),
)

COMMANDS = Page(
    "commands",
    "shardproxy: clients and commands",
    "Who is connected, what is asked, how long it takes, and what is refused.",
    (INSTANCE, CLUSTER),
    (COMMANDS_ROW, CLIENTS, ACCESS),
)
