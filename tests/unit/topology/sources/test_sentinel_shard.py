"""One shard that Sentinels decide about: what is done where others serve it, or where too few answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
import trio
import trio.testing

from shardproxy.failover.event_log import EventLog
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, EndpointKind, Node
from shardproxy.model.board import Board
from shardproxy.model.replication import Lineage, ShardKey
from shardproxy.nodes import NodeLinks
from shardproxy.store.member import Advertised, Member, serving_beside
from shardproxy.store.record import Promise, ShardRecord
from shardproxy.topology.sources.sentinel.decide import Served
from shardproxy.topology.sources.sentinel.handover import hand_over
from shardproxy.topology.sources.sentinel.record import record_of
from shardproxy.topology.sources.sentinel.shard import ALONE_AFTER, FollowedShard, Surroundings
from shardproxy.topology.sources.showing import Showing
from shardproxy.topology.sources.source import SourceInputs
from shardproxy.topology.sources.spelling import Spelling

A, B, C = (Address("127.0.0.1", port) for port in (1, 2, 3))
KEY = ShardKey("main", 0)
SETUP = ShardSetup(KEY, (Node(A), Node(B), Node(C)), wait=1, decider="sentinel")
SERVED = Served(A, 1, "a", (B, C), Lineage("a" * 40), frozenset({B, C}), {B: "b", C: "c"})


class Numbers:
    """Epochs in memory."""

    last = 0

    def next(self, floor: int = 0) -> int:
        self.last = max(self.last + 1, floor)
        return self.last


def followed(others: Sequence[Member] = (), wait: int = 1) -> tuple[FollowedShard, SourceInputs]:
    records: Board[ShardKey, ShardRecord] = Board()
    showing = Showing("main", records, cast("Any", Numbers()))
    setup = replace(SETUP, wait=wait)
    showing.show(record_of(setup, SERVED))
    _, hints = trio.open_memory_channel[Address](1)
    unused = cast("Any", None)
    inputs = SourceInputs(
        "main", unused, showing, Board(), NodeLinks(), EventLog(), hints, unused, lambda: others
    )
    return FollowedShard(setup, "mymaster", Surroundings(inputs, (), Spelling(()))), inputs


def serving(name: str) -> Member:
    return Member(name, f"label of {name}", endpoints={"main": (Advertised(EndpointKind.PRIMARY, "h:1"),)})


async def test_a_switchover_is_refused_while_other_proxies_write_on() -> None:
    shard, inputs = followed([serving("b")])
    why = await hand_over(shard, inputs, ())
    assert "other proxies" in str(why)
    assert "label of b" in str(why)
    assert "SENTINEL FAILOVER mymaster" in str(why)
    assert shard.served == SERVED, "nothing waits for it"


async def test_alone_it_goes_on() -> None:
    shard, inputs = followed()
    why = await hand_over(shard, inputs, ())
    assert "not all replicas" in str(why), "nobody answers at these addresses"


@pytest.mark.parametrize("wait", [0, 1])
async def test_alone_for_a_while_every_replica_has_to_confirm(
    wait: int, autojump_clock: trio.testing.MockClock
) -> None:
    shard, inputs = followed(wait=wait)
    first = inputs.showing.shown[KEY]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shard.run)
        await trio.sleep(ALONE_AFTER / 2)
        assert inputs.showing.shown[KEY] == first
        await trio.sleep(ALONE_AFTER)
        nursery.cancel_scope.cancel()
    now = inputs.showing.shown[KEY]
    assert now.promise == Promise(frozenset({B, C}), 2)
    assert now.changed > first.changed, "proxies act on it"
    assert now.primary == A


def test_who_drains_still_serves_and_who_serves_another_cluster_does_not() -> None:
    members = {
        "a": serving("a"),
        "b": Member("b", is_draining=True, endpoints={"main": ()}),
        "c": Member("c", endpoints={"other": ()}),
        "d": Member("d"),
    }
    assert [member.name for member in serving_beside("a", "main", members)] == ["b"]
