"""What a shard needs now: a table of situations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shardproxy.failover.adoption import Adopt, Conflict
from shardproxy.failover.backoff import NO_FAILOVER_YET
from shardproxy.failover.decide import (
    Accept,
    Decision,
    FailOver,
    Heal,
    Hold,
    Nothing,
    Register,
    Situation,
    Update,
    decide,
    switchover_target,
)
from shardproxy.failover.healing import Action, Configure, Follow, Joined, Persist
from shardproxy.failover.setup import ShardSetup, record_new
from shardproxy.model import Address
from shardproxy.model.health import Cause, NodeHealth, NodeState
from shardproxy.model.replication import Lineage
from shardproxy.store.record import ShardRecord, ShardState
from tests.unit.failover.make import A, B, C, X, Y, down, frozen, health, primary, record, replica, setup

P, R = health(primary()), health(replica())
DEAD, SILENT = down(Cause.DEAD), down(Cause.SILENT)
WELL = {A: P, B: R, C: R}
CONFIGURED = frozenset(Configure(node, "r") for node in (A, B, C))
SENTINEL = health(replica(), manager="Sentinel")


def look(
    healths: dict[Address, NodeHealth],
    *,
    shard: ShardRecord | None = None,
    of: ShardSetup | None = None,
    **options: object,
) -> Decision:
    situation = Situation(of or setup(), shard or record(), healths, 1000.0, done=CONFIGURED)
    return decide(replace(situation, **options))  # type: ignore[arg-type]


def test_all_is_well() -> None:
    assert look(WELL) == Nothing()


@pytest.mark.parametrize(
    "verdict",
    [
        DEAD,
        SILENT,
        down(Cause.STUCK_LOADING),
        down(Cause.UNWRITABLE, primary()),
        down(Cause.NOT_PRIMARY, frozen()),
    ],
)
def test_a_primary_that_is_down_is_replaced(verdict: NodeHealth) -> None:
    decision = look({**WELL, A: verdict})
    assert isinstance(decision, FailOver)
    assert str(A) in decision.reason


@pytest.mark.parametrize(
    "state", [NodeState.CUT_OFF, NodeState.DENIED, NodeState.LOADING, NodeState.UNWRITABLE]
)
def test_an_unwell_primary_is_an_alarm_only(state: NodeState) -> None:
    decision = look({**WELL, A: health(None, state)})
    assert isinstance(decision, Nothing)
    assert decision.alarm


@pytest.mark.parametrize("state", [NodeState.SUSPECT, NodeState.UNKNOWN])
def test_a_doubtful_primary_neither_alarms_nor_calms(state: NodeState) -> None:
    assert look({**WELL, A: health(None, state)}) == Nothing(is_unclear=True)


def test_reasons_not_to_fail_over_are_said() -> None:
    lost = {**WELL, A: DEAD}
    backoff = NO_FAILOVER_YET.after_failover(990.0)
    for decision, word in [
        (look({A: DEAD, B: DEAD, C: DEAD}), "no replica that was in sync with it answers"),
        (look(lost, shard=record(joined=(A,))), "no replica that was in sync with it answers"),
        (look(lost, barred=frozenset((B, C))), "no replica that was in sync with it answers"),
        (look(lost, is_paused=True), "paused"),
        (look(lost, of=setup(is_automatic=False)), "off"),
        (look(lost, backoff=backoff), "flapping"),
        (look({**lost, B: SENTINEL}), "Sentinel"),
    ]:
        assert isinstance(decision, Nothing), decision
        assert word in (decision.alarm or "")
    waits = look(lost, backoff=backoff)
    assert isinstance(waits, Nothing)
    assert waits.until == 1020.0


@pytest.mark.parametrize("state", [ShardState.FENCING, ShardState.PROMOTING, ShardState.SWITCHING])
def test_what_was_begun_is_finished_whatever_the_backoff(state: ShardState) -> None:
    begun = record(None, state, last=A, target=B)
    decision = look(WELL, shard=begun, backoff=NO_FAILOVER_YET.after_failover(999.0), is_paused=True)
    assert isinstance(decision, FailOver)
    assert decision.is_resumed


RESTARTED = down(Cause.RESTARTED, primary(Y), run_id="r2")


def test_a_restarted_primary_is_replaced_where_replicas_have_the_data() -> None:
    lost = health(replica(is_up=False))
    assert isinstance(look({A: RESTARTED, B: lost, C: lost}), FailOver)
    assert isinstance(look({A: RESTARTED, B: lost, C: health(replica(lineage=Y))}), FailOver)


def test_a_restarted_primary_stays_where_nobody_has_more() -> None:
    in_sync = health(replica(lineage=Y))
    assert isinstance(look({A: RESTARTED, B: in_sync, C: in_sync}), Accept)
    alone = record(nodes=(A,), joined=(A,))
    assert isinstance(look({A: RESTARTED}, shard=alone, of=setup(A)), Accept)
    assert isinstance(look({A: RESTARTED, B: R, C: R}, of=setup(is_automatic=False)), Accept)
    assert isinstance(look({A: RESTARTED, B: SENTINEL, C: R}), Accept)  # it is not ours to decide


def test_a_restarted_primary_that_kept_its_data_stays() -> None:
    """Its place in the history of before is told by the name that it had."""
    kept = down(Cause.RESTARTED, primary(Lineage("new", X.replid, 501)), run_id="r2")
    stale = health(replica(offset=400, is_up=False))
    dead = down(Cause.DEAD, replica(offset=500, is_up=False))
    assert isinstance(look({A: kept, B: stale, C: dead}), Accept)
    assert isinstance(look({A: kept, B: stale, C: down(Cause.DEAD, replica(offset=501))}), FailOver)
    assert isinstance(look({A: kept, B: stale, C: DEAD}), FailOver)  # who knows what that has
    assert isinstance(look({A: kept, B: stale, C: DEAD}, barred=frozenset((C,))), Accept)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"is_paused": True}, "paused"),
        ({"backoff": NO_FAILOVER_YET.after_failover(990.0)}, "flapping"),
    ],
)
def test_what_replicas_have_is_kept_while_nobody_may_be_promoted(options: dict[str, Any], why: str) -> None:
    """I9 whatever the backoff: else they would take the primary's emptiness for data."""
    lost = health(replica(is_up=False))
    decision = look({A: RESTARTED, B: lost, C: lost}, **options)
    assert isinstance(decision, Hold)
    assert why in decision.reason
    held = record(None, ShardState.HELD, last=A)
    frozen_now = {B: health(frozen()), C: health(frozen())}
    assert isinstance(look(frozen_now, shard=held, **options), Hold)
    assert look(frozen_now, shard=held) == FailOver(f"primary {A} restarted without the shard's data")


