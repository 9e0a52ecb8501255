"""When a backup is due, and which ones go; times in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shardproxy.archive.place import Stored
from shardproxy.backup.leftovers import OLD, files_left
from shardproxy.backup.schedule import DAY, names_expired, turn_of
from shardproxy.config.backups import Window
from tests.unit.archive.manifests import OURS, automatic, file_of, manifest_of


def at(day: int, hour: int, minute: int = 0) -> float:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "begins", "is_open"),
    [
        (at(30, 3), at(30, 3), True),
        (at(30, 3, 59), at(30, 3), True),
        (at(30, 4), at(30, 3), False),
        (at(30, 23, 59), at(30, 3), False),
        (at(30, 2, 59), at(29, 3), False),
    ],
)
def test_the_window_of_a_day(now: float, begins: float, is_open: bool) -> None:
    turn = turn_of(Window(180, 240), now)
    assert turn.begins == begins
    assert turn.has(now) is is_open


@pytest.mark.parametrize(
    ("now", "begins", "is_open"),
    [
        (at(29, 23, 30), at(29, 23, 30), True),
        (at(30, 0, 29), at(29, 23, 30), True),
        (at(30, 0, 30), at(29, 23, 30), False),
        (at(29, 23, 29), at(28, 23, 30), False),
    ],
)
def test_a_window_over_midnight_is_that_of_the_day_it_begins_on(
    now: float, begins: float, is_open: bool
) -> None:
    turn = turn_of(Window(23 * 60 + 30, 30), now)
    assert turn.begins == begins
    assert turn.has(now) is is_open


def test_scheduled_ones_go_after_their_time() -> None:
    days = [automatic(f"d{day}", began=day * DAY) for day in range(10)]
    others = [manifest_of("mine", began=0.0), automatic("theirs", 0.0, cluster="other")]
    now = 9 * DAY + 10.0
    assert names_expired([*days, *others], "sessions", OURS, 7, now) == ["d0", "d1", "d2"]
    assert names_expired([*days, *others], "sessions", OURS, 0, now) == []


def test_the_newest_one_stays_however_old() -> None:
    assert names_expired([automatic("a", 0.0), automatic("b", DAY)], "sessions", OURS, 1, 100 * DAY) == ["a"]


def test_files_of_no_backup_go_once_nobody_can_be_writing_them() -> None:
    file = file_of(0)
    stored = [
        Stored(f"monday/{name}", 1, modified)
        for name, modified in (
            ("manifest.json", 0.0),
            (file.file, 0.0),
            ("shard-0000-ffffffff.rdb", 0.0),
            ("shard-0000-eeeeeeee.rdb", OLD),
            (".part-01234567-shard-0000-dddddddd.rdb", 0.0),
            ("notes.txt", 0.0),
        )
    ]
    left = ["shard-0000-ffffffff.rdb", ".part-01234567-shard-0000-dddddddd.rdb"]
    assert files_left(stored, manifest_of("monday", file), OLD + 1.0) == left
    assert files_left(stored, None, OLD + 1.0) == [file.file, *left]
