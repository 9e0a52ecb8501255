"""The fault table, row by row, on a clock that jumps: who becomes primary, and how long clients wait."""

from __future__ import annotations

import pytest
import structlog

from tests.simulation.faults import (
    OTHER,
    PRIMARY,
    At,
    Crash,
    CrashAll,
    Cut,
    Fault,
    FillDisk,
    Freeze,
    HealNetwork,
    Kill,
    Lag,
    Replace,
    Restart,
    Stop,
    StoreDown,
    Stray,
    ThawAll,
    Work,
)
from tests.simulation.meddling import AGAIN, Pause, PromoteByHand, Reload, SwitchOver
from tests.simulation.plan import Plan
from tests.simulation.simulation import KEY, WARM_UP, Simulation, simulate


def run(*faults: tuple[float, Fault], **options: object) -> Simulation:
    plan = Plan([At(fault, seconds) for seconds, fault in faults], **options)  # type: ignore[arg-type]
    with structlog.testing.capture_logs():
        sim = simulate(plan)
    assert not sim.checks.complaints, "\n".join(sim.checks.trace)
    assert sim.is_settled, "\n".join(sim.checks.trace)
    return sim


def promotions(sim: Simulation) -> list[str]:
    return [line.split(" promoted ")[1] for line in sim.checks.trace if " promoted " in line]


def served_at(sim: Simulation, epoch: int) -> float:
    """Seconds from the first fault until a proxy served that epoch."""
    line = next(line for line in sim.checks.trace if f"serves epoch {epoch} primary=node" in line)
    return float(line.split()[0]) - WARM_UP


@pytest.mark.parametrize("phase", [0.0, 0.05, 0.1, 0.15])
@pytest.mark.parametrize("wait", [0, 1, 2])
def test_a_dead_primary_is_replaced_at_once(phase: float, wait: int) -> None:
    sim = run((phase, Kill(PRIMARY)), wait=wait)
    assert len(promotions(sim)) == 1
    assert served_at(sim, 2) - phase < 0.35


@pytest.mark.parametrize("gap", [0.01, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("phase", [0.0, 0.1, 0.75])
def test_a_primary_back_empty_wipes_nobody(gap: float, phase: float) -> None:
    """Row 2, without a safe boot: it answers as a primary, and replicas connect 0.83 s into each second."""
    sim = run((phase, Kill(PRIMARY)), (phase + gap, Restart(PRIMARY, is_safe=False)))
    assert len(promotions(sim)) == 1
    assert served_at(sim, 2) - phase < 1.5


def test_a_primary_back_safely_is_a_replica_and_is_replaced() -> None:
    sim = run((0.0, Kill(PRIMARY)), (0.01, Restart(PRIMARY)))
    assert promotions(sim) == ["node:7002 in epoch 2"]
    assert served_at(sim, 2) < 1.5


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.7])
def test_a_frozen_primary_is_replaced_in_time_and_its_late_writes_count_for_nothing(phase: float) -> None:
    sim = run((phase, Freeze(PRIMARY)), (10.0, ThawAll()), lasts=12.0)
    assert len(promotions(sim)) == 1
    assert served_at(sim, 2) - phase <= 2.0


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("seconds", [0.5, 1.2, 3.0, 9.0])
def test_a_busy_primary_is_waited_for(phase: float, seconds: float) -> None:
    sim = run((phase, Work(PRIMARY, seconds)), lasts=12.0)
    assert promotions(sim) == []


def test_one_command_after_another_is_waited_for() -> None:
    works = [(4.1 * number, Work(PRIMARY, 4.0)) for number in range(6)]
    assert promotions(run(*works, lasts=26.0)) == []


def test_a_primary_that_is_busy_for_too_long_is_replaced() -> None:
    sim = run((0.0, Work(PRIMARY, 20.0)), lasts=22.0)
    assert len(promotions(sim)) == 1
    assert 9.0 < served_at(sim, 2) < 11.5


def test_an_order_that_a_busy_engine_carries_out_late_was_given_in_time() -> None:
    """It was to be promoted, computes, and obeys while the store is away: nobody can take that back."""
    plan = Plan(
        [
            At(CrashAll(seconds=0.5, with_primary=True), 0.0),
            At(Work(1, 12.0), awaits=10),
            At(StoreDown(), 8.0),
        ],
        nodes=2,
        wait=0,
        lasts=20.0,
    )
    with structlog.testing.capture_logs():
        sim = simulate(plan)
    assert sim.checks.complaints == []
    assert len(promotions(sim)) == 2, "by the late order, and by the next one"


