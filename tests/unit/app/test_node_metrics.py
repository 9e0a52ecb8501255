"""What a scrape shows of nodes' own figures."""

from __future__ import annotations

import re

from shardproxy.admin.metric import Kind
from shardproxy.admin.node_metrics import TABLE, NodeView
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from shardproxy.model.vitals import Vitals

NODE = Address("127.0.0.1", 7101)
SILENT = Address("127.0.0.1", 7102)
VITALS = {
    (ShardKey("main", 1), NODE): Vitals(95.0, 1, 2, 3, 4, 5, 6.5, 7, 8, 9, 10, 11, 12, is_saving_well=False),
    (ShardKey("main", 1), SILENT): Vitals(20.0),
}
SHOWN = {
    "memory_used_bytes": 1,
    "memory_max_bytes": 2,
    "memory_resident_bytes": 3,
    "keys": 4,
    "clients": 5,
    "cpu_seconds_total": 6.5,
    "evicted_keys_total": 7,
    "expired_keys_total": 8,
    "keyspace_hits_total": 9,
    "keyspace_misses_total": 10,
    "clients_refused_total": 11,
    "full_syncs_total": 12,
    "saves_ok": 0,
}


def test_each_shows_what_a_node_said_lately() -> None:
    shown = {metric.name: dict(metric.read(NodeView(VITALS, now=100.0))) for metric in TABLE}
    labels = ("main", "1", "127.0.0.1:7101")
    assert shown == {f"shardproxy_node_{name}": {labels: value} for name, value in SHOWN.items()}


def test_names_follow_the_rules() -> None:
    for metric in TABLE:
        assert re.fullmatch(r"shardproxy_node_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert metric.help.endswith("."), metric.name
