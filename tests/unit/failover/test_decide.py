"""What a shard needs now: a table of situations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shardproxy.failover import quorum
from shardproxy.failover.adoption import Adopt, Conflict
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
from shardproxy.failover.memory import Memory
from shardproxy.failover.setup import ShardSetup, record_new
from shardproxy.model import Address
from shardproxy.model.health import Cause, NodeHealth, NodeState
from shardproxy.model.replication import Lineage, Server
from shardproxy.store.cas import record_replace
from shardproxy.store.record import Promise, ShardRecord, ShardState
from tests.unit.failover.make import A, B, C, X, Y, down, frozen, health, primary, record, replica, setup

P, R = health(primary()), health(replica())
BEHIND = Memory(apart_since={B: 900.0, C: 900.0}, unwell_since=990.0, of=(1, A))
EMPTY = health(primary(Y), run_id="e")
DEAD, SILENT = down(Cause.DEAD), down(Cause.SILENT)
WELL = {A: P, B: R, C: R}
CONFIGURED = frozenset(Configure(node, f"run of {node}") for node in (A, B, C))
SENTINEL = health(replica(), manager="Sentinel")


def run(node: Address) -> str:
    """The process of a node that was always there."""
    return f"run of {node}"


def look(
    healths: dict[Address, NodeHealth],
    *,
    shard: ShardRecord | None = None,
    of: ShardSetup | None = None,
    **options: object,
) -> Decision:
    """Decide; whoever is process "r" in the tables is the one it always was."""
    shard = shard or record()
    processes = tuple((node, run(node)) for node, run_id in shard.processes if run_id == "r")
    primary = shard.primary or shard.last
    if shard.run_id == "r" and primary is not None:
        shard = replace(shard, run_id=run(primary), processes=processes)
    seen = {
        node: replace(health, server=Server(run(node)))
        if health.server is not None and health.server.run_id == "r"
        else health
        for node, health in healths.items()
    }
    situation = Situation(of or setup(), shard, seen, 1000.0, done=CONFIGURED)
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


REACHED = f"2 of 3 proxies still reach {A}"


def test_silence_that_most_other_proxies_do_not_see_is_an_alarm_only() -> None:
    decision = look({**WELL, A: SILENT}, objection=REACHED)
    assert isinstance(decision, Nothing)
    assert decision.alarm == f"primary {A}: because; but {REACHED}"
    assert decision.until is not None  # who is dead says nothing any more
    cut_off = look({**WELL, A: health(None, NodeState.CUT_OFF)}, objection=REACHED)
    assert cut_off == Nothing(f"primary {A}: because; {REACHED}")


@pytest.mark.parametrize(
    "verdict",
    [DEAD, down(Cause.STUCK_LOADING), down(Cause.UNWRITABLE, primary()), down(Cause.NOT_PRIMARY, frozen())],
)
def test_what_a_node_says_itself_needs_nobodys_word(verdict: NodeHealth) -> None:
    assert isinstance(look({**WELL, A: verdict}, objection=REACHED), FailOver)


def test_what_was_begun_is_finished_whatever_others_reach() -> None:
    begun = record(None, ShardState.FENCING, last=A)
    assert isinstance(look({A: SILENT, B: R, C: R}, shard=begun, objection=REACHED), FailOver)


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
    apart = health(replica(is_up=False))
    lost = {A: DEAD, B: apart, C: apart}
    waits: dict[str, Any] = {"allowed_at": 1020.0, "too_soon": "it may be flapping"}
    for decision, word in [
        (look({A: DEAD, B: DEAD, C: DEAD}), "no replica that was in sync with it answers"),
        (look(lost, shard=record(joined=(A,))), "no replica that was in sync with it answers"),
        (look(lost, shard=record(voters=())), "no replica that was in sync with it answers"),
        (look(lost, is_paused=True), "paused"),
        (look(lost, of=setup(is_automatic=False)), "off"),
        (look(lost, **waits), "flapping"),
        (look({**lost, B: SENTINEL}), "Sentinel"),
    ]:
        assert isinstance(decision, Nothing), decision
        assert word in (decision.alarm or "")
    decision = look(lost, **waits)
    assert isinstance(decision, Nothing)
    assert decision.until == 1020.0


@pytest.mark.parametrize("state", [ShardState.FENCING, ShardState.PROMOTING, ShardState.SWITCHING])
def test_what_was_begun_is_finished_whatever_the_backoff(state: ShardState) -> None:
    begun = record(None, state, last=A, target=B)
    decision = look({B: R, C: R}, shard=begun, allowed_at=1020.0, too_soon="it may be flapping")
    assert isinstance(decision, FailOver)
    assert decision.is_resumed


@pytest.mark.parametrize("options", [{"is_paused": True}, {"of": setup(is_automatic=False)}])
def test_what_was_begun_is_not_finished_while_nothing_may_be_done(options: dict[str, Any]) -> None:
    begun = record(None, ShardState.PROMOTING, last=A, target=B)
    decision = look({B: health(frozen()), C: health(frozen())}, shard=begun, **options)
    assert isinstance(decision, Nothing)
    assert "unfinished" in (decision.alarm or "")


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


@pytest.mark.parametrize(
    ("options", "may_touch"),
    [({"is_paused": True}, True), ({"of": setup(is_automatic=False)}, False), ({"sentinel": True}, False)],
)
def test_an_empty_primary_is_served_in_no_mode(options: dict[str, Any], may_touch: bool) -> None:
    """A pause is no reason to lose data; where failover is off or somebody else's, proxies are fenced."""
    others = {B: SENTINEL if options.pop("sentinel", False) else R, C: R}
    decision = look({A: RESTARTED, **others}, **options)
    assert isinstance(decision, Hold)
    assert decision.may_touch is may_touch


