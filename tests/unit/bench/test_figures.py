"""Medians over rounds, and ratios within a round."""

from __future__ import annotations

import pytest

from tests.bench.figures import figures_of, summarise
from tests.bench.tools import Sample, faults_of, sample_of
from tests.bench.workloads import Goal


def sample(cpu: float, rate: float = 1000.0, faults: tuple[str, ...] = ()) -> Sample:
    return Sample(
        rate, p50=10.0 * cpu, p99=99.0, p99_9=999.0, cpu=cpu, engine_cpu=1, load_cpu=2, faults=faults
    )


def test_figures_are_medians_over_the_rounds() -> None:
    figures = figures_of("ours1", {"ours1": [sample(4.0, 100.0), sample(2.0, 300.0), sample(3.0, 200.0)]})
    assert (figures.cpu, figures.requests_per_second, figures.p50, figures.p99) == (3.0, 200.0, 30.0, 99.0)
    assert figures.spread == pytest.approx(2.0 / 3.0)
    assert (figures.to_floor, figures.to_peer) == (None, None)


def test_a_ratio_is_the_median_of_the_ratios_within_each_round() -> None:
    # The machine was half as fast in the second round. Medians alone would say 15 / 10.
    rounds = {
        "echo": [sample(10.0), sample(20.0), sample(10.0)],
        "nutcracker": [sample(30.0), sample(60.0), sample(30.0)],
        "ours1": [sample(12.0), sample(30.0), sample(15.0)],
    }
    echo, peer, ours = summarise(rounds)
    assert (echo.to_floor, peer.to_floor, ours.to_floor) == (1.0, 3.0, 1.5)
    assert (peer.to_peer, ours.to_peer) == (1.0, 0.5)


def test_systems_that_never_ran_have_no_figures() -> None:
    assert [f.system for f in summarise({"echo": [sample(1.0)], "ours1": []})] == ["echo"]


@pytest.mark.parametrize(
    ("ours", "goal", "meets"),
    [
        (13.0, Goal(1.3, 0.75), True),
        (13.1, Goal(1.3, 0.75), False),
        (16.0, Goal(None, 0.75), False),
        (15.0, Goal(None, 0.75), True),
    ],
)
def test_a_goal_is_met_when_every_ratio_is_within_it(ours: float, goal: Goal, meets: bool) -> None:
    rounds = {"echo": [sample(10.0)], "nutcracker": [sample(20.0)], "ours1": [sample(ours)]}
    assert figures_of("ours1", rounds).meets(goal) is meets


def test_a_goal_without_anything_to_compare_with_is_not_missed() -> None:
    assert figures_of("ours1", {"ours1": [sample(99.0)]}).meets(Goal(1.0, 0.1))


REPORT = {
    "requests": 10,
    "requests_per_second": 5.0,
    "latency_us": {"p50": 1.0, "p99": 2.0, "p99_9": 3.0},
    "cpu_us_per_request": {"system": 4.0, "engines": 5.0, "load": 6.0},
    "errors": 0,
    "wrong": 0,
    "closed": 0,
    "unanswered": 0,
    "misses": 0,
    "first_fault": "",
}


def test_a_report_of_the_load_becomes_a_sample() -> None:
    assert sample_of(REPORT) == Sample(5.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"errors": 3, "first_fault": "-ERR x\r\n"}, ("3 error replies", "the first: '-ERR x\\r\\n'")),
        ({"misses": 1}, ("1 keys missed",)),
        ({"unanswered": 2, "closed": 1}, ("1 connections closed", "2 requests unanswered")),
        ({"requests": 0}, ("not one request answered",)),
    ],
)
def test_whatever_a_run_must_not_see_is_a_fault(change: dict[str, object], said: tuple[str, ...]) -> None:
    assert faults_of({**REPORT, **change}) == said


def test_faults_of_several_rounds_are_said_once() -> None:
    rounds = [sample(1.0, faults=("1 keys missed",)), sample(1.0, faults=("1 keys missed",))]
    assert figures_of("ours1", {"ours1": rounds}).faults == ("1 keys missed",)
