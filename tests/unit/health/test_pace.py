"""When a node is asked, and how much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shardproxy.health.history import History, history_start
from shardproxy.health.pace import Attention, probe_depth, probe_interval
from shardproxy.health.probe import Depth
from shardproxy.health.settings import HealthSettings
from shardproxy.model import Address
from shardproxy.model.replication import AttachedReplica, Lineage, Replication, Role, Server

NAME = "shardproxy:abc"
CALM = Attention(is_primary=True, is_suspect=False, is_refused=False, is_sampled=False, client_name=NAME)
PRIMARY = Replication(Role.PRIMARY, Lineage("a" * 40), offset=1)
KNOWN = replace(
    history_start(0.0),
    surveyed_at=99.0,
    named=NAME,
    server=Server("1"),
    replication=PRIMARY,
    replication_at=99.9,
    ping_period=1.0,
)


def with_attached(*ports: int) -> Replication:
    attached = tuple(AttachedReplica(Address("r", port), True, 1) for port in ports)
    return replace(PRIMARY, attached=attached)


@pytest.mark.parametrize(
    ("history", "attention", "depth"),
    [
        (KNOWN, CALM, Depth.PING),
        (replace(KNOWN, replication_at=98.9), CALM, Depth.INFO),
        (replace(KNOWN, replication_at=98.9, ping_period=10.0), CALM, Depth.PERIOD),
        (KNOWN, replace(CALM, is_primary=False), Depth.INFO),
        (KNOWN, replace(CALM, is_sampled=True), Depth.INFO),
        (replace(KNOWN, replication_at=99.7), replace(CALM, is_suspect=True), Depth.INFO),
        # until its first replica attaches; who only reads the stream is none
        (replace(KNOWN, replication_at=99.7), replace(CALM, has_replicas=True), Depth.INFO),
        (
            replace(KNOWN, replication_at=99.7, replication=with_attached(0)),
            replace(CALM, has_replicas=True),
            Depth.INFO,
        ),
        (
            replace(KNOWN, replication_at=99.7, replication=with_attached(0, 7002)),
            replace(CALM, has_replicas=True),
            Depth.PING,
        ),
        # who else manages it, and who it is
        (history_start(0.0), CALM, Depth.SURVEY),
        (replace(KNOWN, surveyed_at=90.0), CALM, Depth.SURVEY),
        (KNOWN, replace(CALM, is_managed_by_others=True), Depth.SURVEY),
        (replace(KNOWN, surveyed_at=99.5), replace(CALM, is_managed_by_others=True), Depth.PING),
        (
            replace(KNOWN, surveyed_at=99.5),
            replace(CALM, is_managed_by_others=True, is_suspect=True),
            Depth.SURVEY,
        ),
        (
            KNOWN,
            replace(CALM, client_name="shardproxy-observer:abc"),
            Depth.SURVEY,
        ),  # we may no longer decide
        (replace(KNOWN, server=None, accepted_at=99.5), CALM, Depth.SURVEY),  # the shard has new roles
        (replace(KNOWN, server=None, surveyed_at=99.5), CALM, Depth.PING),  # it does not say
    ],
)
def test_how_much_is_asked(history: History, attention: Attention, depth: Depth) -> None:
    assert probe_depth(history, 100.0, attention, HealthSettings()) is depth


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 0.2),
        ({"nodes": 750}, 0.2),  # of primaries: it is what finds them frozen
        ({"is_primary": False, "nodes": 3}, 0.2),
        ({"is_primary": False, "nodes": 750}, 1.0),
        ({"is_suspect": True, "suspects": 75}, 0.2),
        ({"is_suspect": True, "suspects": 750}, 0.375),  # what looks like trouble must not make it
        ({"is_refused": True, "refused": 3}, 0.02),
        ({"is_refused": True, "refused": 75}, 0.0375),
        ({"is_sampled": True, "nodes": 3}, 0.1),
        ({"is_sampled": True, "nodes": 750}, 0.2),
        ({"is_sampled": True, "nodes": 750, "is_primary": False}, 0.375),
    ],
)
def test_how_often_it_is_asked(changes: dict[str, Any], seconds: float) -> None:
    assert probe_interval(replace(CALM, **changes), HealthSettings()) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("shards", "nodes", "ping_interval", "replica_interval"),
    [
        (1, 3, 0.2, 1.0),
        (200, 400, 0.2, 1.0),
        (250, 750, 0.25, 1.875),
        (250, 1500, 0.25, 2.0),
        (4000, 9000, 0.4, 2.0),
    ],
)
def test_many_are_asked_less_often(
    shards: int, nodes: int, ping_interval: float, replica_interval: float
) -> None:
    settings = HealthSettings().for_many(shards, nodes)
    assert (settings.ping_interval, settings.replica_interval) == (ping_interval, replica_interval)
    assert settings.suspect_after < settings.down_after