def test_a_restarted_primary_that_kept_its_data_stays() -> None:
    """Its place in the history of before is told by the name that it had."""
    kept = down(Cause.RESTARTED, primary(Lineage("new", X.replid, 501)), run_id="r2")
    stale = health(replica(offset=400, is_up=False))
    dead = down(Cause.DEAD, replica(offset=500, is_up=False))
    assert isinstance(look({A: kept, B: stale, C: dead}), Accept)
    assert isinstance(look({A: kept, B: stale, C: down(Cause.DEAD, replica(offset=501))}), FailOver)
    assert isinstance(look({A: kept, B: stale, C: DEAD}), FailOver)  # who knows what that has
    behind = replace(BEHIND, apart_since={C: 900.0})
    voters = record(voters=(B,))
    assert isinstance(look({A: kept, B: stale, C: DEAD}, shard=voters, memory=behind), Accept)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"is_paused": True}, "paused"),
        ({"allowed_at": 1020.0, "too_soon": "it may be flapping"}, "flapping"),
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


def test_one_promoted_by_hand_long_before_the_primary_was_lost_is_not_adopted_by_who_may_decide() -> None:
    """Nobody has to follow it while the primary lives, and what that acknowledged since would be undone."""
    early = {A: DEAD, B: health(primary(Lineage("new", X.replid, 301))), C: health(replica(A, is_up=False))}
    shard = replace(record(), floor=400)
    assert not isinstance(look(early, shard=shard), Register)
    assert isinstance(look(early, shard=shard, of=setup(is_automatic=False)), Register)
    late = {**early, B: health(primary(Lineage("new", X.replid, 401)))}
    assert isinstance(look(late, shard=shard), Register)


def test_where_all_have_left_a_primary_that_cannot_be_reached_the_one_they_follow_is_adopted() -> None:
    """Who follows another primary is no witness, so that nobody can tell whether the last one lives."""
    new = Lineage("new", X.replid, 501)
    moved = {
        A: replace(DEAD, verdict=replace(DEAD.verdict, state=NodeState.CUT_OFF, cause=None)),
        B: health(primary(new)),
        C: health(replica(B, new)),
    }
    for of in (setup(), setup(is_automatic=False)):
        decision = look(moved, of=of)
        assert isinstance(decision, Register)
        assert isinstance(decision.found, Adopt)
        assert decision.found.primary == B
    assert isinstance(look({**moved, C: health(replica(A))}), Nothing)  # that one hears it


