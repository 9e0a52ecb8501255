"""Everything at a glance: is it well, how much is asked, where is it going."""

from __future__ import annotations

from dashboards.build.page import CLUSTER, INSTANCE, Page, Row
from dashboards.build.pages.shared import ARRIVAL_TO_REPLY, CLIENTS_NOW, COMMANDS_NOW
from dashboards.build.panels import (
    NONE_IS_RIGHT,
    ORANGE,
    RED,
    Query,
    bars,
    if_any,
    now,
    percentiles,
    rate,
    series,
    stat,
)

BUDGET_AVAILABLE, BUDGET_FAST = 0.001, 0.01  # parts of commands that may be refused, and slow


def used_up(recorded: str, allowed: float) -> tuple[Query, ...]:
    """How many times faster than allowed, over short and long."""
    return tuple(
        (f'cluster:{recorded}_rate{over}{{cluster=~"$cluster"}} / {allowed}', f"{{{{cluster}}}} {over}")
        for over in ("5m", "1h", "6h")
    )


NOW = Row(
    "Now",
    (
        (
            CLIENTS_NOW,
            COMMANDS_NOW,
            stat(
                "Refused",
                "Part of the commands that the proxy refused or left in doubt, within the last hour.",
                "percentunit",
                'max(cluster:shardproxy_refusals:ratio_rate1h{cluster=~"$cluster"})',
                steps=((BUDGET_AVAILABLE, ORANGE), (14.4 * BUDGET_AVAILABLE, RED)),
            ),
            stat(
                "p99",
                "99 of 100 reads and writes are answered within this time.",
                "s",
                'histogram_quantile(0.99, sum by (le) (rate(shardproxy_command_seconds_bucket{@c, class=~"read|write"}[@r])))',
            ),
            stat(
                "Nodes not up",
                "Nodes that do not answer, or are not fit to serve.",
                "short",
                "count(min by (cluster, node) (shardproxy_node_up{@c}) == 0) or vector(0)",
                steps=NONE_IS_RIGHT,
            ),
            stat(
                "Alarms",
                "What needs an operator: `shardproxy events` says what.",
                "short",
                "sum(max by (cluster, shard, alarm) (shardproxy_alarm{@c})) or vector(0)",
                steps=NONE_IS_RIGHT,
            ),
            stat(
                "Paused",
                "Clusters whose automatic failover is paused.",
                "short",
                "sum(max by (cluster) (shardproxy_failover_paused{@c})) or vector(0)",
                steps=((1, ORANGE),),
            ),
            stat(
                "Version",
                "What runs.",
                "short",
                "count by (version) (shardproxy_info{@p})",
                legend="{{version}}",
                name=True,
            ),
        ),
    ),
)

TRAFFIC = Row(
    "Traffic",
    (
        (
            series(
                "Commands",
                "Answered, by cluster.",
                "reqps",
                rate("shardproxy_commands_total", "cluster"),
            ),
            series(
                "Latency of reads and writes",
                ARRIVAL_TO_REPLY,
                "s",
                *percentiles("shardproxy_command_seconds", '@c, class=~"read|write"', "cluster"),
            ),
            series(
                "Error replies",
                "Part of the commands, whoever made the errors.",
                "percentunit",
                (
                    'sum by (cluster) (rate(shardproxy_commands_total{@c, outcome="error"}[@r]))'
                    " / sum by (cluster) (rate(shardproxy_commands_total{@c}[@r]))",
                    "{{cluster}}",
                ),
            ),
        ),
        (
            series(
                "Budget of refusals",
                "How many times faster than allowed (one in a thousand) the budget is used up.",
                "short",
                *used_up("shardproxy_refusals:ratio", BUDGET_AVAILABLE),
            ),
            series(
                "Budget of slow commands",
                "The same for reads and writes that took longer than 16 ms (one in a hundred is allowed).",
                "short",
                *used_up("shardproxy_command_seconds:above16ms_ratio", BUDGET_FAST),
            ),
            series(
                "Bytes",
                "To and from clients.",
                "Bps",
                rate("shardproxy_client_received_bytes_total", "cluster", word="received"),
                rate("shardproxy_client_sent_bytes_total", "cluster", word="sent"),
            ),
        ),
    ),
)

