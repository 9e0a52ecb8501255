"""The primaries that are served: those on record; of several nodes none before it is known which."""

from __future__ import annotations

import pytest

from shardproxy.config import Config
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, Node, Topology
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.topology.roles import topology_with_roles
from shardproxy.topology.supervisor import only_zone

A, B, C = (Address("127.0.0.1", port) for port in (7101, 7102, 7103))
KEY = ShardKey("c", 0)


def configured(*nodes: Address) -> Topology:
    cluster = {
        "engine": "redis",
        "endpoints": {"primary": "127.0.0.1:7000"},
        "shards": [{"nodes": [str(node) for node in nodes]}],
    }
    return Config.model_validate({"clusters": {"c": cluster}}).topologies()[0]


def record(state: ShardState, primary: Address | None, *nodes: Address) -> ShardRecord:
    return ShardRecord(KEY, 3, state, primary, nodes)


@pytest.mark.parametrize(
    ("seen", "primary", "replicas"),
    [
        pytest.param(None, None, {A, B}, id="no record"),
        pytest.param(record(ShardState.OK, B, A, B), B, {A}, id="after a failover"),
        pytest.param(record(ShardState.FENCING, None, A, B), None, {A, B}, id="in the middle of one"),
        pytest.param(record(ShardState.NEW, None, A, B), None, {A, B}, id="not adopted yet"),
        pytest.param(record(ShardState.OK, C, B, C), C, {A, B}, id="the primary was taken out of the config"),
        pytest.param(record(ShardState.OK, C, C), None, {A, B}, id="of other nodes"),
    ],
)
def test_roles_are_those_on_record(
    seen: ShardRecord | None, primary: Address | None, replicas: set[Address]
) -> None:
    topology = topology_with_roles(configured(A, B), {} if seen is None else {KEY: seen})
    (shard,) = topology.shards
    assert (shard.primary.address if shard.primary else None) == primary
    assert {node.address for node in shard.replicas} == replicas


def test_a_node_that_is_alone_is_the_primary_at_once() -> None:
    (shard,) = topology_with_roles(configured(A), {}, is_watched=False).shards
    assert shard.primary is not None


def test_what_was_on_record_before_the_start_has_to_be_confirmed() -> None:
    before = record(ShardState.OK, B, A, B)
    (shard,) = topology_with_roles(configured(A, B), {KEY: before}, is_watched=False).shards
    assert shard.primary is None


@pytest.mark.parametrize(
    ("zones", "only"), [(("a", "a"), "a"), (("a", "b"), None), (("a",), None), ((None, None), None)]
)
def test_a_shard_in_one_zone_is_told_of(zones: tuple[str | None, ...], only: str | None) -> None:
    nodes = tuple(Node(Address("127.0.0.1", 7100 + n), zone=zone) for n, zone in enumerate(zones))
    assert only_zone(ShardSetup(KEY, nodes)) == only