def test_a_dead_replica_may_have_what_a_restarted_primary_lacks() -> None:
    assert isinstance(look({A: RESTARTED, B: DEAD, C: DEAD}), Hold)


def test_a_primary_changed_by_hand_is_adopted() -> None:
    follower = down(Cause.NOT_PRIMARY, replica(B, Lineage("new", X.replid, 501)))
    by_hand = health(primary(Lineage("new", X.replid, 501)))
    decision = look({A: follower, B: by_hand, C: health(replica(B, Lineage("new", X.replid, 501)))})
    assert isinstance(decision, Register)
    assert isinstance(decision.found, Adopt)
    assert decision.found.primary == B


def test_a_stranger_that_says_it_is_the_primary_is_not_adopted() -> None:
    decision = look({A: down(Cause.NOT_PRIMARY, frozen()), B: health(primary(Y)), C: health(frozen())})
    assert isinstance(decision, FailOver)


def test_a_history_that_gets_a_new_name_is_recorded_but_not_a_new_process() -> None:
    renamed = look({**WELL, A: health(primary(Y))})
    assert isinstance(renamed, Update)
    assert renamed.record.lineage == Y
    assert look({**WELL, A: health(primary(Y), run_id="r2")}) == Nothing()


@pytest.mark.parametrize(
    ("of", "nodes", "joined", "wait"),
    [
        (setup(A, B), (A, B), (A, B), 0),
        (setup(A, B, C, wait=1), (A, B, C), (A, B, C), 1),
        (setup(B, C), (B, C, A), (A, B, C), 0),  # the primary stays a member until it is none any more
    ],
)
def test_the_record_follows_the_config(
    of: ShardSetup, nodes: tuple[Address, ...], joined: tuple[Address, ...], wait: int
) -> None:
    decision = look(WELL, of=of)
    assert isinstance(decision, Update)
    assert (decision.record.nodes, decision.record.joined, decision.record.wait) == (nodes, joined, wait)
    assert decision.record.epoch == 1


def test_a_place_in_the_config_given_to_other_nodes_begins_anew() -> None:
    d = Address("10.9.9.9", 1)
    decision = look(WELL, of=setup(d))
    assert isinstance(decision, Update)
    assert (decision.record.state, decision.record.epoch, decision.record.nodes) == (ShardState.NEW, 2, (d,))
    assert decision.record.revision == record().revision


