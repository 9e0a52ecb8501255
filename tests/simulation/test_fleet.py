"""Rows 6 to 10 of the fault table: proxies that share a store, each with its own view of the nodes."""

from __future__ import annotations

import pytest

from tests.simulation.faults import (
    LEADER,
    PRIMARY,
    At,
    CrashMember,
    Cut,
    CutFrom,
    CutStore,
    DeafStore,
    Fault,
    Freeze,
    HealNetwork,
    Kill,
    SlowStore,
    StopMember,
    StoreDown,
    ThawAll,
)
from tests.simulation.mutation import run as simulated
from tests.simulation.plan import Plan
from tests.simulation.simulation import KEY, WARM_UP, Simulation
from tests.simulation.test_scenarios import promotions, served_at


def run(*faults: tuple[float, Fault], members: int = 3, **options: object) -> Simulation:
    plan = Plan([At(fault, seconds) for seconds, fault in faults], members=members, **options)  # type: ignore[arg-type]
    sim = simulated(plan)
    assert not sim.checks.complaints, "\n".join(sim.checks.trace)
    assert sim.is_settled, "\n".join(sim.checks.trace)
    return sim


def led_at(sim: Simulation) -> list[float]:
    """Seconds from the first fault until somebody began to lead."""
    changes = sim.store.changes
    return [
        change.at - WARM_UP
        for change in changes
        if change.what == "leaders" and any(isinstance(who, str) for who in change.values.values())
    ]


def refused(sim: Simulation) -> int:
    return sim.checks.refused


@pytest.mark.parametrize("is_strict", [True, False])
def test_a_dead_primary_is_replaced_at_once(is_strict: bool) -> None:
    sim = run((0.1, Kill(PRIMARY)), is_strict=is_strict, followers=1)
    assert len(promotions(sim)) == 1
    assert served_at(sim, 2) - 0.1 < 0.5


def test_a_frozen_primary_is_replaced_in_time() -> None:
    sim = run((0.3, Freeze(PRIMARY)), (5.0, ThawAll()), lasts=6.0)
    assert len(promotions(sim)) == 1
    assert served_at(sim, 2) - 0.3 <= 2.0


@pytest.mark.parametrize("members", [1, 2])
def test_few_proxies_fail_over_as_well(members: int) -> None:
    sim = run((0.0, Freeze(PRIMARY)), lasts=8.0, members=members)
    assert len(promotions(sim)) == 1
    assert served_at(sim, 2) <= 2.0


def test_a_primary_that_only_the_leader_cannot_reach_stays_and_another_one_leads() -> None:
    """Row 6: also when no replica can be heard by the leader."""
    cuts: list[tuple[float, Fault]] = [(0.0, CutFrom(LEADER, node)) for node in (0, 1, 2)]
    sim = run(*cuts, (8.0, HealNetwork()), lasts=9.0)
    assert promotions(sim) == []
    moved = [at for at in led_at(sim) if at > 0]
    assert len(moved) == 1
    assert moved[0] <= 4.0


def test_what_one_of_two_reaches_is_not_failed_over() -> None:
    cuts: list[tuple[float, Fault]] = [(0.0, CutFrom(0, 0)), (0.0, Cut(0, 1)), (0.0, Cut(0, 2))]
    sim = run(*cuts, (8.0, HealNetwork()), lasts=9.0, members=2)
    assert promotions(sim) == []


def test_what_most_cannot_reach_is_failed_over() -> None:
    cuts: list[tuple[float, Fault]] = [
        (0.0, CutFrom(0, 0)),
        (0.0, CutFrom(1, 0)),
        (0.0, Cut(0, 1)),
        (0.0, Cut(0, 2)),
    ]
    sim = run(*cuts, (8.0, HealNetwork()), lasts=9.0)
    assert len(promotions(sim)) == 1


def test_a_proxy_that_ends_with_the_primary_is_not_waited_for_long() -> None:
    """Row: the controller died with the primary, and two are left of three; one of two."""
    for members in (2, 3):
        sim = run((0.0, CrashMember(LEADER, 6.5)), (0.0, Freeze(PRIMARY)), members=members, lasts=7.0)
        assert len(promotions(sim)) == 1
        assert served_at(sim, 2) <= 3.0 + 3.0


