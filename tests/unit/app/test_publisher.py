"""The publisher: the only writer of epochs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import trio
import trio.testing

from shardproxy.config import parse_config
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.model import Topology
from shardproxy.topology.board import TopologyBoard
from shardproxy.topology.epoch import Stale
from shardproxy.topology.publisher import (
    Inbox,
    Proposal,
    Published,
    Refused,
    Withdrawal,
    publish,
    run_publisher,
    withdraw,
)
from tests.unit.app.fake_native import FakeNative, dataplane_over

CONFIG = """
clusters:
  main:
    engine: redis
    endpoints: {primary: "127.0.0.1:7000"}
    shards:
      - nodes: ["127.0.0.1:7101", "127.0.0.1:7102"]
"""


@dataclass
class Running:
    """What a test holds of a running publisher."""

    native: FakeNative
    board: TopologyBoard
    inbox: Inbox
    settings: ClusterSettings
    topology: Topology


@asynccontextmanager
async def publisher() -> AsyncIterator[Running]:
    native, board = FakeNative(), TopologyBoard()
    inbox, requests = trio.open_memory_channel[Proposal | Withdrawal](8)
    config = parse_config(CONFIG)
    settings = ClusterSettings.read(config.clusters["main"], "7.0.15")
    async with trio.open_nursery() as nursery:
        await nursery.start(run_publisher, dataplane_over(native), board, requests)
        yield Running(native, board, inbox, settings, config.topologies()[0])
        nursery.cancel_scope.cancel()


def promoted(topology: Topology) -> Topology:
    shard = topology.shards[0]
    assert shard.primary
    swapped = replace(shard, primary=shard.replicas[0], replicas=(shard.primary,))
    return replace(topology, shards=(swapped,))


async def test_a_published_topology_is_applied_and_shown() -> None:
    async with publisher() as p:
        outcome = await publish(p.inbox, p.topology, "start", p.settings)
        assert isinstance(outcome, Published)
        assert outcome.topology.epoch == 1
        assert p.board["main"] == outcome.topology
        assert p.native.specs["main"]["epoch"] == 1
        assert [str(e.bound) for e in outcome.endpoints] == ["127.0.0.1:7000"]


async def test_a_promotion_needs_no_settings_and_keeps_them() -> None:
    async with publisher() as p:
        await publish(p.inbox, p.topology, "start", p.settings)
        await publish(p.inbox, promoted(p.board["main"]), "failover")
        spec = p.native.specs["main"]
        assert spec["epoch"] == 2
        assert spec["shards"][0]["nodes"][0]["address"] == "127.0.0.1:7102"
        assert spec["shards"][0]["primary"] == 0
        assert spec["endpoints"] == [{"kind": "primary", "addresses": ["127.0.0.1:7000"]}]


async def test_stale_proposal_is_dropped() -> None:
    async with publisher() as p:
        await publish(p.inbox, p.topology, "start", p.settings)
        base = p.board["main"]
        await publish(p.inbox, promoted(base), "failover")
        outcome = await publish(p.inbox, promoted(base), "a second opinion, too late")
        assert outcome == Stale(base=1, current=2)
        assert p.native.specs["main"]["epoch"] == 2


async def test_a_refusal_of_the_data_plane_changes_nothing() -> None:
    async with publisher() as p:
        await publish(p.inbox, p.topology, "start", p.settings)
        p.native.refuses["127.0.0.1:7000"] = OSError(98, "Address already in use")
        before = p.board["main"]
        outcome = await publish(p.inbox, promoted(before), "failover")
        assert isinstance(outcome, Refused)
        assert p.board["main"] == before
        del p.native.refuses["127.0.0.1:7000"]
        assert isinstance(await publish(p.inbox, promoted(before), "failover"), Published)


async def test_a_cluster_that_is_not_served_takes_no_promotion() -> None:
    async with publisher() as p:
        outcome = await publish(p.inbox, p.topology, "failover")
        assert isinstance(outcome, Refused)
        assert p.native.specs == {}


async def test_other_settings_keep_the_epoch() -> None:
    async with publisher() as p:
        await publish(p.inbox, p.topology, "start", p.settings)
        limits = p.settings.config.limits.model_copy(update={"clients": 5})
        config = p.settings.config.model_copy(update={"limits": limits})
        await publish(p.inbox, p.board["main"], "reload", replace(p.settings, config=config))
        assert p.native.specs["main"]["limits"]["clients"] == 5
        assert p.native.specs["main"]["epoch"] == 1


async def test_a_withdrawn_cluster_is_gone() -> None:
    async with publisher() as p:
        await publish(p.inbox, p.topology, "start", p.settings)
        await withdraw(p.inbox, "main", "reload")
        assert "main" not in p.board
        assert p.native.specs == {}


async def test_readers_wait_for_changes_and_see_the_latest() -> None:
    async with publisher() as p:
        seen: list[int | None] = []

        async def watch() -> None:
            topology: Topology | None = None
            while len(seen) < 3:
                topology = await p.board.wait_changed("main", topology)
                seen.append(topology.epoch if topology else None)

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await publish(p.inbox, p.topology, "start", p.settings)
                await trio.testing.wait_all_tasks_blocked()
                await publish(p.inbox, promoted(p.board["main"]), "failover")
                await trio.testing.wait_all_tasks_blocked()
                await withdraw(p.inbox, "main", "reload")
        assert seen == [1, 2, None]


async def test_a_proposer_that_gave_up_does_not_stop_the_publisher() -> None:
    async with publisher() as p:
        answer, outcome = trio.open_memory_channel[object](1)
        outcome.close()
        await p.inbox.send(Proposal(p.topology, "start", p.settings, answer))
        await publish(p.inbox, promoted(p.topology.with_epoch(1)), "failover")
        assert p.board["main"].epoch == 2
