"""Nodes are who they say they are, whatever they are called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.failover.adoption import Healths
from shardproxy.failover.identity import aliases, named_twice
from shardproxy.model import Address
from shardproxy.model.health import Cause
from shardproxy.store.record import Promise, ShardRecord, ShardState
from tests.unit.failover.make import A, B, C, down, health, primary, record, replica, setup

HOST = Address("db-1", 7001)  # another name of A, or of B
RECORD = replace(record(), run_id="a", processes=((B, "b"), (C, "c")))
HEALTHS = {
    A: health(primary(), run_id="a"),
    B: health(replica(), run_id="b"),
    C: health(replica(), run_id="c"),
}


@pytest.mark.parametrize(
    ("configured", "healths", "shard", "found"),
    [
        ((A, B, C), HEALTHS, RECORD, []),
        ((HOST, B, C), {**HEALTHS, HOST: HEALTHS[A]}, RECORD, [(A, HOST)]),
        ((A, HOST, C), {**HEALTHS, HOST: HEALTHS[B]}, RECORD, [(B, HOST)]),
        ((A, HOST, C), {**HEALTHS, B: down(Cause.DEAD), HOST: HEALTHS[B]}, RECORD, [(B, HOST)]),
        ((HOST, B, C), {B: HEALTHS[B], HOST: HEALTHS[A]}, RECORD, [(A, HOST)]),  # A does not resolve any more
        ((HOST, B, C), {HOST: HEALTHS[A]}, RECORD.fenced(), [(A, HOST)]),  # nor while it is being replaced
        ((A, B, HOST), {**HEALTHS, HOST: health(primary(), run_id="new")}, RECORD, []),
        ((A, B, C, HOST), {**HEALTHS, HOST: HEALTHS[A]}, RECORD, []),  # named twice: an alarm, not a new name
        ((HOST, B, C), HEALTHS, RECORD, []),  # not heard of yet
    ],
)
def test_a_new_name_is_recognized(
    configured: tuple[Address, ...],
    healths: Healths,
    shard: ShardRecord,
    found: list[tuple[Address, Address]],
) -> None:
    assert list(aliases(setup(*configured), shard, healths)) == found


def test_a_process_in_two_places_of_the_config_is_found() -> None:
    assert named_twice(setup(), HEALTHS) is None
    assert named_twice(setup(), {A: down(Cause.DEAD), B: down(Cause.DEAD)}) is None  # nobody says who it is
    assert named_twice(setup(A, B, HOST), {**HEALTHS, HOST: HEALTHS[A]}) == (A, HOST)


def test_a_node_is_called_otherwise_everywhere_on_record() -> None:
    shard = replace(
        record(B, wait=1, voters=(A, C), pending=(Promise(frozenset({B, C}), 1),), epoch=4),
        target=B,
        processes=((B, "b"), (C, "c")),
        replaced=((A, "a"),),
    )
    renamed = shard.renamed(B, HOST)
    assert (renamed.primary, renamed.target, renamed.nodes) == (HOST, HOST, (A, HOST, C))
    assert renamed.joined == (A, HOST, C)
    assert renamed.pending == (Promise(frozenset({HOST, C}), 1),)
    assert renamed.has_process(HOST, "b")
    assert renamed.renamed(A, B).replaced == ((B, "a"),)
    assert renamed.renamed(C, B).promise == Promise(frozenset({A, B}), 1)
    fenced = replace(shard, state=ShardState.FENCING, primary=None, last=B)
    assert fenced.renamed(B, HOST).last == HOST


def test_a_promoted_node_under_another_name_is_another_epoch_s_target() -> None:
    """An epoch has one target: whoever stores the record holds to that."""
    promoted = record().fenced().promoting(B).settled(B, None, "b")
    assert promoted.renamed(B, HOST).epoch == promoted.epoch + 1
    assert promoted.renamed(C, HOST).epoch == promoted.epoch
