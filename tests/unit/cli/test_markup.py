"""What is shown in tables: names as they are, also where they look like a style; and times."""

from __future__ import annotations

import io
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from shardproxy.cli.demo import HOST, chosen_port
from shardproxy.cli.jobs import jobs_table
from shardproxy.cli.status import cluster_table
from shardproxy.cli.tables import moment
from shardproxy.cli.topology import _print as topology_print
from shardproxy.fleet import free_port

NODE = "[fd00::1]:6379"
ZONE = "[b]"


def out() -> Console:
    return Console(file=io.StringIO(), width=150)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def shard(**fields: Any) -> dict[str, Any]:
    node = {"address": NODE, "role": "primary", "zone": ZONE, **fields}
    return {"shard": 0, "index": 0, "name": None, "slots": ["0-16383"], "nodes": [node], "epoch": 1}


def test_status_shows_where_nodes_are() -> None:
    console, node = out(), {"state": "up", "sync": None, "lag": None, "since": None}
    cluster = {"is_paused": False, "shards": [{**shard(**node), "state": "ok"}]}
    console.print(cluster_table("main", cluster, console))
    assert NODE in text(console)
    assert ZONE in text(console)


def test_topology_shows_where_nodes_are() -> None:
    console = out()
    cluster = {"engine": "redis", "endpoints": [NODE], "epoch": 1, "shards": [shard(connections=1)]}
    topology_print({"clusters": {"main": cluster}}, console)
    assert text(console).count(NODE) == 2
    assert ZONE in text(console)


@pytest.mark.parametrize("why", [f"{NODE} is full", "a [/bracket] of nothing"])
def test_jobs_say_why_they_failed(why: str) -> None:
    console = out()
    job = {"cluster": "main", "id": "1", "kind": "restore", "state": "failed", "is_over": True, "why": why}
    console.print(jobs_table([{**job, "asked_at": 0.0, "began_at": 0.0, "ended_at": 1.0, "result": {}}]))
    assert why in text(console)


def test_what_was_yesterday_has_its_day() -> None:
    now = time.time()
    assert moment(now) == f"{datetime.fromtimestamp(now, UTC):%H:%M:%S}"
    assert moment(86400 * 365) == "01-01 00:00:00"


def test_a_port_is_chosen_once() -> None:
    port = free_port()
    assert chosen_port(port, out(), [port]) != port
    assert HOST == "127.0.0.1"