def test_a_lone_primary_that_was_told_to_follow_another_is_not_promoted_against_that() -> None:
    alone = record(nodes=(A,), joined=(A,))
    told = down(Cause.NOT_PRIMARY, replica(Address("10.7.7.7", 1)))
    assert not isinstance(look({A: told}, shard=alone, of=setup(A)), FailOver)


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
    stays = look(WELL, of=setup(d))
    assert isinstance(stays, Update)
    assert stays.record.nodes == (A, B, C, d)  # until it is known who it is
    stays = look({**WELL, d: health(frozen(Y, 1), run_id="d")}, of=setup(d), shard=stays.record)
    assert isinstance(stays, Update)
    assert stays.record.nodes == (d, A)  # as long as it serves
    heard = {A: DEAD, d: health(frozen(Y, 1), run_id="d")}
    decision = look(heard, of=setup(d), shard=record(nodes=(d, A), joined=(A,)))
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
    ("a frozen member", {C: health(frozen())}, record(), True, [Follow(C, A, False)]),
    ("the old primary is back", {C: health(primary(X, 600))}, record(), True, [Follow(C, A, True)]),
    ("it is back with another history", {C: health(primary(Y))}, record(), True, [Follow(C, A, True)]),
    ("a member that follows somebody else", {C: STRAY}, record(), False, [Follow(C, A, False)]),
    ("a new node", {C: health(primary(Y))}, record(joined=(A, B)), True, [Follow(C, A, True)]),
    ("a new node that is not ours", {C: health(primary(Y))}, record(joined=(A, B)), False, []),
    ("a new node in sync", {C: R}, record(joined=(A, B)), True, [Joined(C, run(C))]),
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
    assert actions(restarted) == [Configure(B, "r2")]
    assert actions(restarted, record(joined=(A, C))) == [Joined(B, "r2")]


@pytest.mark.parametrize(
    ("synced_at", "since", "expected"),
    [(None, 990.0, []), (989.0, 990.0, []), (991.0, 990.0, [Joined(B, "r2")])],
)
@pytest.mark.parametrize("shard", [record(), record(voters=(C,), pending=(Promise(frozenset({B, C}), 1),))])
def test_a_process_that_follows_another_vouches_once_it_has_what_that_confirmed(
    shard: ShardRecord, synced_at: float | None, since: float, expected: list[Action]
) -> None:
    healths = {**WELL, B: health(replica(), run_id="r2", synced_at=synced_at, is_current=False)}
    done = CONFIGURED | {Configure(B, "r2")}
    decision = look(healths, shard=shard, memory=Memory(processes={B: ("r2", since)}), done=done)
    assert (list(decision.actions) if isinstance(decision, Heal) else []) == expected
    if not expected:
        assert isinstance(decision, Nothing)
        assert decision.until == 1001.0  # that it has caught up is no news


def test_roles_we_changed_are_written_where_engines_read_their_own() -> None:
    later = record(epoch=2)
    written = [Persist(node, run(node), 2) for node in (A, B, C)]
    assert actions(WELL, later, is_managed=False) == written
    assert actions(WELL, later) == []  # managed nodes start as nobody's replica
    assert actions(WELL, record(), is_managed=False) == []  # we changed nothing
    assert actions({**WELL, B: health(frozen())}, later, is_managed=False) == [
        Persist(A, run(A), 2),
        Follow(B, A, False),
        Persist(C, run(C), 2),
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
        ({A: P, B: DEAD, C: health(frozen())}, None, "no configured replica is in sync"),
        ({**WELL, A: SILENT}, None, "the primary is not up"),
        ({**WELL, A: health(primary(), run_id="r2")}, None, "restarted"),
    ],
)
def test_where_to_switch_over(
    healths: dict[Address, NodeHealth], to: Address | None, found: Address | str
) -> None:
    target = switchover_target(setup(), record(), healths, to)
    assert target == found if isinstance(found, Address) else found in str(target)


