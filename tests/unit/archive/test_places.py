"""Two ways to write one place."""

from __future__ import annotations

import pytest

from shardproxy.archive import open_place, places_same
from shardproxy.archive.places import place_normalised


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/var/backups", "/var/backups/"),
        ("/var/backups", "//var//./backups"),
        ("s3://backups", "s3://backups/"),
        ("s3://backups/a/b", "s3://backups/a/b/"),
        ("s3://backups/a/b", "s3://backups//a/b//"),
    ],
)
def test_one_place(one: str, other: str) -> None:
    assert places_same(one, other)
    assert place_normalised(other) == one == place_normalised(one)
    if "//./" not in other:
        assert open_place(other).url in (one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/var/backups", "/var/backup"),
        ("/a/b", "/a/c/../b"),
        ("s3://backups", "s3://backups/a"),
        ("s3://backups/a/b", "s3://backups/a//b"),
        ("s3://backups", "/backups"),
        ("nonsense", "nonsense/"),
    ],
)
def test_two_places(one: str, other: str) -> None:
    assert not places_same(one, other)