def test_a_busy_primary_that_dies_is_replaced_at_once() -> None:
    sim = run((0.0, Work(PRIMARY, 9.0)), (2.0, Kill(PRIMARY)))
    assert len(promotions(sim)) == 1
    assert served_at(sim, 2) - 2.0 < 0.35


def test_a_busy_primary_that_is_cut_off_is_not_waited_for() -> None:
    cuts = [(2.0, Cut(0, None)), (2.0, Cut(0, 1)), (2.0, Cut(0, 2))]
    sim = run((0.0, Work(PRIMARY, 9.0)), *cuts, (9.0, HealNetwork()), lasts=12.0)
    assert len(promotions(sim)) == 1
    assert served_at(sim, 2) - 2.0 <= 2.0


@pytest.mark.parametrize("phase", [0.0, 0.05, 0.1, 0.15])
def test_what_a_frozen_primary_is_sent_since_is_no_excuse(phase: float) -> None:
    sim = run((phase, Freeze(PRIMARY)), (phase + 0.4, Work(PRIMARY, 3.0)), (9.0, ThawAll()), lasts=12.0)
    assert len(promotions(sim)) == 1
    assert served_at(sim, 2) - phase <= 2.0


def test_a_primary_that_is_cut_from_all_is_replaced() -> None:
    sim = run((0.0, Cut(0, None)), (0.0, Cut(0, 1)), (0.0, Cut(0, 2)), (8.0, HealNetwork()), lasts=10.0)
    assert len(promotions(sim)) == 1
    assert served_at(sim, 2) <= 2.0


def test_a_primary_that_only_its_replicas_cannot_reach_stays() -> None:
    sim = run((0.0, Cut(0, 1)), (0.0, Cut(0, 2)), (20.0, HealNetwork()), lasts=22.0)
    assert promotions(sim) == []


def test_a_primary_that_only_we_cannot_reach_stays() -> None:
    sim = run((0.0, Cut(0, None)), (60.0, HealNetwork()), lasts=62.0)
    assert promotions(sim) == []


def test_a_primary_one_of_two_replicas_hears_stays() -> None:
    sim = run((0.0, Cut(0, None)), (0.0, Cut(0, 1)), (30.0, HealNetwork()), lasts=32.0)
    assert promotions(sim) == []


def test_the_replica_with_most_of_the_data_is_promoted() -> None:
    for late in (1, 2):
        sim = run((0.0, Lag(late)), (1.0, Kill(PRIMARY)), nodes=3, wait=1)
        assert promotions(sim) == [f"node:{7003 if late == 1 else 7002} in epoch 2"]


def test_too_few_replicas_promote_nobody_until_there_are_enough() -> None:
    """wait: 1 of two replicas: with one alone, what the other one acknowledged could be lost."""
    sim = run((0.0, Cut(2, None)), (0.5, Kill(PRIMARY)), (6.0, HealNetwork()), lasts=8.0, wait=1)
    assert len(promotions(sim)) == 1
    assert served_at(sim, 2) > 6.0


def test_a_full_disk_moves_the_primary_after_a_grace() -> None:
    sim = run((0.0, FillDisk(PRIMARY)), lasts=10.0)
    assert promotions(sim) == ["node:7002 in epoch 2"]
    assert 5.0 < served_at(sim, 2) < 6.5


def test_full_disks_everywhere_move_nothing() -> None:
    sim = run(*((0.0, FillDisk(node)) for node in range(3)), lasts=20.0)
    assert promotions(sim) == []


@pytest.mark.parametrize("awaits", range(1, 26, 3))
def test_whoever_leads_next_finishes_what_was_begun(awaits: int) -> None:
    """Row 8: the controller dies at each await of a failover."""
    plan = Plan([At(Kill(PRIMARY), 0.0), At(Crash(), awaits=awaits)], lasts=10.0)
    with structlog.testing.capture_logs():
        sim = simulate(plan)
    assert not sim.checks.complaints, "\n".join(sim.checks.trace)
    assert sim.is_settled
    served = [
        float(line.split()[0])
        for line in sim.checks.trace
        if "primary=node:7002" in line and "serves" in line
    ]
    assert served[0] - WARM_UP < 3.0 + 3.0  # the lease of the dead one, and 3 s


