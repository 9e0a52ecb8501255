"""The records of a Redis Cluster's shards, and what a node has to say for all to be as before."""

from __future__ import annotations

from dataclasses import replace

from shardproxy.model.replication import ShardKey
from shardproxy.topology.sources.cluster.decide import decide
from shardproxy.topology.sources.cluster.records import numbers_found, record_made
from shardproxy.topology.sources.cluster.source import is_said
from tests.unit.topology.sources.test_cluster_decide import (
    HALVES,
    WHOLE,
    address,
    layout,
    primary,
    replica,
    views,
)

KEY = ShardKey("main", 0)


def test_a_record_is_what_the_cluster_says() -> None:
    group = layout(decide(views(*"abc"))).groups[0]
    record = record_made(KEY, group, None, 1)
    assert (record.primary, record.nodes, record.slots) == (
        address("a"),
        (address("a"), address("x")),
        (HALVES[0],),
    )
    assert (record.run_id, record.epoch) == ("run-a", 2)
    assert set(record.promise.voters) == {address("x")}


def test_an_epoch_never_goes_down_and_a_silent_primary_is_who_it_was() -> None:
    before = replace(record_made(KEY, layout(decide(views(*"abc"))).groups[0], None, 0), epoch=9)
    silent = layout(decide(views("b", "c"))).groups[0]
    record = record_made(KEY, silent, before, 0)
    assert (record.epoch, record.run_id) == (9, "run-a")
    other = replace(silent, address=address("x"))
    assert record_made(KEY, other, before, 0).run_id == "", "nobody knows who that is"


def test_a_source_that_begins_anew_finds_the_numbers_on_record() -> None:
    found = layout(decide(views(*"abc")))
    record = record_made(ShardKey("main", 7), found.groups[1], None, 0)
    _, groups = numbers_found(found, {record.key: record}).given(found.groups)
    assert {number: group.primary for number, group in groups.items()} == {0: "a", 1: "c", 7: "b"}


def test_whatever_is_new_is_noticed() -> None:
    found = layout(decide(views(*"abc")))
    (view,) = views("a")
    assert is_said(found, view)
    for changed in (
        {"x": replica("x", "a", has_failed=True)},
        {"b": primary("b", 5, HALVES[1])},
        {"c": primary("c", 3)},
        {"w": replica("w", "c")},
        {"x": primary("x", 6, HALVES[0])},
    ):
        (other,) = views("a", members={**WHOLE, **changed})
        assert not is_said(found, other), changed
    assert not is_said(found, replace(view, run_id="another")), "it has restarted"