def test_nothing_is_handed_over_to_a_member_that_the_config_has_no_more() -> None:
    """It stays for as long as it may alone have a write, and may look best."""
    leaving = record(voters=(B,), pending=(Promise(names(B, C), 1),))
    healths = {**WELL, C: health(replica(offset=501, priority=1))}
    of = setup(A, B)
    assert switchover_target(of, leaving, healths, None) == B
    assert switchover_target(of, leaving, healths, C) == f"{C} is not in the config any more"
    only_leaving = {**healths, B: health(replica(priority=0))}
    assert "no configured replica" in str(switchover_target(of, leaving, only_leaving, None))


def names(*nodes: Address) -> frozenset[Address]:
    return frozenset(nodes)


FIT, UNFIT = R, health(replica(priority=0))
FULL_DISK = health(replica(), NodeState.UNWRITABLE)
LAGGING = health(replica(), is_current=False)


VOTES = [
    (
        "wait raised",
        setup(wait=2),
        {C: LAGGING},
        record(wait=1),
        Promise(names(B, C), 2),
        [Promise(names(B, C), 1)],
    ),
    ("wait lowered", setup(), {}, record(wait=1), Promise(names(B, C)), [Promise(names(B, C), 1)]),
    (
        "a node removed",
        setup(A, B, wait=1),
        {},
        record(wait=1),
        Promise(names(B), 1),
        [Promise(names(B, C), 1)],
    ),
    (
        "priority 0",
        setup(wait=1),
        {C: UNFIT},
        record(wait=1),
        Promise(names(B), 1),
        [Promise(names(B, C), 1)],
    ),
    (
        "a full disk",
        setup(wait=1),
        {C: FULL_DISK},
        record(wait=1),
        Promise(names(B), 1),
        [Promise(names(B, C), 1)],
    ),
    ("without wait", setup(), {C: UNFIT}, record(), Promise(names(B)), []),
    (
        "one joins",
        setup(wait=1),
        {},
        record(wait=1, voters=(B,)),
        Promise(names(B, C), 1),
        [Promise(names(B), 1)],
    ),
]


@pytest.mark.parametrize(
    ("name", "of", "change", "shard", "promise", "older"), VOTES, ids=[v[0] for v in VOTES]
)
def test_what_an_acknowledgement_means_changes_with_the_config_and_the_nodes(
    name: str,
    of: ShardSetup,
    change: dict[Address, NodeHealth],
    shard: ShardRecord,
    promise: Promise,
    older: list[Promise],
) -> None:
    decision = look({**WELL, **change}, of=of, shard=shard)
    assert isinstance(decision, Update)
    assert (decision.record.promise, list(decision.record.pending)) == (promise, older)
    again = look({**WELL, **change}, of=of, shard=decision.record)
    assert not isinstance(again, Update), "it is changed once"


def test_a_removed_node_that_may_alone_have_a_write_stays_a_member_until_others_have_it() -> None:
    of = setup(A, B, wait=1)
    removed = look(WELL, of=of, shard=record(wait=1))
    assert isinstance(removed, Update)
    assert (removed.record.nodes, removed.record.joined) == ((A, B, C), (A, B, C))
    behind = {**WELL, B: health(replica(), synced_at=999.0)}
    assert not isinstance(look(behind, of=of, shard=removed.record, served_since=999.5), Update)
    caught_up = {**WELL, B: health(replica(), synced_at=999.6)}
    assert not isinstance(look(caught_up, of=of, shard=removed.record), Update)  # a proxy may promise the old
    finished = look(caught_up, of=of, shard=removed.record, served_since=999.5)
    assert isinstance(finished, Update)
    assert finished.record.pending == ()
    gone = look(caught_up, of=of, shard=finished.record)
    assert isinstance(gone, Update)
    assert (gone.record.nodes, gone.record.joined) == ((A, B), (A, B))


