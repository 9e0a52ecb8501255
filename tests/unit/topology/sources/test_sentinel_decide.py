"""What Sentinels and nodes say, and what is made of it: tables, and what holds whatever they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.model import Address
from shardproxy.model.replication import Lineage, Replication, Role
from shardproxy.topology.sources.nodes import Seen
from shardproxy.topology.sources.sentinel.answers import Answer, ReplicaSaid
from shardproxy.topology.sources.sentinel.decide import (
    Park,
    Serve,
    Served,
    Stay,
    View,
    Waits,
    decide,
    listed_by_most,
    majority,
    nodes_to_ask,
)

A, B, C = (Address("10.0.0.1", port) for port in (1, 2, 3))
NODES = (A, B, C)
LINEAGE = Lineage("a" * 40)


def primary(run_id: str = "") -> Seen:
    return Seen(run_id or "new", Replication(Role.PRIMARY, LINEAGE, 100))


def following(node: Address, run_id: str = "r", priority: int = 100) -> Seen:
    return Seen(
        run_id,
        Replication(Role.REPLICA, LINEAGE, 100, follows=node, is_link_up=True, priority=priority),
    )


def says(node: Address, epoch: int = 1, *, down: tuple[Address, ...] = (), failing: bool = False) -> Answer:
    """A Sentinel that names the node, and lists all others as its replicas."""
    replicas = tuple(ReplicaSaid(other, other in down) for other in NODES if other != node)
    return Answer(node, epoch, replicas, failing)


SERVED = Served(A, 1, "a", (B, C), LINEAGE, processes={B: "b", C: "c"})
WELL = {A: primary("a"), B: following(A, "b"), C: following(A, "c")}


def view(*answers: Answer, served: Served | None = SERVED, nodes: Mapping[Address, Seen] = WELL) -> View:
    return View(3, answers, served, nodes)


def test_the_first_primary_is_the_one_most_name_and_that_says_so() -> None:
    found = decide(view(says(A), says(A), says(B), served=None))
    assert isinstance(found, Serve)
    assert (found.primary, found.epoch, found.run_id) == (A, 1, "a")
    assert found.replicas == (B, C)
    assert found.voters == {B, C}


@pytest.mark.parametrize(
    ("answers", "nodes"),
    [
        pytest.param((), WELL, id="none answers"),
        pytest.param((says(A),), WELL, id="one of three"),
        pytest.param((says(A), says(B), says(C)), WELL, id="each names another"),
        pytest.param((says(A), says(A)), {}, id="it does not answer itself"),
        pytest.param((says(B), says(B)), WELL, id="it says it is a replica"),
    ],
)
def test_nobody_is_served_before_that(answers: tuple[Answer, ...], nodes: dict[Address, Seen]) -> None:
    assert isinstance(decide(view(*answers, served=None, nodes=nodes)), Stay)


PROMOTED = {A: primary("a"), B: primary("b"), C: following(A, "c")}


def test_a_primary_moves_by_the_word_of_most_and_its_own() -> None:
    found = decide(view(says(B, 2), says(B, 2), says(A, 1), nodes=PROMOTED))
    assert isinstance(found, Serve)
    assert (found.primary, found.epoch, found.run_id) == (B, 2, "b")
    assert found.replicas == (C,), "the last primary is none before it follows; the others will"


@pytest.mark.parametrize(
    ("answers", "nodes"),
    [
        pytest.param((says(B, 2), says(A), says(A)), WELL, id="one lies"),
        pytest.param((says(B, 2),), WELL, id="one is no majority"),
        pytest.param((says(B, 2), says(B, 2)), WELL, id="it says it is a replica"),
        pytest.param((says(B, 0), says(B, 0), says(B, 0)), PROMOTED, id="by an older failover"),
        pytest.param((says(B, 9), says(B, 0), says(B, 0)), PROMOTED, id="one exaggerates"),
        pytest.param((), WELL, id="nobody answers"),
    ],
)
def test_else_it_stays(answers: tuple[Answer, ...], nodes: dict[Address, Seen]) -> None:
    assert not isinstance(found := decide(view(*answers, nodes=nodes)), Serve) or found.primary == A


def test_a_primary_that_is_down_gets_nothing_until_most_name_another() -> None:
    down = replace(view(says(A), says(A), says(A), nodes={B: WELL[B]}), why_down="is silent")
    assert isinstance(decide(down), Park)
    parked = replace(down, served=replace(SERVED, is_parked=True), why_down=None)
    assert decide(parked) == Stay(None)
    assert nodes_to_ask(parked) == {A, B, C}, "who was promoted may be found before the Sentinels agree"
    moved = replace(parked, answers=(says(B, 2), says(B, 2)), nodes={B: primary("b")})
    assert isinstance(found := decide(moved), Serve)
    assert found.primary == B


def test_without_most_of_them_for_a_while_care_is_due() -> None:
    few = view(says(A))
    assert isinstance(soon := decide(few), Stay)
    assert not soon.is_careful
    assert isinstance(later := decide(replace(few, is_alone=True)), Stay)
    assert later.is_careful
    assert isinstance(decide(replace(few, is_alone=True, why_down="is silent")), Park)
    again = decide(replace(view(says(A), says(A)), served=replace(SERVED, is_careful=True)))
    assert isinstance(again, Serve)


def test_a_primary_that_answers_again_is_served_again() -> None:
    found = decide(view(says(A), says(A), served=replace(SERVED, is_parked=True)))
    assert isinstance(found, Serve)
    assert found.primary == A


def test_a_primary_that_a_sentinel_is_about_to_replace_gets_nothing_for_a_while() -> None:
    replaced = view(says(A), says(A, failing=True))
    assert decide(replaced) == Park("a Sentinel is replacing 10.0.0.1:1", Waits.CLAIM)
    impatient = replace(replaced, heeds=frozenset({Waits.RIVAL}))
    assert isinstance(decide(impatient), Serve), "one Sentinel cannot hold it up for ever"
    late = view(says(B, 2), says(B, 2), says(A, failing=True), nodes=PROMOTED)
    assert isinstance(decide(late), Serve), "most have named another"


def test_a_replica_that_was_promoted_stops_the_primary_for_a_while() -> None:
    known = view(says(A), says(A), says(A), nodes=PROMOTED)
    assert isinstance(decide(known), Park)
    silent = replace(known, nodes={B: primary("b")}, heeds=frozenset())
    assert isinstance(decide(silent), Park), "what it acknowledges when it wakes up would be lost"
    found = decide(replace(known, heeds=frozenset()))
    assert isinstance(found, Serve)
    assert found.primary == A
    assert found.trouble is not None


def test_a_replica_that_restarted_as_a_primary_does_not() -> None:
    found = decide(view(says(A), says(A), nodes={**PROMOTED, B: primary("another process")}))
    assert isinstance(found, Serve)
    assert found.replicas == (C,)


def test_a_primary_that_says_it_is_a_replica_gets_nothing() -> None:
    assert isinstance(decide(view(says(A), says(A), nodes={A: following(B)})), Park)


def test_a_primary_that_hands_over_gets_nothing_until_another_is_named() -> None:
    handing = replace(view(says(A), says(A)), is_handing_over=True)
    assert isinstance(decide(handing), Park)
    found = decide(replace(handing, answers=(says(B, 2), says(B, 2)), nodes=PROMOTED))
    assert isinstance(found, Serve)
    assert found.primary == B


def test_a_primary_that_restarted_and_is_named_on_is_served_as_another_process() -> None:
    found = decide(view(says(A), says(A), nodes={**WELL, A: primary("later")}))
    assert isinstance(found, Serve)
    assert (found.primary, found.run_id) == (A, "later")


def test_replicas_that_most_find_down_or_that_follow_nobody_here_are_left_out() -> None:
    answers = (says(A, down=(B,)), says(A, down=(B,)), says(A))
    assert listed_by_most(answers, 3) == (C,)
    stranger = {**WELL, C: following(Address("10.9.9.9", 1))}
    found = decide(view(says(A), says(A), served=None, nodes=stranger))
    assert isinstance(found, Serve)
    assert found.replicas == (B,)


def test_replicas_that_are_never_promoted_do_not_vouch() -> None:
    found = decide(view(says(A), says(A), nodes={**WELL, B: following(A, "b", priority=0)}))
    assert isinstance(found, Serve)
    assert found.replicas == (B, C)
    assert found.voters == {C}


# --- whatever is said ---

addresses = st.sampled_from(NODES)
answers = st.builds(
    Answer,
    addresses,
    st.integers(0, 4),
    st.lists(st.builds(ReplicaSaid, addresses, st.booleans()), max_size=3).map(tuple),
    st.booleans(),
)
seen = st.builds(
    Seen,
    st.sampled_from(["a", "b", "c", "d"]),
    st.builds(
        Replication,
        st.sampled_from(Role),
        st.just(LINEAGE),
        st.integers(0, 9),
        follows=st.one_of(st.none(), addresses),
        is_link_up=st.booleans(),
        priority=st.sampled_from([0, 100]),
    ),
)
serveds = st.builds(
    Served,
    addresses,
    st.integers(0, 4),
    st.sampled_from(["a", "b"]),
    st.lists(addresses, max_size=2, unique=True).map(tuple),
    processes=st.dictionaries(addresses, st.sampled_from(["a", "b", "c"]), max_size=3),
    is_parked=st.booleans(),
)
views = st.builds(
    View,
    st.integers(4, 5),
    st.lists(answers, max_size=4).map(tuple),
    st.one_of(st.none(), serveds),
    st.dictionaries(addresses, seen, max_size=3),
    st.one_of(st.none(), st.just("is down")),
    st.booleans(),
    st.frozensets(st.sampled_from(Waits)),
)


@given(views)
def test_whoever_is_served_is_named_by_most_and_says_it_is_a_primary(found: View) -> None:
    decision = decide(found)
    if isinstance(decision, Serve):
        names = [answer.primary for answer in found.answers]
        assert names.count(decision.primary) >= majority(found.total)
        assert found.nodes is not None
        assert found.nodes[decision.primary].replication.role is Role.PRIMARY
        assert found.nodes[decision.primary].run_id == decision.run_id
        assert decision.primary not in decision.replicas
        assert decision.voters <= set(decision.replicas)


@given(views)
def test_the_epoch_never_falls(found: View) -> None:
    decision = decide(found)
    if isinstance(decision, Serve) and found.served is not None:
        assert decision.epoch >= found.served.epoch


@given(views)
def test_nothing_is_sent_to_a_primary_that_is_down_or_hands_over(found: View) -> None:
    decision = decide(found)
    served = found.served
    if served is None or served.is_parked:
        return
    is_silent = found.why_down is not None and served.primary not in (found.nodes or {})
    has_moved = isinstance(decision, Serve) and decision.primary != served.primary
    if is_silent:
        assert isinstance(decision, Park) or has_moved
    if found.is_handing_over:
        assert not isinstance(decision, Serve) or has_moved


@given(views, st.lists(answers, min_size=1, max_size=2))
def test_a_minority_of_liars_moves_nothing(found: View, lies: list[Answer]) -> None:
    """Of five Sentinels three say the truth; whatever two others say, the primary is the same."""
    truth = (says(A, 3), says(A, 3), says(A, 3))
    known = replace(found, total=5, heeds=frozenset())
    honest = decide(replace(known, answers=truth))
    misled = decide(replace(known, answers=(*truth, *lies)))
    if isinstance(misled, Serve):
        assert misled.primary == A
        assert misled.epoch <= max(3, found.served.epoch if found.served else 0)
    if isinstance(honest, Serve) and found.served is not None and not found.served.is_parked:
        assert isinstance(misled, Serve)
