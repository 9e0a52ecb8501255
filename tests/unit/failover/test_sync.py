"""Which replicas were in sync when the primary was last well."""

from __future__ import annotations

from shardproxy.failover.election import Candidate, why_too_few
from shardproxy.failover.sync import SyncLog
from shardproxy.model.health import Cause, NodeState
from tests.unit.failover.make import A, B, C, X, Y, down, frozen, health, primary, record, replica

WELL = {A: health(primary()), B: health(replica()), C: health(replica())}
APART = {**WELL, C: health(replica(is_up=False))}
LOST = {A: down(Cause.SILENT, primary()), B: health(replica(is_up=False)), C: health(replica(is_up=False))}


def test_a_replica_that_lost_the_primary_long_before_is_left_behind() -> None:
    log = SyncLog().noted(record(), WELL, 0.0).noted(record(), APART, 5.0).noted(record(), LOST, 20.0)
    assert log.left_behind(10.0) == {C}
    assert log.left_behind(15.0) == frozenset()


def test_what_happens_after_the_primary_fell_ill_does_not_count() -> None:
    log = SyncLog().noted(record(), WELL, 0.0).noted(record(), LOST, 20.0).noted(record(), LOST, 90.0)
    assert log.left_behind(10.0) == frozenset()


def test_one_that_is_back_in_sync_is_forgiven() -> None:
    log = SyncLog().noted(record(), APART, 0.0).noted(record(), WELL, 50.0).noted(record(), LOST, 51.0)
    assert log.left_behind(10.0) == frozenset()


def test_a_busy_primary_is_not_well() -> None:
    """From then on nobody can tell whose fault a lost link is."""
    busy = {**WELL, A: health(primary(), NodeState.BUSY)}
    log = SyncLog().noted(record(), busy, 10.0).noted(record(), APART, 10.5)
    assert log.left_behind(10.0) == frozenset()
    assert log.noted(record(), LOST, 30.0).left_behind(10.0) == {C}


def test_a_replica_knows_the_history_s_new_name_first() -> None:
    """A primary makes one up when its first replica comes, and may die before it was asked."""
    linked = {**WELL, B: health(replica(lineage=Y))}
    log = SyncLog().noted(record(), linked, 0.0).noted(record(), LOST, 1.0)
    assert log.other_name(record()) == Y.replid
    assert log.other_name(record(epoch=2)) == ""
    assert SyncLog().noted(record(), WELL, 0.0).other_name(record()) == ""
    renamed = Candidate(B, frozen(Y)).with_one_name(X, Y.replid)
    assert why_too_few(record(None, last=A), [renamed]) is None
    assert why_too_few(record(None, last=A), [Candidate(B, frozen(Y)).with_one_name(X, "z")]) is not None