def test_a_shard_that_is_left_one_node_asks_nobody_else_once_all_proxies_know() -> None:
    """Else the node that was removed would be missed for ever when the one that is left restarts."""
    pair = {"nodes": (A, B), "joined": (A, B)}
    removed = look({A: P, B: R}, of=setup(A), shard=record(wait=1, **pair))  # type: ignore[arg-type]
    assert isinstance(removed, Update)
    assert removed.record.nodes == (A, B)
    assert not isinstance(look({A: P, B: DEAD}, of=setup(A), shard=removed.record), Update)
    alone = look({A: P, B: DEAD}, of=setup(A), shard=removed.record, served_since=999.0)
    assert isinstance(alone, Update)
    assert alone.record.pending == ()
    gone = look({A: P, B: DEAD}, of=setup(A), shard=alone.record, served_since=999.0)
    assert isinstance(gone, Update)
    assert gone.record.nodes == (A,)


def test_more_changes_of_who_vouches_wait_and_nothing_else_does() -> None:
    many = tuple(Promise(names(B, C), 10 + number) for number in range(quorum.MAX_PENDING))
    shard = record(wait=1, pending=many)
    assert not isinstance(look(WELL, shard=shard, of=setup(wait=2)), Update)
    assert isinstance(look({**WELL, A: DEAD}, shard=shard, of=setup(wait=2)), FailOver)
    without = look({A: DEAD, B: R}, shard=shard, of=setup(A, B, wait=2))
    assert not isinstance(without, Update)  # C vouches, so it stays


OWN = Lineage("new", X.replid, 501)  # B's history, after somebody promoted it at 500
MOVED = health(replica(B, OWN))
OFF = setup(is_automatic=False, is_managed=False)


@pytest.mark.parametrize("options", [{"of": OFF}, {"is_paused": True}, {}])
@pytest.mark.parametrize("lost", [DEAD, SILENT, down(Cause.NOT_PRIMARY, replica(B, OWN)), RESTARTED])
def test_an_operator_s_promotion_is_followed_in_every_mode_whatever_became_of_the_primary(
    options: dict[str, Any], lost: NodeHealth
) -> None:
    by_hand = {B: health(primary(OWN)), C: MOVED}
    if lost is not RESTARTED:  # which is a primary too: nobody knows whom it means
        decision = look({A: lost, **by_hand}, **options)
        assert isinstance(decision, Register)
        assert isinstance(decision.found, Adopt)
        assert decision.found.primary == B


@pytest.mark.parametrize("of", [OFF, setup()])
def test_a_node_that_came_back_as_a_primary_was_not_promoted(of: ShardSetup) -> None:
    """It is another process, with what its disk kept; others have more."""
    restarted = health(primary(Lineage("z", X.replid, 301)), run_id="r2")
    decision = look({A: DEAD, B: restarted, C: R}, of=of)
    assert not isinstance(decision, Register)
    everybody = {A: down(Cause.DEAD, replica(offset=200)), C: health(replica(offset=300, is_up=False))}
    assert isinstance(look({B: restarted, **everybody}, of=of), Register)  # nobody has more


def test_what_is_held_is_not_served_again_with_older_data() -> None:
    held = record(None, ShardState.HELD, last=A)
    older = health(primary(Lineage("z", X.replid, 301)), run_id="r2")
    assert isinstance(look({A: older, B: DEAD, C: DEAD}, shard=held, of=OFF), Hold)
    gave_up = health(replica(A, Lineage("z", X.replid, 301)))
    assert isinstance(look({A: older, B: gave_up, C: gave_up}, shard=held, of=OFF), Register)


@pytest.mark.parametrize(
    "options", [{"of": setup(is_automatic=False)}, {"is_paused": True}, {"sentinel": True}]
)
def test_who_may_not_act_heals_nobody_but_notes_who_is_in_sync(options: dict[str, Any]) -> None:
    sentinel = options.pop("sentinel", False)
    healths = {**WELL, B: health(frozen(), manager="Sentinel" if sentinel else None)}
    shard = record(joined=(A, B))
    decision = look(healths, shard=shard, done=frozenset(), **options)
    assert decision == Heal((Joined(C, run(C)),))


