"""How a proposal becomes an epoch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.model import Address, Engine, Node, Shard, SlotRange, Topology
from shardproxy.topology.epoch import Stale, topology_number


def topology(epoch: int, port: int = 7101) -> Topology:
    node = Node(Address("127.0.0.1", port))
    return Topology("main", Engine.REDIS, epoch, (Shard(0, (SlotRange(0, 16383),), node),))


@pytest.mark.parametrize(
    ("current", "proposed", "expected"),
    [
        pytest.param(None, topology(0), 1, id="the first epoch is 1"),
        pytest.param(topology(4), topology(4, 7102), 5, id="a change is one epoch more"),
        pytest.param(topology(4), topology(9, 7102), 5, id="a base from the future makes no gap"),
        pytest.param(topology(4), topology(4), 4, id="no change, no epoch"),
    ],
)
def test_epochs(current: Topology | None, proposed: Topology, expected: int) -> None:
    numbered = topology_number(current, proposed)
    assert isinstance(numbered, Topology)
    assert numbered == replace(proposed, epoch=expected)


def test_stale_proposal_is_dropped_even_if_equal() -> None:
    assert topology_number(topology(4), topology(3, 7102)) == Stale(base=3, current=4)
    assert topology_number(topology(4), topology(3)) == Stale(base=3, current=4)
