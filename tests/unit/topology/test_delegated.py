"""Shards of clusters that something else decides about: named in the config, found by asking."""

from __future__ import annotations

from typing import Any

from shardproxy.model import SlotRange
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.topology.project import shard_setups
from shardproxy.topology.reload import reload_plan
from tests.unit.topology.make import OTHER, A, B, C, clusters, following, record, redis

FIRST, SECOND = (SlotRange(0, 8191),), (SlotRange(8192, 16383),)


def sentinel(*names: str, **options: Any) -> dict[str, Any]:
    """A cluster without shards of its own."""
    topology = {"from": "sentinel", "sentinels": ["127.0.0.1:26379"], "names": list(names)}
    cluster = {**redis(topology=topology), **options}
    del cluster["shards"]
    return cluster


def setups(cluster: dict[str, Any], *records: ShardRecord) -> dict[str | None, tuple[int, Any, Any]]:
    """Of each shard by its name: number, nodes and slots."""
    found = shard_setups("main", clusters(main=cluster)["main"], {one.key: one for one in records})
    assert all(setup.decider == cluster["topology"]["from"] for setup in found)
    assert not any(setup.is_automatic or setup.is_managed for setup in found)
    return {setup.name: (setup.key.index, setup.addresses, setup.slots) for setup in found}


def test_before_anything_was_found_they_have_slots_and_no_nodes() -> None:
    assert setups(sentinel("a", "b")) == {"a": (0, (), FIRST), "b": (1, (), SECOND)}


def test_their_nodes_are_those_that_were_found() -> None:
    found = record(nodes=(A, B), name="a", slots=FIRST)
    assert setups(sentinel("a", "b"), found)["a"] == (0, (A, B), FIRST)


def test_a_name_keeps_its_number_and_its_slots_wherever_in_the_list_it_is() -> None:
    records = (
        record(nodes=(A,), name="a", slots=FIRST),
        record(nodes=(B,), primary=B, key=OTHER, name="b", slots=SECOND),
    )
    assert setups(sentinel("b", "a"), *records) == {"a": (0, (A,), FIRST), "b": (1, (B,), SECOND)}


def test_a_redis_cluster_has_the_shards_that_were_found() -> None:
    cluster = sentinel("a", topology={"from": "redis-cluster", "seeds": ["127.0.0.1:7101"]})
    whole = (SlotRange(0, 16383),)
    assert setups(cluster) == {None: (0, (), whole)}
    records = (
        record(nodes=(A, B), slots=SECOND, name="x", key=ShardKey("main", 3)),
        record(nodes=(C,), primary=C, slots=FIRST, name="y", key=ShardKey("main", 5)),
    )
    assert setups(cluster, *records) == {"x": (3, (A, B), SECOND), "y": (5, (C,), FIRST)}


def test_who_decides_is_not_changed_while_a_cluster_is_served() -> None:
    """Numbers of one are none of the other's."""
    own, theirs = clusters(main=redis((A,))), clusters(main=sentinel("a"))
    for before, after in ((own, theirs), (theirs, own)):
        plan = reload_plan(before, after)
        assert (plan.withdraw_first, plan.serve) == (("main",), ("main",))


async def test_what_is_found_later_is_served() -> None:
    whole = (SlotRange(0, 16383),)
    async with following(main=sentinel("a")) as site:
        await site.settle()
        assert site.plane.primaries() == [None]
        assert site.follower.undecided == ("main",)
        site.put(record(nodes=(A, B), name="a", slots=whole, changed=7))
        await site.follower.wait_decided()
        await site.settle()
        assert site.plane.primaries() == [str(A)]
        assert [setup.addresses for setup in site.follower.clusters["main"].setups] == [(A, B)]
        site.put(record(ShardState.FENCING, None, (A, B, C), last=A, name="a", slots=whole, changed=8))
        await site.settle()
        assert site.plane.primaries() == [None]
        assert {node.address for node in site.follower.topologies["main"].nodes} == {A, B, C}
        assert not site.follower.undecided, "it was decided once"
