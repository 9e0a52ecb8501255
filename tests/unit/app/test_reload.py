"""From the clusters that are served to those a changed config asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio

from shardproxy.config import Config
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.topology.board import TopologyBoard
from shardproxy.topology.publisher import Inbox, Proposal, Withdrawal, publish, run_publisher
from shardproxy.topology.reload import ReloadPlan, ServeError, clusters_swap, reload_plan
from shardproxy.topology.settings import settings_read
from tests.unit.app.fake_native import FakeNative, dataplane_over

Clusters = Mapping[str, ClusterSettings]


def clusters(**of: dict[str, Any]) -> Clusters:
    return settings_read(Config.model_validate({"clusters": of}), "7.0.15")


def cluster(port: int, *nodes: int, **options: Any) -> dict[str, Any]:
    shards = [{"nodes": [f"127.0.0.1:{node}"]} for node in nodes or (7101,)]
    endpoints = {"primary": f"127.0.0.1:{port}"}
    return {"engine": "redis", "endpoints": endpoints, "shards": shards, **options}


A, B = cluster(7000, 7101), cluster(7001, 7201)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param({}, {"a": A, "b": B}, ReloadPlan((), ("a", "b"), ()), id="a start"),
        pytest.param({"a": A, "b": B}, {"a": A, "b": B}, ReloadPlan((), (), ()), id="nothing"),
        pytest.param(
            {"a": A, "b": B}, {"a": A, "b": cluster(7001, 7202)}, ReloadPlan((), ("b",), ()), id="other nodes"
        ),
        pytest.param(
            {"a": A}, {"a": {**A, "limits": {"clients": 7}}}, ReloadPlan((), ("a",), ()), id="other limits"
        ),
        pytest.param({"a": A, "b": B}, {"a": A}, ReloadPlan((), (), ("b",)), id="one cluster less"),
        pytest.param({"a": A}, {"c": A}, ReloadPlan(("a",), ("c",), ()), id="another name, same address"),
    ],
)
def test_plan(old: dict[str, Any], new: dict[str, Any], expected: ReloadPlan) -> None:
    assert reload_plan(clusters(**old) if old else {}, clusters(**new)) == expected


class Running:
    """A publisher over a fake data plane."""

    def __init__(self, inbox: Inbox) -> None:
        self.native = FakeNative()
        self.board = TopologyBoard()
        self.inbox = inbox

    async def swap(self, old: Clusters, new: Clusters) -> dict[str, list[str]]:
        served = await clusters_swap(self.inbox, self.board, old, new, "test")
        return {name: [str(e.bound) for e in endpoints] for name, endpoints in served.items()}

    @property
    def listening(self) -> dict[str, list[str]]:
        return {name: spec["endpoints"][0]["addresses"] for name, spec in self.native.specs.items()}


@asynccontextmanager
async def running() -> AsyncIterator[Running]:
    inbox, requests = trio.open_memory_channel[Proposal | Withdrawal](8)
    now = Running(inbox)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_publisher, dataplane_over(now.native), now.board, requests)
        yield now
        nursery.cancel_scope.cancel()


async def test_only_what_changed_is_served_again() -> None:
    old = clusters(a=A, b=B)
    async with running() as now:
        await now.swap({}, old)
        assert await now.swap(old, clusters(a=A, b=cluster(7001, 7202))) == {"b": ["127.0.0.1:7001"]}
        assert (now.board["a"].epoch, now.board["b"].epoch) == (1, 2)


async def test_a_role_that_moved_survives_a_reload_of_limits() -> None:
    shard = {"nodes": ["127.0.0.1:7101", "127.0.0.1:7102"]}
    old = clusters(a={**A, "shards": [shard]})
    async with running() as now:
        await now.swap({}, old)
        first = now.board["a"].shards[0]
        one, two = first.nodes
        promoted = replace(first, primary=two, replicas=(one,))
        await publish(now.inbox, replace(now.board["a"], shards=(promoted,)), "failover")
        await now.swap(old, clusters(a={**A, "shards": [shard], "limits": {"clients": 7}}))
        spec = now.native.specs["a"]
        assert spec["shards"][0]["nodes"][0]["address"] == "127.0.0.1:7102"
        assert spec["limits"]["clients"] == 7


async def test_clusters_may_hand_an_address_on() -> None:
    old = clusters(a=cluster(7000, 7101), b=cluster(7001, 7201))
    new = clusters(a=cluster(7001, 7101), b=cluster(7002, 7201))
    async with running() as now:
        await now.swap({}, old)
        await now.swap(old, new)
        assert now.listening == {"a": ["127.0.0.1:7001"], "b": ["127.0.0.1:7002"]}


async def test_a_renamed_cluster_keeps_its_address() -> None:
    old = clusters(a=A)
    async with running() as now:
        await now.swap({}, old)
        await now.swap(old, clusters(c=A))
        assert now.listening == {"c": ["127.0.0.1:7000"]}
        assert set(now.board) == {"c"}


async def test_a_refused_swap_leaves_what_was() -> None:
    """One took another's address, one is new, one was renamed; then the last address is not to be had."""
    old = clusters(a=cluster(7000, 7101), b=cluster(7001, 7201), r=cluster(7005, 7501))
    new = clusters(
        a=cluster(7001, 7102),
        b=cluster(7002, 7201),
        c=cluster(7003, 7301),
        s=cluster(7005, 7501),
        d=cluster(7004, 7401),
    )
    async with running() as now:
        await now.swap({}, old)
        before = {name: topology.shards for name, topology in now.board.items()}
        now.native.refuses["127.0.0.1:7004"] = OSError(98, "Address already in use")
        with pytest.raises(ServeError) as refusal:
            await now.swap(old, new)
        assert refusal.value.cluster == "d"
        assert now.listening == {"a": ["127.0.0.1:7000"], "b": ["127.0.0.1:7001"], "r": ["127.0.0.1:7005"]}
        assert {name: topology.shards for name, topology in now.board.items()} == before
