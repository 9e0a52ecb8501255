"""Files are replaced whole, through nobody's links, and stay whose they were."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shardproxy.store.replace import file_replace, file_rewrite

WAYS = [file_replace, file_rewrite]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "users.yaml"
    path.write_text("old")
    path.chmod(0o640)
    return path


@pytest.mark.parametrize("way", WAYS)
def test_a_file_is_another_one_then(way: Callable[[Path, bytes], None], path: Path) -> None:
    with path.open() as open_before:
        way(path, b"new")
        assert open_before.read() == "old"
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208  # names are enough
    assert path.stat().st_mode & 0o777 == (0o600 if way is file_replace else 0o640)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_written_through_a_link_that_waits(way: Callable[[Path, bytes], None], path: Path) -> None:
    other = path.with_name("other")
    other.write_text("mine")
    other.chmod(0o444)
    path.with_name("users.yaml.new").symlink_to(other)
    way(path, b"new")
    assert path.read_text() == "new"
    assert (other.read_text(), other.stat().st_mode & 0o777) == ("mine", 0o444)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_of_what_failed(
    way: Callable[[Path, bytes], None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        way(path, b"new")
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_stays_whose_it_was(path: Path) -> None:
    os.chown(path, 1234, 5678)
    file_rewrite(path, b"new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 5678, 0o640)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_another_group_may_not_read_what_it_could_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(path, 1234, 5678)

    def forbidden(descriptor: int, owner: int, group: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", forbidden)
    file_rewrite(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o600
