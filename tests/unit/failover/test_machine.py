"""The table: every pair is there or refused, every path ends, an epoch keeps its target."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.failover.machine import (
    TRANSITIONS,
    Behind,
    Chosen,
    Claimed,
    ClaimedSwitchover,
    Enough,
    Event,
    Fenced,
    HandedOver,
    HandoverRefused,
    HandoverUnclear,
    Healed,
    Held,
    Kind,
    Lost,
    NobodyElectable,
    Parked,
    Promoted,
    PromotionFailed,
    Published,
    Relayed,
    RelayFailed,
    Run,
    Step,
    TooFew,
    TransitionError,
    advance,
)
from shardproxy.store.record import ShardState
from tests.unit.failover.make import A, B, C, X, Y, record

FENCED = record().fenced()
BOUND = FENCED.promoting(B)
RELAYED = FENCED.promoting(C)
DONE = BOUND.settled(B, Y, "new")

EVENTS: list[Event] = [
    Claimed(FENCED),
    ClaimedSwitchover(BOUND),
    Lost("store down"),
    Fenced(()),
    Enough(),
    TooFew("one"),
    Chosen(B),
    NobodyElectable("none"),
    Promoted(BOUND, Y, "new"),
    PromotionFailed("timeout", BOUND),
    Held("paused"),
    Behind(C, B),
    Relayed(RELAYED),
    RelayFailed("too slow", RELAYED),
    Parked(),
    HandedOver(Y, "new"),
    HandoverRefused("no"),
    HandoverUnclear("who knows"),
    Published(DONE),
    Healed(),
]


def begin(kind: Kind = Kind.FAILOVER) -> Run:
    return Run(kind, record(), "it died", 1.0, target=B if kind is Kind.SWITCHOVER else None)


def walk(run: Run, *events: Event) -> Run:
    for event in events:
        run = advance(run, event)
    return run


def test_failover() -> None:
    run = walk(
        begin(),
        Claimed(FENCED),
        Fenced(()),
        Enough(),
        Chosen(B),
        Promoted(BOUND, Y, "new"),
        Published(DONE),
        Healed(),
    )
    assert (run.step, run.primary, run.lineage, run.run_id) == (Step.DONE, B, Y, "new")
    assert run.record == DONE


def test_too_few_and_nobody_fit_go_back_to_fencing() -> None:
    run = walk(begin(), Claimed(FENCED), Fenced(()), TooFew("one of two"))
    assert (run.step, run.setback) == (Step.FENCE, "one of two")
    run = walk(run, Fenced(()), Enough(), NobodyElectable("all empty"))
    assert (run.step, run.setback) == (Step.FENCE, "all empty")


def test_a_promotion_that_failed_needs_another_epoch() -> None:
    failed = PromotionFailed("no reply within 0.5 s", BOUND)
    run = walk(begin(), Claimed(FENCED), Fenced(()), Enough(), Chosen(B), failed)
    assert (run.step, run.target, run.record) == (Step.CLAIM, None, BOUND)


@pytest.mark.parametrize("outcome", [Relayed(RELAYED), RelayFailed("too slow", RELAYED)])
def test_a_relay_has_an_epoch_of_its_own(outcome: Event) -> None:
    """The source was made a primary in this one, so the target has to be in another."""
    run = walk(begin(), Claimed(FENCED), Fenced(()), Enough(), Behind(C, B))
    assert (run.step, run.source, run.target) == (Step.RELAY, C, B)
    run = advance(run, outcome)
    assert (run.step, run.source, run.target, run.record) == (Step.CLAIM, None, None, RELAYED)
    with pytest.raises(ValueError, match="promotes"):
        RELAYED.promoting(B)
    assert RELAYED.fenced().promoting(B).epoch == RELAYED.epoch + 1


def test_a_hold_is_frozen_anew_until_somebody_may_be_promoted() -> None:
    run = walk(begin(Kind.HOLD), Claimed(FENCED), Fenced(()), Held("paused"))
    assert (run.step, run.setback) == (Step.FENCE, "paused")


def test_switchover() -> None:
    run = walk(
        begin(Kind.SWITCHOVER),
        ClaimedSwitchover(BOUND),
        Parked(),
        HandedOver(Y, "new"),
        Published(DONE),
        Healed(),
    )
    assert (run.step, run.primary, run.setback) == (Step.DONE, B, "")


@pytest.mark.parametrize("events", [[HandoverRefused("in flight")], [Parked(), HandoverRefused("behind")]])
def test_a_switchover_that_is_refused_ends_where_it_began(events: list[Event]) -> None:
    run = walk(begin(Kind.SWITCHOVER), ClaimedSwitchover(BOUND), *events)
    assert (run.step, run.primary, run.lineage, run.run_id) == (Step.PUBLISH, A, X, "r")


def test_a_switchover_that_is_unclear_becomes_a_failover() -> None:
    run = walk(begin(Kind.SWITCHOVER), ClaimedSwitchover(BOUND), Parked(), HandoverUnclear("both silent"))
    assert (run.step, run.kind, run.target) == (Step.CLAIM, Kind.FAILOVER, None)


@pytest.mark.parametrize("step", [step for step in Step if step not in (Step.DONE, Step.STOPPED)])
def test_every_step_has_a_way_out(step: Step) -> None:
    seen, todo = set(), [step]
    while todo:
        here = todo.pop()
        if here not in seen:
            seen.add(here)
            todo += [to for (origin, _), to in TRANSITIONS.items() if origin is here]
    assert Step.DONE in seen


@given(st.sampled_from(list(Step)), st.sampled_from(EVENTS))
def test_unknown_pairs_raise_and_change_nothing(step: Step, event: Event) -> None:
    run = Run(Kind.FAILOVER, record(), "it died", 1.0, step=step)
    if (step, type(event)) in TRANSITIONS:
        assert advance(run, event).step is TRANSITIONS[step, type(event)]
    else:
        with pytest.raises(TransitionError):
            advance(run, event)


def test_records_along_the_way() -> None:
    assert (FENCED.epoch, FENCED.primary, FENCED.last, FENCED.state) == (2, None, A, ShardState.FENCING)
    assert (BOUND.epoch, BOUND.target) == (2, B)
    assert (DONE.epoch, DONE.primary, DONE.last, DONE.lineage) == (2, B, None, Y)
    assert DONE.replicas == (A, record().nodes[2])
    assert FENCED.fenced().last == A  # fenced again: the last primary is still the last one that served
