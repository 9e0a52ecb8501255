"""Files that settings were read from are read again when they change, and only then."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from shardproxy.config.files import FilesRead, Fingerprint
from shardproxy.topology.files import SETTLED, run_files_watch

INTERVAL = 0.01  # seconds between looks


class Reader:
    """Reads files as an app does, and tells which reading it was."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self.seen: dict[Path, Fingerprint] = {}
        self.readings: list[list[str]] = []
        self.read()

    def read(self) -> None:
        files = FilesRead()
        for path in self._paths:
            files.note(path)
        self.seen = files.seen

    async def changed(self, paths: list[Path]) -> None:
        self.read()
        self.readings.append([path.name for path in paths])

    async def wait_read(self, count: int = 1, *, within: float = 5.0) -> None:
        with trio.fail_after(within):
            while len(self.readings) < count:  # noqa: ASYNC110  # it has no event, as apps have none
                await trio.sleep(INTERVAL)


@asynccontextmanager
async def watching(*paths: Path) -> AsyncIterator[Reader]:
    reader = Reader(*paths)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_files_watch, lambda: reader.seen, reader.changed, INTERVAL)
        yield reader
        nursery.cancel_scope.cancel()


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    return tmp_path / "a", tmp_path / "b"


def written(path: Path) -> None:
    path.write_text("longer than before")


def replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_text(path.read_text())
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def touched(path: Path) -> None:
    os.utime(path, ns=(0, 12345))


def disguised(path: Path) -> None:
    """Same file, size and time: only that it was touched cannot be hidden."""
    before = path.stat()
    path.write_text("c" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [written, replaced, touched, disguised, removed])
async def test_a_change_is_seen(paths: tuple[Path, Path], change: Callable[[Path], None]) -> None:
    async with watching(*paths) as reader:
        await trio.sleep(INTERVAL * 5)
        assert not reader.readings
        change(paths[1])
        await reader.wait_read()
        await trio.sleep(INTERVAL * 5)
    assert reader.readings == [["b"]]


async def test_a_file_that_comes_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "later"
    async with watching(path) as reader:
        path.write_text("here")
        await reader.wait_read()
        assert reader.seen[path] is not None


async def test_a_file_that_is_being_written_is_left_alone(paths: tuple[Path, Path]) -> None:
    async with watching(*paths) as reader:
        with paths[0].open("a") as file:
            for _ in range(10):
                file.write("more")
                file.flush()
                await trio.sleep(SETTLED / 2)
                assert not reader.readings
        await reader.wait_read()
    assert reader.readings == [["a"]]


async def test_a_file_that_goes_on_changing_does_not_keep_others_from_being_read(
    paths: tuple[Path, Path], autojump_clock: trio.testing.MockClock
) -> None:
    reader = Reader(*paths)

    async def go_on() -> None:
        with paths[0].open("a") as file:
            for _ in range(100_000):  # its clock runs while threads look, so that it says little
                file.write("more")
                file.flush()
                await trio.sleep(SETTLED / 2)
        raise AssertionError("nothing is read")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on)
        nursery.start_soon(run_files_watch, lambda: reader.seen, reader.changed, INTERVAL)
        written(paths[1])
        await reader.wait_read(within=math.inf)  # `go_on` says when it is too late
        nursery.cancel_scope.cancel()
    assert reader.readings[0] == ["a", "b"]


async def test_a_change_between_reading_and_looking_is_seen(paths: tuple[Path, Path]) -> None:
    reader = Reader(*paths)
    written(paths[0])  # after it was read, and before anybody watches
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_files_watch, lambda: reader.seen, reader.changed, INTERVAL)
        await reader.wait_read()
        nursery.cancel_scope.cancel()


def test_names_are_found_from_the_directory(tmp_path: Path) -> None:
    files = FilesRead(tmp_path)
    assert files.note("users.yaml") == tmp_path / "users.yaml"
    assert files.note("/etc/passwd") == Path("/etc/passwd")
    assert set(files.seen) == {tmp_path / "users.yaml", Path("/etc/passwd")}
