"""Which node of a shard is read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.backup.sources import MAX_LAG, Look, source_of
from shardproxy.jobs.interface import JobError
from shardproxy.model import Address, SlotRange
from shardproxy.model.replication import DEAD_END, Lineage, Replication, Role, ShardKey
from shardproxy.store.record import ShardRecord, ShardState

A, B, C = (Address("10.0.0.1", port) for port in (1, 2, 3))
PRIMARY = Look(Replication(Role.PRIMARY, Lineage("r"), MAX_LAG + 100), "redis 7.0.15", 1000)
REPLICA = Look(
    Replication(Role.REPLICA, Lineage("r"), MAX_LAG + 100, follows=A, is_link_up=True), "redis 7.0.15", 900
)
RECORD = ShardRecord(ShardKey("sessions", 3), 1, ShardState.OK, A, (A, B, C), slots=(SlotRange(0, 16383),))


def with_said(look: Look, **changes: object) -> Look:
    return replace(look, replication=replace(look.replication, **changes))  # type: ignore[arg-type]


def test_a_replica_is_read_before_the_primary() -> None:
    source = source_of(RECORD, "3", {A: PRIMARY, B: REPLICA})
    assert (source.address, source.primary, source.role) == (B, A, Role.REPLICA)


def test_one_that_does_not_save_now_is_read_before_one_with_more() -> None:
    behind = with_said(REPLICA, offset=MAX_LAG)
    assert source_of(RECORD, "3", {A: PRIMARY, B: behind, C: REPLICA}).address == C
    assert source_of(RECORD, "3", {A: PRIMARY, B: behind, C: replace(REPLICA, is_forked=True)}).address == B


@pytest.mark.parametrize(
    "unfit",
    [
        with_said(REPLICA, is_link_up=False),
        with_said(REPLICA, is_syncing=True),
        with_said(REPLICA, lineage=Lineage("other")),
        with_said(REPLICA, offset=50),
        with_said(REPLICA, follows=None, role=Role.PRIMARY),
    ],
)
def test_a_replica_without_the_shards_data_is_not_read(unfit: Look) -> None:
    assert source_of(RECORD, "3", {A: PRIMARY, B: unfit}).address == A


def test_a_shard_without_replicas_is_read_from_its_primary() -> None:
    source = source_of(replace(RECORD, nodes=(A,)), "3", {A: PRIMARY})
    assert (source.address, source.role) == (A, Role.PRIMARY)


def test_a_shard_without_a_primary_is_not_read() -> None:
    with pytest.raises(JobError, match="shard 3 has no primary now"):
        source_of(RECORD.fenced(), "3", {A: PRIMARY, B: REPLICA})
    with pytest.raises(JobError, match="does not answer as one"):
        source_of(RECORD, "3", {B: REPLICA})
    with pytest.raises(JobError, match="does not answer as one"):
        source_of(RECORD, "3", {A: with_said(REPLICA, follows=DEAD_END), B: REPLICA})
