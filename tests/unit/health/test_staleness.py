"""How old a replica's data is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.health.staleness import MAX_SAMPLES, OffsetTrail, why_not_readable
from shardproxy.model import Address
from shardproxy.model.replication import Lineage, Replication, Role

TRAIL = OffsetTrail((10.0, 10.1, 10.2), (500, 620, 700))


@pytest.mark.parametrize(
    ("offset", "age"), [(499, None), (500, 0.25), (619, 0.25), (650, 0.15), (700, 0.05), (900, 0.05)]
)
def test_age_is_that_of_the_newest_sample_reached(offset: int, age: float | None) -> None:
    found = TRAIL.age(offset, 10.25)
    assert found == (pytest.approx(age) if age is not None else None)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=300), st.integers(0, 299), st.floats(0, 5))
def test_age_is_never_below_the_truth(growth: list[int], behind: int, lag: float) -> None:
    """A replica that has what the primary had at some sample is at most as old as is said."""
    trail, offset, offsets = OffsetTrail(), 0, []
    for number, step in enumerate(growth):
        offset += step
        offsets.append(offset)
        trail = trail.with_sample(number / 10, offset)
    now = (len(growth) - 1) / 10 + lag
    index = max(0, len(offsets) - 1 - behind)
    age = trail.age(offsets[index], now)
    reached = max(number for number, have in enumerate(offsets) if have <= offsets[index])
    if age is None:
        assert len(offsets) - reached > MAX_SAMPLES
    else:
        assert age == pytest.approx(now - reached / 10)


@pytest.mark.parametrize(
    ("offset", "at", "behind"),
    [
        (700, 99.0, 0.0),  # it has all that was ever seen
        (699, 10.25, 0.0),  # it lacks what was seen last, and nothing was looked at since
        (650, 10.15, 0.0),
        (619, 10.25, 0.1),
        (600, 10.15, 0.05),
        (600, 99.0, 0.1),  # samples ended with the primary: nobody gets older
        (400, 99.0, 0.2),
    ],
)
def test_who_lacks_something_is_behind_since_that_was_seen(offset: int, at: float, behind: float) -> None:
    assert TRAIL.behind_for(offset, at) == pytest.approx(behind)


def test_a_primary_that_writes_nothing_or_was_not_asked_makes_nobody_look_old() -> None:
    idle = OffsetTrail((10.0, 20.0, 30.0, 30.1), (500, 500, 514, 514))
    assert idle.behind_for(500, 30.15) == pytest.approx(0.1)
    assert idle.reached_at(514) == 30.1
    assert OffsetTrail().behind_for(5, 10.0) == 0.0
    assert OffsetTrail().reached_at(5) is None


def test_a_lower_offset_starts_anew() -> None:
    assert TRAIL.with_sample(11.0, 14) == OffsetTrail((11.0,), (14,))


def test_the_trail_is_bounded() -> None:
    trail = OffsetTrail()
    for number in range(MAX_SAMPLES * 2):
        trail = trail.with_sample(number, number)
    assert len(trail.times) == len(trail.offsets) == MAX_SAMPLES


PRIMARY = Replication(Role.PRIMARY, Lineage("a" * 40), offset=700)
REPLICA = Replication(
    Role.REPLICA, Lineage("a" * 40), offset=650, follows=Address("p", 1), is_link_up=True, last_io=0
)


@pytest.mark.parametrize(
    ("replica", "age", "bound", "why"),
    [
        (REPLICA, 0.15, 1.0, None),
        (REPLICA, None, None, None),
        (REPLICA, 1.5, 1.0, "its data is 1.5 s old"),
        (REPLICA, None, 1.0, "older than can be told"),
        (None, None, 1.0, "not heard of"),
        (PRIMARY, 0.0, 1.0, "not a replica"),
        (replace(REPLICA, is_link_up=False), 0.1, None, "link to the primary is down"),
        (replace(REPLICA, is_syncing=True), 0.1, None, "syncing"),
        (replace(REPLICA, lineage=Lineage("b" * 40)), 0.1, None, "another history"),
    ],
)
def test_reasons_not_to_read_from_a_replica(
    replica: Replication | None, age: float | None, bound: float | None, why: str | None
) -> None:
    found = why_not_readable(replica, PRIMARY, age, bound)
    assert found is None if why is None else why in (found or "")