ENGINES = Row(
    "Nodes",
    (
        (
            bars(
                "Memory of shards",
                "Data of the fullest node of each shard, as a part of its maxmemory; shards without one are not shown.",
                "percentunit",
                (
                    "max by (cluster, shard) (shardproxy_node_memory_used_bytes{@c}"
                    " / (shardproxy_node_memory_max_bytes{@c} > 0))",
                    "{{cluster}}/{{shard}}",
                ),
                steps=((0.8, ORANGE), (0.95, RED)),
                most=1,
            ),
            series(
                "CPU of nodes",
                "Of the thread that runs commands: 1 is all it can do.",
                "percentunit",
                (
                    "topk(10, max by (cluster, shard, node) (rate(shardproxy_node_cpu_seconds_total{@c}[1m])))",
                    "{{cluster}}/{{shard}} {{node}}",
                ),
            ),
            series(
                "Requests by node",
                "The ten that are asked most.",
                "reqps",
                (
                    "topk(10, sum by (cluster, node) (rate(shardproxy_node_requests_total{@c}[@r])))",
                    "{{cluster}} {{node}}",
                ),
            ),
        ),
        (
            series(
                "Trouble by node",
                "Error replies, requests lost in doubt, timeouts, failed connections; nothing is shown while there are none.",
                "reqps",
                if_any(rate("shardproxy_node_errors_total", "cluster", "node", legend="{{node}} errors")),
                if_any(rate("shardproxy_node_lost_total", "cluster", "node", legend="{{node}} lost")),
                if_any(rate("shardproxy_node_timeouts_total", "cluster", "node", legend="{{node}} timeouts")),
                if_any(
                    rate(
                        "shardproxy_node_connect_failures_total",
                        "cluster",
                        "node",
                        legend="{{node}} failed connections",
                    )
                ),
            ),
            series(
                "Keys",
                "Of primaries; each key once.",
                "short",
                (
                    "sum by (cluster) (max by (cluster, shard, node) (shardproxy_node_keys{@c}"
                    " and on (instance, cluster, shard, node) shardproxy_node_primary == 1))",
                    "{{cluster}}",
                ),
            ),
            series(
                "Epoch",
                "Each step is a change of topology.",
                "short",
                now("max", "shardproxy_topology_epoch", "cluster"),
            ),
        ),
    ),
)

PROCESS = Row(
    "Proxies",
    (
        (
            series(
                "CPU",
                "Cores used by the process, and the workers it has.",
                "short",
                rate("process_cpu_seconds_total", "instance", of="@p", word="used"),
                now("sum", "shardproxy_workers", "instance", of="@p", word="workers"),
            ),
            series(
                "Memory",
                "Resident memory, and the buffers in it.",
                "bytes",
                now("sum", "process_resident_memory_bytes", "instance", of="@p", word="resident"),
                now("sum", "shardproxy_buffers_bytes", "instance", of="@p", word="buffers"),
            ),
            series(
                "File descriptors",
                "Part of those it may have, and connections that found none.",
                "percentunit",
                ("process_open_fds{@p} / process_max_fds{@p}", "{{instance}} used"),
                ("increase(shardproxy_descriptors_lacking_total{@p}[@r])", "{{instance}} lacking"),
            ),
            series(
                "Connections of clients' own",
                "Of clients that block or watch, to all nodes.",
                "short",
                now("sum", "shardproxy_dedicated_connections", "instance", of="@p"),
            ),
        ),
        (
            series(
                "Workers",
                "Clients and turns of each: they should be alike.",
                "short",
                now(
                    "sum",
                    "shardproxy_worker_clients",
                    "instance",
                    "worker",
                    of="@p",
                    legend="{{instance}}/{{worker}} clients",
                ),
                rate(
                    "shardproxy_worker_turns_total",
                    "instance",
                    "worker",
                    of="@p",
                    legend="{{instance}}/{{worker}} turns/s",
                ),
                (
                    "sum by (instance, worker) (increase(shardproxy_worker_restarts_total{@p}[@r]))",
                    "{{instance}}/{{worker}} restarts",
                ),
            ),
            series(
                "Buffers of workers",
                "What each holds for its clients and nodes.",
                "bytes",
                now(
                    "max",
                    "shardproxy_worker_buffers_bytes",
                    "instance",
                    "worker",
                    of="@p",
                    legend="{{instance}}/{{worker}}",
                ),
            ),
            series(
                "Since the last turn",
                "A worker that does not turn serves nobody.",
                "s",
                now(
                    "max",
                    "shardproxy_worker_turn_age_seconds",
                    "instance",
                    "worker",
                    of="@p",
                    legend="{{instance}}/{{worker}}",
                ),
            ),
            series(
                "Config",
                "Reloads of the config, by outcome.",
                "short",
                (
                    "sum by (instance, outcome) (increase(shardproxy_config_reloads_total{@p}[1h]))",
                    "{{instance}} {{outcome}}",
                ),
            ),
        ),
        (
            series(
                "Certificates",
                "Time that is left of each; nothing where none is used.",
                "s",
                (
                    "min by (cluster, file) (shardproxy_certificate_expiry_timestamp_seconds{@c}) - time()",
                    "{{cluster}} {{file}}",
                ),
                least=None,
            ),
            series(
                "Audit log",
                "Lines written and lost, and what was not told as too much came at once.",
                "ops",
                rate("shardproxy_audit_lines_total", "instance", "outcome", of="@p"),
                rate("shardproxy_access_untold_total", "instance", of="@p", word="untold"),
            ),
            series(
                "Spans",
                "Traces sent to a collector, by outcome; nothing where telemetry is off.",
                "ops",
                rate("shardproxy_spans_total", "instance", "outcome", of="@p"),
            ),
        ),
    ),
)

OVERVIEW = Page(
    "overview",
    "shardproxy: overview",
    "One proxy or a fleet of them: what is asked, how it is answered, how nodes and processes are.",
    (INSTANCE, CLUSTER),
    (NOW, TRAFFIC, ENGINES, PROCESS),
)
