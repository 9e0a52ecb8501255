"""What is remembered of a primary that falls ill: who was in sync, and how far it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.failover.election import Candidate, why_too_few
from shardproxy.failover.memory import LEFT_BEHIND, Memory
from shardproxy.model import Address
from shardproxy.model.health import Cause, NodeHealth, NodeState
from tests.unit.failover.make import A, B, C, X, Y, down, frozen, health, primary, record, replica

Nodes = dict[Address, NodeHealth]

WELL: Nodes = {A: health(primary()), B: health(replica()), C: health(replica())}
APART: Nodes = {**WELL, C: health(replica(is_up=False))}
STALE: Nodes = {**WELL, C: health(replica(), is_current=False)}  # a silent cut: its link says "up"
LOST: Nodes = {
    A: down(Cause.SILENT, primary()),
    B: health(replica(is_up=False)),
    C: health(replica(is_up=False)),
}
BUSY: Nodes = {**WELL, A: health(primary(), NodeState.BUSY)}
SILENT: Nodes = {**LOST, A: health(primary(), NodeState.SUSPECT)}


def noted(*seen: tuple[float, Nodes]) -> Memory:
    memory = Memory()
    for now, healths in seen:
        memory = memory.noted(record(), healths, now)
    return memory


@pytest.mark.parametrize(
    ("seen", "at", "left_behind"),
    [
        ([(0, WELL), (5, APART), (20, LOST)], 20, {C}),
        ([(0, WELL), (5, STALE), (20, LOST)], 20, {C}),  # whatever its link says
        ([(0, WELL), (5, APART), (14, LOST)], 14, set()),  # not long before
        ([(0, WELL), (5, APART), (14, LOST)], 90, set()),  # what happens after it fell ill does not count
        ([(0, WELL), (5, APART), (14, SILENT), (40, LOST)], 40, set()),
        ([(0, WELL), (20, LOST)], 90, set()),
        ([(0, APART), (50, WELL), (51, LOST)], 51, set()),  # one that is back is forgiven
        ([(0, APART)], 5, set()),
        ([(0, APART)], 11, {C}),  # also while it is well
        ([(0, BUSY), (5, {**BUSY, C: APART[C]})], 16, {C}),  # a busy primary is well
    ],
)
def test_who_lost_the_primary_long_before_is_left_behind(
    seen: list[tuple[float, Nodes]], at: float, left_behind: set[Address]
) -> None:
    memory = noted(*seen)
    assert {node for node in (B, C) if memory.is_left_behind(node, at)} == left_behind


def at_offset(offset: int) -> Nodes:
    return {**WELL, A: health(primary(offset=offset))}


def test_the_floor_is_what_the_primary_had_passed_long_before_it_fell_ill() -> None:
    memory = noted(*((float(second), at_offset(100 * second)) for second in range(1, 31)))
    assert memory.floor(30.0) == 2000
    assert memory.noted(record(), LOST, 31.0).floor(90.0) == 2100
    assert noted((1.0, at_offset(100))).floor(1.0 + LEFT_BEHIND - 0.1) == 0


def test_another_primary_is_remembered_anew_but_not_before_there_is_one() -> None:
    memory = noted((0.0, APART), (20.0, LOST))
    fenced = record().fenced()
    assert memory.noted(fenced, {}, 21.0).is_left_behind(C, 21.0)
    settled = fenced.promoting(B).settled(B, Y, "r")
    assert not memory.noted(settled, {}, 22.0).is_left_behind(C, 22.0)


def test_a_primary_that_says_it_is_a_replica_gives_no_offset() -> None:
    memory = noted((0.0, {**WELL, A: health(replica(B, offset=900))}))
    assert memory.floor(60.0) == 0


def test_a_replica_knows_the_history_s_new_name_first() -> None:
    """A primary makes one up when its first replica comes, and may die before it was asked."""
    memory = noted((0.0, {**WELL, B: health(replica(lineage=Y))}), (1.0, LOST))
    assert memory.other_name(record()) == Y.replid
    assert memory.other_name(record(epoch=2)) == ""
    assert memory.other_name(replace(record(), lineage=None)) == ""
    assert noted((0.0, WELL)).other_name(record()) == ""
    renamed = Candidate(B, frozen(Y)).with_one_name(X, Y.replid)
    assert why_too_few(record(None, last=A), [renamed]) is None
    assert why_too_few(record(None, last=A), [Candidate(B, frozen(Y)).with_one_name(X, "z")]) is not None
