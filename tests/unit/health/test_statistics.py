"""Figures on the health checks themselves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shardproxy.health.statistics import RECENT, HealthStatistics


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 5)), max_size=30), st.floats(0, 100))
def test_the_lag_is_the_longest_delay_lately(steps: list[tuple[float, float]], quiet: float) -> None:
    statistics, now, noted = HealthStatistics(), 0.0, []
    for step, delay in steps:
        now += step
        noted.append((now, delay))
        statistics.note_delay(delay, now)
    now += quiet
    recent = [delay for at, delay in noted if at >= now - RECENT]
    assert statistics.loop_lag(now) == max(recent, default=0.0)
