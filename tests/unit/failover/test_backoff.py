"""Flapping primaries wait longer and longer."""

from __future__ import annotations

from shardproxy.failover.backoff import FIRST_WAIT, LONGEST_WAIT, NO_FAILOVER_YET, QUIET


def test_the_first_failover_is_immediate_and_the_next_ones_wait() -> None:
    backoff = NO_FAILOVER_YET
    assert backoff.why_not(0.0) is None
    now, waits = 1000.0, []
    for _ in range(7):
        backoff = backoff.after_failover(now)
        assert backoff.why_not(now + backoff.wait - 0.1)
        assert backoff.why_not(now + backoff.wait) is None
        waits.append(backoff.wait)
        now = backoff.allowed_at()
    assert waits == [30, 60, 120, 240, 480, 600, 600]
    assert waits[0] == FIRST_WAIT
    assert waits[-1] == LONGEST_WAIT


def test_half_an_hour_of_quiet_resets_it() -> None:
    backoff = NO_FAILOVER_YET.after_failover(0.0).after_failover(40.0)
    assert backoff.wait == 2 * FIRST_WAIT
    assert backoff.after_failover(40.0 + QUIET).wait == FIRST_WAIT


def test_an_operator_lifts_it_once() -> None:
    backoff = NO_FAILOVER_YET.after_failover(100.0)
    assert backoff.lifted().why_not(100.1) is None
    assert backoff.lifted().after_failover(101.0).wait == 2 * FIRST_WAIT
    assert NO_FAILOVER_YET.lifted() == NO_FAILOVER_YET


def test_the_reason_reads_the_same_while_it_lasts() -> None:
    backoff = NO_FAILOVER_YET.after_failover(100.0)
    assert backoff.why_not(101.0) == backoff.why_not(120.0)
