"""Replication, failover, and the proxies that share a store."""

from __future__ import annotations

from dashboards.build.page import INSTANCE, REDIS, Page, Row
from dashboards.build.panels import NONE_IS_RIGHT, ORANGE, RED, if_any, now, rate, series, stat

NOW = Row(
    "Now",
    (
        (
            stat(
                "Shards without a primary",
                "Their writes wait, and are then refused.",
                "short",
                "count(max by (cluster, shard) (shardproxy_node_primary{@c} * shardproxy_node_up{@c}) == 0) or vector(0)",
                steps=NONE_IS_RIGHT,
            ),
            stat(
                "Replicas not in sync",
                "They cannot take over.",
                "short",
                "count(min by (cluster, node) (shardproxy_node_in_sync{@c}) == 0) or vector(0)",
                steps=((1, ORANGE),),
            ),
            stat(
                "Alarms",
                "What needs an operator: `shardproxy events` says what.",
                "short",
                "sum(max by (cluster, shard, alarm) (shardproxy_alarm{@c}))",
                steps=NONE_IS_RIGHT,
            ),
            stat(
                "Paused",
                "Clusters whose automatic failover is paused.",
                "short",
                "sum(max by (cluster) (shardproxy_failover_paused{@c}))",
                steps=((1, ORANGE),),
            ),
            stat(
                "Failovers today",
                "Primaries replaced because they failed, within a day.",
                "short",
                'sum(increase(shardproxy_failovers_total{@c, kind="failover"}[1d]))',
                steps=((1, ORANGE), (5, RED)),
            ),
            stat(
                "Proxies",
                "That share the store and serve.",
                "short",
                'max(shardproxy_proxies{@p, state="serving"})',
            ),
        ),
    ),
)

SHARDS = Row(
    "Shards",
    (
        (
            series(
                "Nodes that are not up, or not in sync",
                "Nothing is shown while all are.",
                "short",
                (
                    "min by (cluster, shard, node) (shardproxy_node_up{@c}) == 0",
                    "{{cluster}}/{{shard}} {{node}} not up",
                ),
                (
                    "min by (cluster, shard, node) (shardproxy_node_in_sync{@c}) == 0",
                    "{{cluster}}/{{shard}} {{node}} not in sync",
                ),
            ),
            series(
                "Alarms, pauses, tilt",
                "A shard needs an operator; automatic failover of a cluster is paused; silence of its nodes proves nothing now.",
                "short",
                now(
                    "max",
                    "shardproxy_alarm",
                    "cluster",
                    "shard",
                    "alarm",
                    legend="{{alarm}} of {{cluster}}/{{shard}}",
                ),
                now("max", "shardproxy_failover_paused", "cluster", legend="paused {{cluster}}"),
                now(
                    "max",
                    "shardproxy_health_tilted",
                    "instance",
                    "cluster",
                    legend="tilted {{instance}} {{cluster}}",
                ),
            ),
            series(
                "Lag of replicas",
                "Writes of the primary that a replica does not have yet.",
                "bytes",
                now(
                    "max",
                    "shardproxy_node_lag_bytes",
                    "cluster",
                    "shard",
                    "node",
                    legend="{{cluster}}/{{shard}} {{node}}",
                ),
            ),
        ),
        (
            series(
                "Changes of primary",
                "Failovers, and switchovers somebody asked for.",
                "short",
                (
                    "sum by (cluster, kind) (increase(shardproxy_failovers_total{@c}[5m]))",
                    "{{cluster}} {{kind}}",
                ),
            ),
            series(
                "Time to another primary",
                "From the verdict to the new primary being served; nothing is shown while there are none.",
                "s",
                (
                    "sum by (cluster, kind) (increase(shardproxy_failover_seconds_sum{@c}[1h]))"
                    " / (sum by (cluster, kind) (increase(shardproxy_failover_seconds_count{@c}[1h])) > 0)",
                    "{{cluster}} {{kind}}",
                ),
            ),
            series(
                "Events",
                "By name, within five minutes: `shardproxy events` tells them.",
                "short",
                (
                    "sum by (cluster, event) (increase(shardproxy_events_total{@c}[5m]))",
                    "{{cluster}} {{event}}",
                ),
            ),
        ),
    ),
)

CLIENTS = Row(
    "What clients feel",
    (
        (
            series(
                "Parked requests",
                "That wait for their shard to have a primary.",
                "short",
                now("sum", "shardproxy_parked_requests", "cluster"),
            ),
            series(
                "Parked bytes",
                "Of these requests.",
                "bytes",
                now("sum", "shardproxy_parked_bytes", "cluster"),
            ),
            series(
                "In doubt, refused",
                "Replies INDOUBT (may have been executed) and TRYAGAIN (not executed).",
                "ops",
                rate("shardproxy_indoubt_replies_total", "cluster", word="in doubt"),
                rate("shardproxy_tryagain_replies_total", "cluster", word="TRYAGAIN"),
            ),
            series(
                "Strangers",
                "Connections on which another process than the primary answered; nothing is shown while there are none.",
                "ops",
                if_any(rate("shardproxy_node_strangers_total", "cluster", "node")),
            ),
        ),
    ),
)

CONTROL = Row(
    "Health checks and the store",
    (
        (
            series(
                "Lateness of health checks",
                "Longest delay of the control plane's loop within a minute.",
                "s",
                now("max", "shardproxy_health_loop_lag_seconds", "instance", of="@p"),
            ),
            series(
                "Questions to nodes",
                "Asked per second.",
                "reqps",
                rate("shardproxy_health_questions_total", "instance", of="@p"),
            ),
            series(
                "Time of a write to the store",
                "No failover goes on before its record is written.",
                "s",
                (
                    "sum by (instance) (rate(shardproxy_store_write_seconds_total{@p}[5m]))"
                    " / sum by (instance) (rate(shardproxy_store_writes_total{@p}[5m]))",
                    "{{instance}} mean",
                ),
                now("max", "shardproxy_store_last_write_seconds", "instance", of="@p", word="latest"),
            ),
        ),
        (
            series(
                "Writes to the store",
                "Records written, and writes that failed: no primary is replaced then.",
                "ops",
                rate("shardproxy_store_writes_total", "instance", "outcome", of="@p"),
            ),
            series(
                "Requests to the store",
                "To etcd or Kubernetes; a state file gets none.",
                "reqps",
                rate("shardproxy_store_requests_total", "instance", "outcome", of="@p"),
            ),
            series(
                "Proxies that share the store",
                "As each knows them.",
                "short",
                now("max", "shardproxy_proxies", "instance", "state", of="@p"),
            ),
            series(
                "Who leads, who is in touch",
                "Who decides for a cluster, and who knows all that the store has of it.",
                "short",
                now(
                    "max", "shardproxy_leads", "instance", "cluster", legend="{{instance}} leads {{cluster}}"
                ),
                now(
                    "min",
                    "shardproxy_store_synced",
                    "instance",
                    "cluster",
                    legend="{{instance}} in touch: {{cluster}}",
                ),
            ),
        ),
    ),
)

FAILOVER = Page(
    "failover",
    "shardproxy: failover",
    "Replication, changes of primary and what clients feel of them, health checks, the store.",
    (INSTANCE, REDIS),
    (NOW, SHARDS, CLIENTS, CONTROL),
)