def test_a_frozen_lone_primary_that_restarted_is_promoted_again() -> None:
    alone = record(nodes=(A,), joined=(A,))
    back = health(frozen(Y, 1), NodeState.DOWN, Cause.RESTARTED, run_id="r2")
    decision = look({A: back}, shard=alone, of=setup(A))
    assert isinstance(decision, FailOver)
    assert decision.to == A
    assert isinstance(look({A: back}, shard=alone, of=setup(A, is_automatic=False)), Hold)


HOST = Address("db-1", 7001)


def test_a_renamed_node_is_renamed_on_record_also_when_its_epoch_promoted_it() -> None:
    shard = replace(record(B, target=B), run_id="b", processes=((C, "c"),))
    healths = {B: health(primary(), run_id="b"), HOST: health(primary(), run_id="b"), A: R, C: R}
    decision = look(healths, shard=shard, of=setup(A, HOST, C))
    assert isinstance(decision, Update)
    assert (decision.record.primary, decision.record.nodes) == (HOST, (A, HOST, C))
    assert record_replace(shard, decision.record, 2).target == HOST
    healths = {node: replace(h, epoch=2) for node, h in healths.items()}
    assert not isinstance(look(healths, shard=decision.record, of=setup(A, HOST, C)), Update)


@pytest.mark.parametrize("shard", [record(), record_new(setup())])
def test_a_process_that_is_configured_twice_is_an_alarm(shard: ShardRecord) -> None:
    of = setup(A, B, C, HOST)
    twice = health(primary(), run_id=run(A)) if shard.primary else health(frozen(), run_id=run(A))
    decision = look({**WELL, HOST: twice}, shard=replace(shard, nodes=of.addresses), of=of)
    assert isinstance(decision, Nothing)
    assert "one and the same process" in (decision.alarm or "")


def test_nodes_that_have_not_said_who_they_are_may_be_the_shard_s_own() -> None:
    d = Address("10.9.9.9", 1)
    silent = look({**WELL, A: DEAD}, of=setup(d))
    assert not (isinstance(silent, Update) and silent.record.state is ShardState.NEW)
    held = record(None, ShardState.HELD, last=A)
    assert not isinstance(look({B: R, C: R}, shard=held, of=setup(d)), Update)
    assert isinstance(look({B: R, C: R, d: health(primary(Y), run_id="d")}, shard=held, of=setup(d)), Update)


def test_a_conflict_among_nodes_of_its_own_is_no_other_shard() -> None:
    conflict = record(None, ShardState.CONFLICT, joined=(), lineage=None)
    assert isinstance(look({A: P, B: EMPTY, C: DEAD}, shard=conflict, of=setup(is_managed=False)), Register)


def test_who_decides_nothing_follows_where_all_others_went_however_often_they_moved_meanwhile() -> None:
    """Two failovers of somebody else's later the history has none of the names it is known by."""
    later = Lineage("newer", "new", 900)
    moved = health(replica(C, later))
    gone = {A: down(Cause.NOT_PRIMARY, replica(C, later)), B: moved, C: health(primary(later))}
    decision = look(gone, of=OFF)
    assert isinstance(decision, Register)
    assert decision.must_have_data
    assert not isinstance(look(gone), Register)  # who decides replaces it
    assert not isinstance(look({**gone, B: R}, of=OFF), Register)


def test_it_is_looked_again_when_one_that_vouches_has_been_behind_for_too_long() -> None:
    behind = replace(BEHIND, apart_since={B: 995.0, C: 990.5})
    decision = look({**WELL, B: health(replica(), is_current=False)}, memory=behind)
    assert isinstance(decision, Nothing)
    assert decision.until == pytest.approx(1000.5, abs=0.01)


def test_a_former_primary_that_follows_again_has_nothing_more_to_give_up() -> None:
    before = replace(record(), replaced=((B, run(B)),))
    healths = {**WELL, B: health(replica(), run_id=run(B), synced_at=991.0)}
    decision = look(healths, shard=before, memory=Memory(processes={B: (run(B), 990.0)}), done=CONFIGURED)
    assert decision == Heal((Joined(B, run(B)),))
    assert before.with_process(B, run(B)).replaced == ()
