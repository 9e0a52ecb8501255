"""A directory as a place: what is there is whole, and only its owner's."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardproxy.archive import AlreadyThereError, NotThereError, PlaceError
from shardproxy.archive.directory import DirectoryPlace


def test_a_file_that_fails_half_way_is_not_there(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x" * 100
        raise RuntimeError("the reader left")

    place = DirectoryPlace(tmp_path / "backups")
    with pytest.raises(RuntimeError, match="the reader left"):
        place.write("monday/shard.rdb", chunks(), size=100)
    assert place.listed("monday") == []
    assert list((tmp_path / "backups" / "monday").iterdir()) == []


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    place = DirectoryPlace(tmp_path)
    place.create("monday/manifest.json", b"first")
    with pytest.raises(AlreadyThereError, match="take another name"):
        place.create("monday/manifest.json", b"second")
    assert place.read("monday/manifest.json", at_most=10) == b"first"
    assert [one.name for one in place.listed("monday")] == ["monday/manifest.json"]


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    DirectoryPlace(tmp_path / "new").create("monday/manifest.json", b"x")
    folder = tmp_path / "new" / "monday"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "manifest.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["../etc/passwd", "a/../../b", "/etc/passwd", ""])
def test_names_stay_in_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(PlaceError, match="no name of a file"):
        DirectoryPlace(tmp_path / "in").read(name, at_most=10)


def test_what_is_not_there(tmp_path: Path) -> None:
    place = DirectoryPlace(tmp_path / "nowhere")
    assert place.folders() == []
    assert place.listed("monday") == []
    place.delete(["monday/manifest.json"])
    with pytest.raises(NotThereError):
        place.read("monday/manifest.json", at_most=10)
    with pytest.raises(NotThereError):
        list(place.chunks("monday/shard.rdb"))


def test_a_folder_goes_with_its_last_file(tmp_path: Path) -> None:
    place = DirectoryPlace(tmp_path)
    place.create("monday/a", b"1")
    place.create("monday/b", b"2")
    place.delete(["monday/a"])
    assert place.folders() == ["monday"]
    place.delete(["monday/b"])
    assert place.folders() == []


def test_what_is_too_large_is_not_ours(tmp_path: Path) -> None:
    place = DirectoryPlace(tmp_path)
    place.create("monday/manifest.json", b"x" * 11)
    with pytest.raises(PlaceError, match="more than 10 bytes"):
        place.read("monday/manifest.json", at_most=10)
