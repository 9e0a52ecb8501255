"""Who may be promoted, who is best, and when there are too few to tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.failover.election import (
    Candidate,
    best_of_restarted,
    choose,
    why_not_electable,
    why_not_trusted,
    why_too_few,
)
from shardproxy.model import Address
from shardproxy.model.replication import Lineage, Replication
from shardproxy.store.record import Promise, ShardRecord, ShardState
from tests.unit.failover.make import A, B, C, X, Y, frozen, primary, record, replica

LOST = record(None, last=A)
UNKNOWN = record(None, last=None, lineage=None)


def candidate(
    address: Address = B,
    replication: Replication | None = None,
    *,
    run_id: str = "r",
    zone: str | None = None,
    can_write: bool = True,
    is_loading: bool = False,
    keys: int = 0,
) -> Candidate:
    return Candidate(
        address, replication or frozen(), run_id, zone, can_write=can_write, is_loading=is_loading, keys=keys
    )


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (candidate(), None),
        (candidate(replication=replica()), "not frozen"),
        (candidate(replication=primary()), "not frozen"),
        (candidate(is_loading=True), "loading"),
        (candidate(replication=frozen(is_syncing=True)), "syncing"),
        (candidate(can_write=False), "cannot save"),
        (candidate(replication=frozen(priority=0)), "priority is 0"),
        (candidate(replication=frozen(Y)), "another history"),
        (candidate(replication=frozen(X, 1)), "never been in sync"),
        (candidate(replication=frozen(Lineage("new", X.replid, 400), 900)), None),  # it branched off X
        (candidate(replication=frozen(Lineage("new", Y.replid, 400), 900)), "another history"),
    ],
)
def test_reasons_not_to_promote(found: Candidate, why: str | None) -> None:
    reason = why_not_electable(found, LOST)
    assert reason is None if why is None else why in (reason or "")


def test_a_shard_that_never_had_a_write_can_fail_over() -> None:
    assert why_not_electable(candidate(replication=frozen(X, 0)), LOST) is None


BRANCHED = Lineage("new", X.replid, 300)

ORDERS = [
    ("offset", [candidate(B, frozen(X, 500)), candidate(C, frozen(X, 501))], C),
    ("priority", [candidate(B, frozen(X, 500)), candidate(C, frozen(X, 500, priority=10))], C),
    ("offset before priority", [candidate(B, frozen(X, 501)), candidate(C, frozen(X, 500, priority=1))], B),
    ("zone", [candidate(B, zone="a"), candidate(C, zone="b")], C),
    ("run_id", [candidate(B, run_id="2"), candidate(C, run_id="1")], C),
    ("another history is no data", [candidate(B, frozen(X, 10)), candidate(C, frozen(Y, 9999))], B),
    (
        "a branch counts up to where it branched off",
        [candidate(B, frozen(X, 310)), candidate(C, frozen(BRANCHED, 999))],
        B,
    ),
]


@pytest.mark.parametrize(("name", "candidates", "best"), ORDERS, ids=[order[0] for order in ORDERS])
def test_order_of_preference(name: str, candidates: list[Candidate], best: Address) -> None:
    for order in (candidates, candidates[::-1]):
        found = choose(order, LOST, "b")
        assert found.best is not None
        assert (found.best.address, found.source) == (best, None)


def test_before_a_branch_it_is_one_history_whatever_its_name() -> None:
    """A partial sync takes the new name at once, and the data after that: the offset tells, not the name."""
    lineage = Lineage("now", X.replid, 900)
    candidates = [candidate(B, frozen(X, 800)), candidate(C, frozen(lineage, 700))]
    choice = choose(candidates, replace(LOST, lineage=lineage))
    assert choice.best is not None
    assert choice.best.address == B


def test_nobody_is_chosen_and_each_has_its_reason() -> None:
    choice = choose([candidate(B, frozen(Y)), candidate(C, can_write=False, replication=frozen(Y))], LOST)
    assert choice.best is None
    assert "another history" in str(choice)
    assert str(choose([], LOST)) == "no node answers"


def test_where_the_last_primary_is_unknown_histories_must_agree() -> None:
    assert choose([candidate(B), candidate(C, frozen(X, 600))], UNKNOWN).best is not None
    assert "histories differ" in str(choose([candidate(B), candidate(C, frozen(Y))], UNKNOWN))


@pytest.mark.parametrize(
    ("wait", "candidates", "is_enough"),
    [
        (0, [], False),
        (0, [candidate(B)], True),
        (0, [candidate(B, frozen(Y))], False),
        (1, [candidate(B)], False),
        (1, [candidate(B), candidate(C)], True),
        (1, [candidate(B), candidate(C, frozen(Y))], False),  # it lost its data
        (1, [candidate(B), candidate(C, frozen(X, 1))], False),  # half a sync
        (1, [candidate(B), candidate(C, frozen(X, 3))], True),  # its word counts although it is behind
        (1, [candidate(B), candidate(C, can_write=False)], True),
        (2, [candidate(B)], True),
        (1, [candidate(A, run_id="r")], True),  # the last primary itself has all
        (1, [candidate(A, run_id="other")], False),  # it restarted
        (1, [candidate(A, run_id="other"), candidate(B)], False),  # it has what its disk kept
        (1, [candidate(C, run_id="other"), candidate(B)], False),
        (0, [candidate(C, run_id="other")], True),
        (1, [candidate(A, frozen(Y), run_id="r")], False),
    ],
)
def test_how_many_must_be_frozen(wait: int, candidates: list[Candidate], is_enough: bool) -> None:
    why = why_too_few(record(None, last=A, wait=wait), candidates)
    assert (why is None) is is_enough, why


BC = frozenset({B, C})


@pytest.mark.parametrize(
    ("shard", "candidates", "is_enough"),
    [
        # wait was raised by a reload, and what was acknowledged before counts; or it was lowered
        (record(None, last=A, wait=2, pending=(Promise(BC, 1),)), [candidate(B)], False),
        (record(None, last=A, wait=0, pending=(Promise(BC, 1),)), [candidate(B)], False),
        (record(None, last=A, wait=1, pending=(Promise(BC, 2),)), [candidate(B), candidate(C)], True),
        # C was removed from the config, or is not fit to be promoted, and may alone have a write
        (record(None, last=A, wait=1, voters=(B,), pending=(Promise(BC, 1),)), [candidate(B)], False),
        (
            record(None, last=A, wait=1, voters=(B,), pending=(Promise(BC, 1),)),
            [candidate(B), candidate(C, frozen(priority=0))],
            True,
        ),
        # a replica that does not vouch, as one with priority 0 or one of somebody else's, is no substitute
        (record(None, last=A, wait=1, voters=(B,)), [candidate(C)], False),
        (record(None, last=A, wait=1, voters=(B,)), [candidate(B)], True),
        (record(None, last=A, wait=1), [candidate(B), candidate(Address("stranger", 1))], False),
    ],
)
def test_who_vouches_is_on_record(shard: ShardRecord, candidates: list[Candidate], is_enough: bool) -> None:
    why = why_too_few(shard, candidates)
    assert (why is None) is is_enough, why


@pytest.mark.parametrize(
    ("shard", "found", "why"),
    [
        (record(None, last=A, voters=(C,)), candidate(), "lost sync"),  # it had stopped to vouch
        (
            record(None, last=A, floor=501),
            candidate(),
            "lost sync",
        ),  # the primary had passed that long before
        (record(None, last=A, floor=500), candidate(), None),
        (record(None, last=A, floor=501, wait=1), candidate(), None),  # the quorum sees to it
        (record(None, last=A, floor=600), candidate(A), None),  # the last primary itself
        (record(None, last=A, floor=400), candidate(A, run_id="r2"), None),  # what its disk kept
        (record(None, last=A, floor=600), candidate(A, run_id="r2"), "lost sync"),
    ],
)
def test_a_replica_left_behind_is_not_promoted(shard: ShardRecord, found: Candidate, why: str | None) -> None:
    reason = why_not_electable(found, shard)
    assert reason is None if why is None else why in (reason or "")


FURTHER = frozen(X, 600)
UNFIT = frozen(X, 600, priority=0)
RELAYS = [
    ("one with priority 0 has more", [candidate(B), candidate(C, UNFIT)], record(None, last=A, wait=1), C),
    ("one whose disk is full has more", [candidate(B), candidate(C, FURTHER, can_write=False)], LOST, C),
    ("it has as much", [candidate(B), candidate(C, frozen(priority=0))], LOST, None),
    ("it has more of another history", [candidate(B), candidate(C, frozen(Y, 600, priority=0))], LOST, None),
    (
        "the last primary cannot save",
        [candidate(B), candidate(A, FURTHER, can_write=False)],
        LOST,
        A,
    ),
    (
        "who is fit was left behind",
        [candidate(B), candidate(A, FURTHER, can_write=False)],
        record(None, last=A, voters=()),
        A,
    ),
    (
        "who is fit has another history",
        [candidate(B, frozen(Y, 900)), candidate(C, UNFIT)],
        record(None, last=A, wait=1),
        C,
    ),
]


@pytest.mark.parametrize(("name", "candidates", "shard", "source"), RELAYS, ids=[r[0] for r in RELAYS])
def test_who_is_promoted_first_gets_what_another_one_has(
    name: str, candidates: list[Candidate], shard: ShardRecord, source: Address | None
) -> None:
    for order in (candidates, candidates[::-1]):
        choice = choose(order, shard)
        assert choice.best is not None
        assert choice.best.address == B
        assert (choice.source.address if choice.source is not None else None) == source


def test_data_that_may_be_old_is_not_spread() -> None:
    """The only sound node lost sync long ago, and the other one has nothing: an operator has to say."""
    shard = record(None, last=A, voters=())
    assert choose([candidate(B), candidate(C, frozen(Y))], shard).best is None


NEW = frozen(Y, 0)
ALL_NEW = [candidate(node, NEW, run_id="other", keys=keys) for node, keys in ((A, 3), (B, 9), (C, 0))]


@pytest.mark.parametrize(
    ("candidates", "best"),
    [
        (ALL_NEW, A),  # whose disk is the newest
        ([candidate(A, NEW, run_id="other"), *ALL_NEW[1:]], B),  # empty, so it has no disk
        (ALL_NEW[:2], None),  # one is not back yet
        ([candidate(Address("new", 1), NEW, run_id="other"), *ALL_NEW], None),  # nobody knows whether it did
        ([candidate(B, frozen(X)), *ALL_NEW[::2]], None),  # one was running all the time
        ([candidate(B, NEW, run_id="other", is_loading=True), *ALL_NEW[::2]], None),
    ],
)
def test_when_all_restarted_disks_decide(candidates: list[Candidate], best: Address | None) -> None:
    assert best_of_restarted(record(None, last=A), candidates) == best
    assert best_of_restarted(record(None, last=A, wait=1), candidates) is None


def test_of_equal_disks_that_of_a_node_that_the_config_has_no_more_is_not_taken() -> None:
    empty, gone, kept = (candidate(node, NEW, run_id="other", keys=9 * (node != A)) for node in (A, B, C))
    assert best_of_restarted(record(None, last=A), [empty, replace(gone, is_configured=False), kept]) == C


@given(
    wait=st.integers(1, 3),
    data=st.data(),
)
def test_an_acknowledged_write_is_on_one_of_enough(wait: int, data: st.DataObject) -> None:
    """I4 by counting: whichever w replicas acknowledged, whichever nodes answer, one of them has it."""
    addresses = [Address("n", port) for port in range(1, data.draw(st.integers(wait + 1, 6)) + 1)]
    holders = {addresses[0], *data.draw(st.permutations(addresses[1:]))[:wait]}
    answering = data.draw(st.lists(st.sampled_from(addresses[1:]), unique=True))
    shard = record(None, last=addresses[0], wait=wait, nodes=tuple(addresses), joined=tuple(addresses))
    candidates = [candidate(address, frozen(X, 500 if address in holders else 400)) for address in answering]
    if why_too_few(shard, candidates) is None:
        best = choose(candidates, shard).best
        assert best is not None
        assert best.address in holders


def test_a_node_that_the_config_has_no_more_gives_what_it_has_and_is_promoted_only_where_nobody_else_is() -> (
    None
):
    gone = replace(candidate(C, frozen(X, 600)), is_configured=False)
    shard = record(None, ShardState.FENCING, last=A)
    choice = choose([candidate(B, frozen(X, 500)), gone], shard)
    assert (choice.best, choice.source) == (candidate(B, frozen(X, 500)), gone)
    assert choose([gone], shard).best == gone


def test_one_that_lost_everything_is_trusted_only_where_nobody_else_holds_anything() -> None:
    empty, full = Candidate(A, frozen(Y), keys=0), Candidate(B, frozen(X, 400), keys=9)
    assert why_not_trusted(A, [empty, full], must_have_data=False) is None
    assert "holds 9 keys" in (why_not_trusted(A, [empty, full], must_have_data=True) or "")
    assert why_not_trusted(A, [empty, replace(full, keys=0)], must_have_data=True) is None
    assert why_not_trusted(A, [replace(empty, keys=1), full], must_have_data=True) is None
    assert "does not answer" in (why_not_trusted(A, [full], must_have_data=False) or "")
