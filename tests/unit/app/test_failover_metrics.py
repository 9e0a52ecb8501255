"""What a scrape shows of health, failover and the store."""

from __future__ import annotations

import re

import pytest

from shardproxy.admin.failover_metrics import TABLE, FailoverView
from shardproxy.admin.metric import Kind, Labels
from shardproxy.admin.status import Sharing
from shardproxy.failover.event_log import Total
from shardproxy.failover.events import AlarmName, EventName
from shardproxy.health.statistics import HealthStatistics
from shardproxy.model.replication import ShardKey
from shardproxy.store.member import Member
from shardproxy.store.statistics import StoreStatistics

PRIMARY = {
    "address": "127.0.0.1:7101",
    "role": "primary",
    "state": "up",
    "is_readable": False,
    "lag": 0,
    "busy": {"command": "eval", "seconds": 3.2, "client": "client 10.0.0.9:5000 (id 7)"},
}
REPLICA = {
    "address": "127.0.0.1:7102",
    "role": "replica",
    "state": "up",
    "is_readable": True,
    "lag": 7,
    "sync": "streaming",
    "busy": None,
}
DOWN = {
    **REPLICA,
    "address": "127.0.0.1:7103",
    "state": "down",
    "is_readable": False,
    "lag": None,
    "sync": None,
}
POOL_NODE = {"address": "127.0.0.1:7201", "role": "node", "state": "down"}


def view() -> FailoverView:
    health = HealthStatistics(questions=12, tilted={"main": "our own loop stood still"})
    health.note_delay(0.25, now=100.0)
    health.note_delay(0.125, now=110.0)
    store = StoreStatistics()
    for seconds, ok in ((0.5, True), (0.25, False), (0.125, True)):
        store.observe(seconds, ok=ok)
    store.requests, store.request_failures = 9, 2
    return FailoverView(
        clusters={
            "main": {
                "engine": "redis",
                "is_paused": True,
                "shards": [
                    {"shard": 0, "epoch": 5, "nodes": [PRIMARY, REPLICA]},
                    {"shard": 1, "epoch": 6, "nodes": [DOWN]},
                ],
            },
            "pages": {
                "engine": "memcached",
                "is_paused": False,
                "shards": [{"shard": 0, "epoch": 1, "nodes": [POOL_NODE]}],
            },
        },
        totals={("main", EventName.FAILOVER_COMPLETE): Total(2, 1.5), ("main", EventName.ALARM): Total(3)},
        # the second is of a shard that a reload has taken away
        alarms={
            (ShardKey("main", 1), AlarmName.FAILOVER): "no node answers",
            (ShardKey("main", 7), AlarmName.FAILOVER): "no node answers",
            (ShardKey("main", 0), AlarmName.PERSISTENCE): "has no config file",
        },
        health=health,
        store=store,
        sharing=Sharing(
            "etcd",
            "a-1",
            {"a-1": Member("a-1"), "b-2": Member("b-2", is_draining=True)},
            {"main": "a-1"},
            {"main": True, "pages": False},
        ),
        now=130.0,
    )


LABELS = {"cluster", "shard", "node", "kind", "event", "outcome", "state", "alarm"}
HAPPENED = {EventName.FAILOVER_COMPLETE: 2, EventName.ALARM: 3}
SHOWN: dict[str, dict[Labels, float]] = {
    "shardproxy_failovers_total": {("main", "failover"): 2, ("main", "switchover"): 0},
    "shardproxy_events_total": {("main", name.value): HAPPENED.get(name, 0) for name in EventName},
    "shardproxy_node_up": {
        ("main", "0", "127.0.0.1:7101"): 1,
        ("main", "0", "127.0.0.1:7102"): 1,
        ("main", "1", "127.0.0.1:7103"): 0,
        ("pages", "0", "127.0.0.1:7201"): 0,
    },
    "shardproxy_node_primary": {
        ("main", "0", "127.0.0.1:7101"): 1,
        ("main", "0", "127.0.0.1:7102"): 0,
        ("main", "1", "127.0.0.1:7103"): 0,
    },
    "shardproxy_node_readable": {
        ("main", "0", "127.0.0.1:7101"): 0,
        ("main", "0", "127.0.0.1:7102"): 1,
        ("main", "1", "127.0.0.1:7103"): 0,
    },
    "shardproxy_node_in_sync": {("main", "0", "127.0.0.1:7102"): 1, ("main", "1", "127.0.0.1:7103"): 0},
    "shardproxy_node_lag_bytes": {("main", "0", "127.0.0.1:7101"): 0, ("main", "0", "127.0.0.1:7102"): 7},
    "shardproxy_node_busy_seconds": {
        ("main", "0", "127.0.0.1:7101"): 3.2,
        ("main", "0", "127.0.0.1:7102"): 0,
        ("main", "1", "127.0.0.1:7103"): 0,
    },
    "shardproxy_shard_epoch": {("main", "0"): 5, ("main", "1"): 6},
    "shardproxy_alarm": {
        ("main", "0", "failover"): 0,
        ("main", "0", "persistence"): 1,
        ("main", "0", "backups"): 0,
        ("main", "1", "failover"): 1,
        ("main", "1", "persistence"): 0,
        ("main", "1", "backups"): 0,
    },
    "shardproxy_failover_paused": {("main",): 1},
    "shardproxy_health_tilted": {("main",): 1},
    "shardproxy_health_questions_total": {(): 12},
    "shardproxy_health_loop_lag_seconds": {(): 0.25},
    "shardproxy_store_requests_total": {("ok",): 7, ("failed",): 2},
    "shardproxy_store_synced": {("main",): 1, ("pages",): 0},
    "shardproxy_leads": {("main",): 1},
    "shardproxy_proxies": {("serving",): 1, ("draining",): 1},
    "shardproxy_store_writes_total": {("ok",): 2, ("failed",): 1},
    "shardproxy_store_write_seconds_total": {(): 0.875},
    "shardproxy_store_last_write_seconds": {(): 0.125},
}


@pytest.mark.parametrize("name", [metric.name for metric in TABLE])
def test_every_metric_shows_what_is_so(name: str) -> None:
    (metric,) = [metric for metric in TABLE if metric.name == name]
    assert dict(metric.read(view())) == SHOWN[name]


def test_names_follow_the_rules() -> None:
    for metric in TABLE:
        assert re.fullmatch(r"shardproxy_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert metric.help.endswith("."), metric.name
        assert set(metric.labels) <= LABELS
    assert len({metric.name for metric in TABLE}) == len(TABLE)
