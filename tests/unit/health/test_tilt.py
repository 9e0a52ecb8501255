"""When our own view counts for nothing."""

from __future__ import annotations

import pytest

from shardproxy.health.tilt import CALM, Tilt, tilt_counted, tilt_stalled


@pytest.mark.parametrize(
    ("silent", "total", "is_mass"),
    [
        (0, 0, False),
        (1, 1, False),
        (2, 2, False),
        (1, 3, False),
        (2, 3, True),
        (2, 4, False),
        (25, 250, False),
    ],
)
def test_more_than_half_of_three_or_more_is_too_many(silent: int, total: int, is_mass: bool) -> None:
    assert tilt_counted(Tilt(), silent, total, 5.0).is_mass is is_mass


def test_a_stall_is_remembered_until_all_is_calm() -> None:
    tilt = tilt_counted(tilt_stalled(Tilt(), 0.7, 100.0), 0, 10, 100.1)
    assert tilt.is_tilted(100.0 + CALM - 0.1)
    assert not tilt.is_tilted(100.0 + CALM)


def test_many_at_once_stay_in_doubt_for_as_long_as_they_are_many() -> None:
    tilt = tilt_counted(Tilt(), 3, 4, 100.0)
    assert tilt.is_tilted(100.0 + 5 * CALM)
    calmer = tilt_counted(tilt, 1, 4, 200.0)
    assert not calmer.is_tilted(200.0)
