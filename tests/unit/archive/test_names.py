"""Names of backups: what people may write, and what scheduled ones are called."""

from __future__ import annotations

import pytest

from shardproxy.archive.names import (
    automatic_name,
    automatic_time,
    file_name,
    is_file_name,
    why_not_a_name,
)

AT = 1796007600.0  # 2026-11-30 03:00 UTC


@pytest.mark.parametrize("name", ["a", "before-upgrade", "B2", "a" * 255])
def test_names_that_people_write(name: str) -> None:
    assert why_not_a_name(name) is None


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "a--b", "1a", "a.b", "a/b", "..", "a b", "ä", "automatic.x", "a" * 256, "a\n"]
)
def test_names_that_are_refused(name: str) -> None:
    assert why_not_a_name(name)


def test_scheduled_ones_say_whose_and_when() -> None:
    name = automatic_name("my-sessions", AT)
    assert name == "automatic.my-sessions-2026-11-30-03-00"
    assert automatic_time("my-sessions", name) == AT
    assert automatic_time("sessions", name) is None
    assert automatic_time("my-sessions", "automatic.my-sessions-2026-13-30-03-00") is None
    assert automatic_time("my-sessions", "my-sessions-2026-11-30-03-00") is None


def test_files_are_called_as_those_of_no_other_backup() -> None:
    name = file_name(7, "0123abcd99999999")
    assert name == "shard-0007-0123abcd.rdb"
    assert is_file_name(name)
    assert is_file_name(f".part-89abcdef-{name}")
    for other in ("manifest.json", "shard-0007.rdb", f"x{name}", f"{name}.gz", f"{name}\n", ".part-x"):
        assert not is_file_name(other)
