"""Panels that stand on more than one dashboard."""

from __future__ import annotations

from dashboards.build.panels import percentiles, series, stat

CLIENTS_NOW = stat("Clients", "Connected clients.", "short", "sum(shardproxy_clients{@c})")
COMMANDS_NOW = stat(
    "Commands", "Answered per second.", "reqps", "sum(rate(shardproxy_commands_total{@c}[@r]))"
)
COMMANDS_BY_NAME = series(
    "Commands by name",
    "The ten most frequent.",
    "reqps",
    (
        "topk(10, sum by (cluster, command) (rate(shardproxy_commands_total{@c}[@r])))",
        "{{cluster}} {{command}}",
    ),
)
ARRIVAL_TO_REPLY = "From a command's arrival to its reply, the node's time included."
BY_CLASS = percentiles("shardproxy_command_seconds", "@c", "class")
