"""Flapping primaries wait longer and longer; who decides next knows it, as it is on record."""

from __future__ import annotations

from shardproxy.failover.backoff import (
    FIRST_WAIT,
    LONGEST_WAIT,
    QUIET,
    backoff_after,
    backoff_left,
    backoff_lifted,
    why_not_yet,
)
from shardproxy.store.record import Flapping


def test_the_first_failover_is_immediate_and_the_next_ones_wait() -> None:
    flapping: Flapping | None = None
    assert why_not_yet(flapping, 0.0) is None
    now, waits = 1000.0, []
    for _ in range(7):
        flapping = backoff_after(flapping, now)
        assert why_not_yet(flapping, now + flapping.wait - 0.1)
        assert why_not_yet(flapping, now + flapping.wait) is None
        waits.append(flapping.wait)
        now += backoff_left(flapping, now)
    assert waits == [30, 60, 120, 240, 480, 600, 600]
    assert waits[0] == FIRST_WAIT
    assert waits[-1] == LONGEST_WAIT


def test_half_an_hour_of_quiet_resets_it() -> None:
    flapping = backoff_after(backoff_after(None, 0.0), 40.0)
    assert flapping.wait == 2 * FIRST_WAIT
    assert backoff_after(flapping, 40.0 + QUIET).wait == FIRST_WAIT


def test_an_operator_lifts_it_once() -> None:
    flapping = backoff_after(None, 100.0)
    assert why_not_yet(backoff_lifted(flapping), 100.1) is None
    assert backoff_after(backoff_lifted(flapping), 101.0).wait == 2 * FIRST_WAIT


def test_the_reason_reads_the_same_while_it_lasts() -> None:
    flapping = backoff_after(None, 100.0)
    assert why_not_yet(flapping, 101.0) == why_not_yet(flapping, 120.0)


def test_a_clock_that_jumps_makes_it_wait_once_more_at_most() -> None:
    flapping = backoff_after(None, 10_000.0)
    assert backoff_left(flapping, 6_400.0) == FIRST_WAIT  # an hour back
    assert backoff_left(flapping, 13_600.0) == 0.0
