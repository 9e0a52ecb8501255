"""How a cluster without records is numbered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.model import Address, Engine, Node, Shard, Topology
from shardproxy.topology.epoch import topology_number


def topology(epoch: int, port: int = 11311) -> Topology:
    node = Node(Address("127.0.0.1", port))
    return Topology("pages", Engine.MEMCACHED, epoch, (Shard(0, (), node, number=0),))


@pytest.mark.parametrize(
    ("current", "wanted", "last", "expected"),
    [
        pytest.param(None, topology(0), 0, 1, id="the first epoch is 1"),
        pytest.param(None, topology(0), 7, 8, id="after a restart"),
        pytest.param(topology(4), topology(0, 11312), 4, 5, id="a change is one epoch more"),
        pytest.param(topology(4), topology(0), 4, 4, id="no change, no epoch"),
        pytest.param(topology(4), topology(0, 11312), 9, 10, id="above all that was ever noted"),
    ],
)
def test_epochs(current: Topology | None, wanted: Topology, last: int, expected: int) -> None:
    assert topology_number(current, wanted, last) == replace(wanted, epoch=expected)