@pytest.mark.parametrize(("awaits", "is_strict"), [(1, True), (4, False), (7, True)])
def test_whoever_leads_next_finishes_what_was_begun(awaits: int, is_strict: bool) -> None:
    """Row 8: the leader dies at each await of a failover, its data plane too."""
    plan = Plan(
        [At(Kill(PRIMARY), 0.0), At(CrashMember(LEADER, 8.0), awaits=awaits)],
        members=3,
        is_strict=is_strict,
        lasts=10.0,
    )
    sim = simulated(plan)
    assert not sim.checks.complaints, "\n".join(sim.checks.trace)
    assert sim.is_settled
    assert served_at(sim, sim.record.epoch) <= 3.0 + 3.0


@pytest.mark.parametrize("awaits", [2, 6])
def test_a_leader_that_stood_still_does_no_harm_when_it_wakes_up(awaits: int) -> None:
    """Row 9: neither its late transactions nor its data plane's late replies."""
    plan = Plan([At(Kill(PRIMARY), 0.0), At(StopMember(LEADER, 10.0), awaits=awaits)], members=3, lasts=14.0)
    sim = simulated(plan)
    assert not sim.checks.complaints, "\n".join(sim.checks.trace)
    assert sim.is_settled


def test_a_proxy_that_stood_still_acknowledges_nothing_of_the_last_primary() -> None:
    """It does not know yet that its lease is over; its data plane does. The last primary lives on."""
    cuts: list[tuple[float, Fault]] = [(0.1, CutFrom(number, 0)) for number in (0, 1)]
    apart: list[tuple[float, Fault]] = [(0.1, Cut(0, 1)), (0.1, Cut(0, 2))]
    sim = run((0.0, StopMember(2, 8.0)), *cuts, *apart, (10.0, HealNetwork()), wait=0, lasts=10.5)
    assert len(promotions(sim)) == 1


def test_a_proxy_that_is_cut_from_all_writes_to_no_primary_of_before() -> None:
    """Row 7: it reaches the last primary alone."""
    cuts: list[tuple[float, Fault]] = [(0.1, CutFrom(number, 0)) for number in (0, 1)]
    apart: list[tuple[float, Fault]] = [
        (0.1, Cut(0, 1)),
        (0.1, Cut(0, 2)),
        (0.0, CutFrom(2, 1)),
        (0.0, CutFrom(2, 2)),
    ]
    sim = run((0.0, CutStore(2)), *cuts, *apart, (8.0, HealNetwork()), wait=0, lasts=8.5)
    assert len(promotions(sim)) == 1
    assert refused(sim) > 10


def test_the_store_down_changes_nothing_and_clients_are_served() -> None:
    """Row 10: for a while; writes are confirmed by a replica."""
    sim = run((0.0, StoreDown()), (15.0, StoreDown(False)), lasts=16.0, wait=0, followers=1)
    assert promotions(sim) == []
    assert len(sim.checks.of(KEY).acked) > 1000
    assert refused(sim) == 0


def test_a_primary_that_dies_while_the_store_is_down_is_replaced_after_that() -> None:
    sim = run((0.0, StoreDown()), (3.0, Kill(PRIMARY)), (7.0, StoreDown(False)), lasts=9.0)
    assert len(promotions(sim)) == 1
    assert 7.0 < served_at(sim, 2) < 12.0
    assert refused(sim) > 0


def test_without_a_replica_in_sync_a_proxy_out_of_touch_refuses_writes() -> None:
    sim = run((0.0, StoreDown()), (0.0, Kill(1)), (0.0, Kill(2)), (8.0, StoreDown(False)), lasts=10.0, wait=0)
    assert promotions(sim) == []
    assert refused(sim) > 10


def test_a_slow_store_loses_nothing() -> None:
    """What was given up may be carried out later."""
    sim = run((0.0, SlowStore(LEADER, 1.2)), (0.5, Kill(PRIMARY)), lasts=12.0)
    assert len(promotions(sim)) <= 2


@pytest.mark.parametrize("is_strict", [True, False])
def test_a_member_that_hears_of_nothing_holds_a_failover_up_for_its_lease_at_most(is_strict: bool) -> None:
    sim = run((0.0, DeafStore(2, 8.0)), (0.5, Kill(PRIMARY)), lasts=9.0, is_strict=is_strict)
    assert len(promotions(sim)) == 1
    assert served_at(sim, 2) <= (3.0 + 3.0 if is_strict else 0.5 + 0.35)