@pytest.mark.parametrize("awaits", range(1, 26, 3))
def test_a_controller_that_was_stopped_does_no_harm_when_it_wakes_up(awaits: int) -> None:
    """Row 9: it is stopped at each await of a failover, and another one takes over."""
    plan = Plan([At(Kill(PRIMARY), 0.0), At(Stop(10.0), awaits=awaits)], lasts=14.0, standbys=1)
    with structlog.testing.capture_logs():
        sim = simulate(plan)
    assert not sim.checks.complaints, "\n".join(sim.checks.trace)
    assert sim.is_settled


def test_the_store_down_changes_nothing_and_the_data_path_goes_on() -> None:
    sim = run((0.0, StoreDown()), (0.5, Kill(2)), (30.0, StoreDown(False)), lasts=32.0)
    assert promotions(sim) == []
    assert len(sim.checks.of(KEY).acked) > 500


def test_a_failover_waits_for_the_store() -> None:
    sim = run((0.0, StoreDown()), (0.5, Kill(PRIMARY)), (10.0, StoreDown(False)), lasts=12.0)
    assert len(promotions(sim)) == 1
    assert 10.0 < served_at(sim, 2) < 12.0


def test_a_second_failover_waits_until_an_operator_has_looked() -> None:
    sim = run((0.0, Kill(0)), (1.0, Restart(0)), (4.0, Kill(1)), lasts=20.0)
    assert len(promotions(sim)) == 2, "by the late order, and by the next one"
    assert served_at(sim, 3) > 20.0  # the run acknowledges at its end


def test_a_second_failover_comes_by_itself_after_its_wait() -> None:
    sim = run((0.0, Kill(0)), (1.0, Restart(0)), (4.0, Kill(1)), lasts=40.0)
    assert 29.0 < served_at(sim, 3) < 33.0


def test_a_switchover_loses_nothing_and_leaves_nothing_in_doubt() -> None:
    sim = run(*((5.0 * number, SwitchOver()) for number in range(5)), lasts=26.0)
    assert promotions(sim) == []  # the engines do it among themselves
    assert sum("handed over" in line for line in sim.checks.trace) == 5
    assert sum(proxy.in_doubt for proxy in sim.proxies) == 0


def test_nothing_is_handed_over_to_a_node_that_the_config_has_no_more() -> None:
    """It still vouches for what was acknowledged before, and the only other replica has priority 0."""
    reload = (0.0, Reload((1, 2), wait=0))
    priorities = (100, 50, 0)
    sim = run((0.0, Kill(0)), reload, (6.0, SwitchOver()), nodes=4, observers=1, priorities=priorities)
    assert sim.record.primary == sim.address(1)


def test_who_alone_is_left_is_promoted_although_the_config_has_it_no_more() -> None:
    """Who only watches another config's shard cannot follow there, and that is all."""
    faults = ((0.0, Reload((1, 2))), (0.0, Cut(1, None)), (0.0, Kill(0)))
    sim = run(*faults, nodes=4, wait=2, observers=1, priorities=(100, 50, 0))
    assert sim.record.primary == sim.address(3)


def test_a_switchover_whose_target_hangs_ends_where_it_began() -> None:
    plan = Plan([At(SwitchOver(), 0.0), At(Freeze(1), awaits=1), At(Freeze(2), awaits=1)], wait=0)
    with structlog.testing.capture_logs():
        sim = simulate(plan)
    assert not sim.checks.complaints
    assert sim.is_settled
    assert str(sim.record.primary) == "node:7001"


def test_a_new_primary_that_gives_way_to_an_empty_process_while_others_are_told_to_follow_it() -> None:
    """It was asked a moment before; the empty one is nobody's primary, and they keep what they have."""
    plan = Plan([At(Kill(0), 0.0), At(Replace(1), awaits=30)], nodes=4, wait=2)
    with structlog.testing.capture_logs():
        sim = simulate(plan)
    assert not sim.checks.complaints, "\n".join(sim.checks.trace)


def test_the_old_primary_comes_back_as_a_replica() -> None:
    sim = run((0.0, Kill(PRIMARY)), (3.0, Restart(0, keeps_data=True, is_safe=False)), lasts=8.0)
    assert str(sim.record.primary) == "node:7002"
    assert not sim.world.engines[sim.address(0)].is_primary


