"""Percentiles of fine buckets are near those of the times themselves."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.insight.quantiles import LAST, added, bucket_bounds, cumulative, quantile, since


def bucket_of(micros: int) -> int:
    """As a worker finds it, in another way."""
    ends = (bucket_bounds(bucket)[1] for bucket in range(LAST))
    return next((bucket for bucket, end in enumerate(ends) if micros * 1e-6 < end), LAST)


def buckets_of(times: list[int]) -> tuple[tuple[int, int], ...]:
    return tuple(Counter(map(bucket_of, times)).items())


def test_buckets_stand_one_behind_the_other() -> None:
    for bucket in range(LAST):
        low, high = bucket_bounds(bucket)
        assert low < high
        assert high == pytest.approx(bucket_bounds(bucket + 1)[0])
        assert high - low <= max(low / 4, 1e-6) * 1.001


@given(
    st.lists(st.integers(0, 16_000_000), min_size=1, max_size=300),
    st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999, 1.0]),
)
def test_a_percentile_is_in_the_bucket_of_the_time_it_is_of(times: list[int], q: float) -> None:
    exact = sorted(times)[max(math.ceil(q * len(times)) - 1, 0)]
    found = quantile(buckets_of(times), q)
    assert found is not None
    low, high = bucket_bounds(bucket_of(exact))
    assert low * 0.999 <= found <= high * 1.001


@given(st.lists(st.integers(0, 30_000_000), max_size=300), st.sampled_from([1, 2]))
def test_coarse_buckets_are_sums_of_fine_ones(times: list[int], step: int) -> None:
    powers = range(5, 25, step)
    exact = tuple(sum(micros < 2**power for micros in times) for power in powers)
    assert cumulative(buckets_of(times), powers) == exact


def test_of_nothing_there_is_none() -> None:
    assert quantile((), 0.5) is None


def test_parts_are_added_up_bucket_by_bucket() -> None:
    fast, slow = ((40, 99),), ((40, 1), (70, 1))
    assert added([fast, slow]) == ((40, 100), (70, 1))
    assert since(((40, 100), (70, 1)), fast) == ((40, 1), (70, 1))
    assert since(((40, 5),), ((40, 100),)) == ((40, 5),), "counters began anew"
