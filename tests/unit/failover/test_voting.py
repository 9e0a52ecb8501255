"""Who is asked to vouch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.failover.memory import Memory
from shardproxy.failover.voting import promise_wanted
from shardproxy.model import Address
from shardproxy.model.health import Cause, NodeHealth, NodeState
from shardproxy.store.record import Promise
from tests.unit.failover.make import A, B, C, down, health, primary, record, replica, setup

D = Address("10.0.0.4", 7001)
R, APART, DEAD = health(replica()), health(replica(is_up=False)), down(Cause.DEAD)
UNFIT, FULL = health(replica(priority=0)), health(replica(), NodeState.UNWRITABLE)
UNSEEN = replace(R, synced_at=None)  # it has not reached what its primary was seen to have
BARELY, LONG = 995.0, 900.0  # since when out of sync, at 1000

CASES = [
    ("all are in sync", {B: R, C: R}, (B, C), {}, 1, {B, C}),
    ("one is back in sync", {B: R, C: R}, (B,), {}, 1, {B, C}),
    ("one may have been cut off before we looked", {B: R, C: UNSEEN}, (B,), {}, 1, {B}),
    ("one has been away for a moment", {B: R, C: APART}, (B, C), {C: BARELY}, 1, {B, C}),
    ("one has been away for long", {B: R, C: DEAD}, (B, C), {C: LONG}, 1, {B}),
    ("the same, without wait", {B: R, C: DEAD}, (B, C), {C: LONG}, 0, {B}),
    ("both have, and one of them has to vouch", {B: APART, C: APART}, (B, C), {B: LONG, C: LONG + 1}, 1, {C}),
    ("two of them have to", {B: APART, C: APART}, (B, C), {B: LONG, C: LONG + 1}, 2, {B, C}),
    ("without wait nobody has to", {B: APART, C: APART}, (B, C), {B: LONG, C: LONG}, 0, set()),
    ("another one is there instead", {B: R, C: DEAD}, (C,), {C: LONG}, 1, {B}),
    ("priority 0", {B: R, C: UNFIT}, (B, C), {}, 1, {B}),
    ("a full disk", {B: R, C: FULL}, (B, C), {}, 1, {B}),
    ("nobody has said anything yet", {}, (B, C), {}, 1, {B, C}),
    ("a node that never was in sync", {B: R, C: R, D: R}, (B, C), {}, 1, {B, C}),
    ("another process than on record", {B: R, C: health(replica(), run_id="r2")}, (B,), {}, 1, {B}),
]


@pytest.mark.parametrize(
    ("name", "healths", "voters", "apart_since", "wait", "wanted"), CASES, ids=[case[0] for case in CASES]
)
def test_who_vouches(
    name: str,
    healths: dict[Address, NodeHealth],
    voters: tuple[Address, ...],
    apart_since: dict[Address, float],
    wait: int,
    wanted: set[Address],
) -> None:
    shard = record(nodes=(A, B, C, D), voters=voters, wait=wait)
    memory = Memory(apart_since=apart_since, of=(1, A))
    found = promise_wanted(
        setup(A, B, C, D, wait=wait), shard, {A: health(primary()), **healths}, memory, 1000.0
    )
    assert found == Promise(frozenset(wanted), wait)