def test_a_new_shard_is_registered_and_a_conflict_looked_at_again() -> None:
    found = look(WELL, shard=record_new(setup()))
    assert isinstance(found, Register)
    assert isinstance(found.found, Adopt)
    both = {A: P, B: health(primary(Y)), C: DEAD}
    found = look(both, shard=record(None, ShardState.CONFLICT), of=setup(is_managed=False))
    assert isinstance(found, Register)
    assert isinstance(found.found, Conflict)


def test_beside_another_manager_we_adopt_but_make_nothing() -> None:
    new = record_new(setup())
    watched = {A: P, B: SENTINEL, C: R}
    assert isinstance(look(watched, shard=new), Register)
    assert isinstance(look({**watched, A: health(frozen())}, shard=new), Nothing)
    assert isinstance(look({**watched, C: health(frozen())}), Nothing)  # no healing


def actions(
    healths: dict[Address, NodeHealth], shard: ShardRecord | None = None, *, is_managed: bool = True
) -> list[Action]:
    decision = look(healths, shard=shard, of=setup(is_managed=is_managed))
    return list(decision.actions) if isinstance(decision, Heal) else []


STRAY = health(replica(C, Y, is_up=True))
HEALS = [
    ("a frozen member", {C: health(frozen())}, record(), True, [Follow(C, A, False, False)]),
    ("the old primary is back", {C: health(primary(X, 600))}, record(), True, [Follow(C, A, True, False)]),
    ("it is back with another history", {C: health(primary(Y))}, record(), True, [Follow(C, A, True, False)]),
    ("a member that follows somebody else", {C: STRAY}, record(), False, [Follow(C, A, False, False)]),
    ("a new node", {C: health(primary(Y))}, record(joined=(A, B)), True, [Follow(C, A, True, True)]),
    ("a new node that is not ours", {C: health(primary(Y))}, record(joined=(A, B)), False, []),
    ("a new node in sync", {C: R}, record(joined=(A, B)), True, [Joined(C, "r")]),
    ("a replica on its way", {C: health(replica(is_up=False))}, record(), True, []),
    ("a dead one", {C: DEAD}, record(), True, []),
]


@pytest.mark.parametrize(
    ("name", "change", "shard", "is_managed", "expected"), HEALS, ids=[heal[0] for heal in HEALS]
)
def test_healing(
    name: str, change: dict[Address, NodeHealth], shard: ShardRecord, is_managed: bool, expected: list[Action]
) -> None:
    assert actions({**WELL, **change}, shard, is_managed=is_managed) == expected


@pytest.mark.parametrize(
    "doubtful",
    [
        health(primary(), run_id="r2"),  # I9: it restarted, and may be empty
        health(replica(B)),
        health(primary(), NodeState.BUSY),
        health(None),
    ],
)
def test_nobody_is_told_to_follow_a_primary_in_doubt(doubtful: NodeHealth) -> None:
    assert actions({A: doubtful, B: health(frozen()), C: health(frozen())}) == []


def test_every_process_is_configured_once() -> None:
    restarted = {**WELL, B: health(replica(), run_id="r2")}
    assert actions(restarted) == [Configure(B, "r2"), Joined(B, "r2")]
    assert actions(restarted, record(joined=(A, C))) == [Joined(B, "r2")]


def test_roles_we_changed_are_written_where_engines_read_their_own() -> None:
    later = record(epoch=2)
    written = [Persist(node, "r", 2) for node in (A, B, C)]
    assert actions(WELL, later, is_managed=False) == written
    assert actions(WELL, later) == []  # managed nodes start as nobody's replica
    assert actions(WELL, record(), is_managed=False) == []  # we changed nothing
    assert actions({**WELL, B: health(frozen())}, later, is_managed=False) == [
        Persist(A, "r", 2),
        Follow(B, A, False, False),
        Persist(C, "r", 2),
    ]


@pytest.mark.parametrize(
    ("healths", "to", "found"),
    [
        (WELL, None, B),
        (WELL, C, C),
        ({**WELL, C: health(replica(offset=501))}, None, C),
        ({**WELL, B: health(replica(priority=0))}, None, C),
        (WELL, A, "is the primary already"),
        (WELL, Address("x", 1), "is not a node of this shard"),
        ({**WELL, C: health(frozen())}, C, "is not in sync"),
        ({A: P, B: DEAD, C: health(frozen())}, None, "no replica is in sync"),
        ({**WELL, A: SILENT}, None, "the primary is not up"),
        ({**WELL, A: health(primary(), run_id="r2")}, None, "restarted"),
    ],
)
def test_where_to_switch_over(
    healths: dict[Address, NodeHealth], to: Address | None, found: Address | str
) -> None:
    target = switchover_target(record(), healths, to)
    assert target == found if isinstance(found, Address) else found in str(target)