def test_without_replicas_a_restarted_primary_is_taken_as_it_is() -> None:
    sim = run((0.0, Kill(0)), (1.0, Restart(0, is_safe=False)), nodes=1, wait=0)
    assert promotions(sim) == []
    assert served_at(sim, 2) < 2.0


def test_a_dead_replica_is_no_failover() -> None:
    sim = run((0.0, Kill(OTHER)), lasts=20.0)
    assert promotions(sim) == []


def test_who_takes_over_after_a_relay_has_all_that_it_lacked() -> None:
    """A replica's link is up again before it has been sent what it lacks."""
    sim = run((0.0, Cut(0, 2)), (1.0, FillDisk(1)), (1.0, Kill(0)))
    assert promotions(sim) == ["node:7002 in epoch 2", "node:7003 in epoch 3"]


def test_a_new_controller_waits_for_the_primary_where_no_replica_was_in_sync() -> None:
    """Nobody else may be promoted, so nothing is begun that only a replica could end."""
    faults = ((0.0, Cut(0, 1)), (0.0, Cut(0, 2)), (32.0, CrashAll(0.5, with_primary=True)))
    sim = run(*faults, wait=0, lasts=38.0)
    assert promotions(sim) == ["node:7001 in epoch 2"]


def test_an_older_promise_is_finished_soon_after_it_can_be() -> None:
    sim = run((0.0, Kill(0)), lasts=6.0)
    finished = next(line for line in sim.checks.trace if "epoch 2 ok" in line and "pending" not in line)
    assert float(finished.split()[0]) - WARM_UP < 2.0


@pytest.mark.parametrize("strange", [Stray(0), Replace(0)])
def test_a_replica_is_not_forgotten_while_its_new_name_is_not_known_yet(strange: Fault) -> None:
    """Without it, a primary that comes back with other data, or with none, would have the most there is."""
    faults = ((0.0, Reload((0, 1 + AGAIN, 2))), (0.0, strange))
    sim = run(*faults, nodes=2, spares=1, wait=0)
    assert promotions(sim) == ["node:7002 in epoch 2"]


def test_a_member_under_another_name_is_the_same_member() -> None:
    sim = run((0.0, Reload((AGAIN, 1 + AGAIN, 2 + AGAIN))), (2.0, Kill(0)))
    assert promotions(sim) == ["node:7002 in epoch 2"]


def test_who_was_promoted_can_be_called_otherwise_in_another_epoch() -> None:
    sim = run((0.0, Kill(0)), (3.0, Reload((0, 1 + AGAIN, 2))))
    assert str(sim.record.primary) == "alias:7002"
    assert sim.record.epoch == 3


@pytest.mark.parametrize("nodes", [3, 4])
@pytest.mark.parametrize("after", [0.1, 0.5])
def test_a_new_primary_that_dies_right_after_a_switchover_is_replaced(nodes: int, after: float) -> None:
    """The one that handed over has all that it had acknowledged: its word counts."""
    sim = run((0.0, SwitchOver()), (after, Kill(1)), nodes=nodes)
    assert len(promotions(sim)) == 1
    assert served_at(sim, 3) - after < 1.5


@pytest.mark.parametrize("awaits", [1, 3, 5])
def test_another_node_is_chosen_when_the_one_that_was_to_stay_the_primary_is_gone(awaits: int) -> None:
    """It came back with its data, and nobody has more; and then it hangs."""
    plan = Plan([At(Replace(0, keeps_data=True), 0.0), At(Freeze(0), awaits=awaits)], nodes=3, wait=0)
    with structlog.testing.capture_logs():
        sim = simulate(plan)
    assert not sim.checks.complaints
    assert sim.is_settled


def test_a_primary_that_restarted_while_paused_is_left_alone() -> None:
    """Its replicas are kept from it; it gets no command."""
    sim = run((0.0, Pause()), (8.0, Replace(PRIMARY, keeps_data=True)), lasts=14.0)
    assert len(promotions(sim)) == 1


def test_what_the_primary_had_passed_is_put_on_record_while_something_cannot_be_healed() -> None:
    """A replica was promoted by hand, and keeps what was written to it."""
    plan = Plan([At(PromoteByHand(1), 0.0)], wait=0, lasts=30.0)
    with structlog.testing.capture_logs():
        sim = simulate(plan)
    assert not sim.checks.complaints
    assert sim.record.floor > 0
