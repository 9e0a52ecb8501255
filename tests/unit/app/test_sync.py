"""Whether a replica gets its primary's writes: as told by the API, the metrics and `shardproxy status`."""

from __future__ import annotations

from typing import Any

import pytest

from shardproxy.admin.collector import registry_build
from shardproxy.admin.failover import status_document
from shardproxy.admin.status import Sources, StatusBoard
from shardproxy.cli.status import complaints, is_fine, state_text
from shardproxy.dataplane.statistics import Statistics
from shardproxy.health.monitor import Boards
from shardproxy.model.health import Cause, NodeHealth, NodeState
from tests.unit.app.fake_native import statistics
from tests.unit.failover.make import KEY, A, B, Y, down, frozen, health, primary, record, replica, setup

# what a replica says of itself: its state in `shardproxy status`, and a part of the complaint
CASES: dict[str, tuple[NodeHealth | None, str, str]] = {
    "linked": (health(replica()), "streaming", ""),
    "no link": (health(replica(is_up=False)), "no link", "its link to 10.0.0.1:7001 is down"),
    "syncing": (
        health(replica(is_up=False, is_syncing=True)), "syncing", "the whole data from 10.0.0.1:7001",
    ),
    "frozen": (health(frozen()), "no link", "frozen until its shard has a primary"),
    "of another primary": (health(replica(B, Y)), "astray", "follows 10.0.0.2:7001 and has other data"),
    "a primary itself": (health(primary()), "astray", "it says it is a primary"),
    "loading": (health(replica(), NodeState.LOADING), "loading", "is loading: because"),
    "gone": (down(Cause.DEAD, replica()), "down", "is down: because"),
    "not asked yet": (None, "unknown", ""),
}  # fmt: skip


def sources(of_replica: NodeHealth | None, of_primary: NodeHealth | None) -> Sources:
    async def clients() -> tuple[dict[str, object], ...]:
        return ()

    boards = Boards()
    for node, seen in ((A, of_primary), (B, of_replica)):
        if seen is not None:
            boards.health.show((KEY, node), seen)
    read = Statistics.read(statistics())
    records = {KEY: record(nodes=(A, B), joined=(A, B))}
    return Sources(StatusBoard(), lambda: read, clients, {}, {KEY: setup(A, B)}, records, boards)


def cluster(of_replica: NodeHealth | None, of_primary: NodeHealth | None = None) -> Any:
    return status_document(sources(of_replica, of_primary or health(primary())), 0.0)["clusters"]["sessions"]


@pytest.mark.parametrize(("seen", "state", "complaint"), CASES.values(), ids=CASES.keys())
def test_status_tells_what_a_replica_gets(seen: NodeHealth | None, state: str, complaint: str) -> None:
    told = cluster(seen)
    first, second = told["shards"][0]["nodes"]
    assert (state_text(first), first["sync"], is_fine(first)) == ("up", None, True)
    assert (state_text(second), is_fine(second)) == (state, not complaint)
    found = complaints(told)
    assert len(found) == bool(complaint)
    assert complaint in "".join(found)


def test_a_primary_that_is_down_says_nothing_of_its_replicas() -> None:
    told = cluster(health(replica(lineage=Y)), down(Cause.DEAD, primary()))
    assert told["shards"][0]["nodes"][1]["sync"] == "streaming"


@pytest.mark.parametrize(
    ("seen", "value"), [(health(replica()), 1), (health(replica(is_up=False)), 0), (None, 0)]
)
def test_a_gauge_tells_it_of_replicas_only(seen: NodeHealth | None, value: int) -> None:
    registry = registry_build(sources(seen, health(primary())), 0.0)
    samples = {
        sample.labels["node"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "shardproxy_node_in_sync"
    }
    assert samples == {str(B): value}
