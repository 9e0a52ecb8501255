"""What waits beside a file takes its place whole, once, and leaves nothing behind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import trio

from shardproxy.store.local import LocalStore
from shardproxy.store.notes import NoteKey, NoteKind
from shardproxy.store.spare import COUNT, MAX_ROOM, SUFFIX, Spares

NOTE = NoteKey("main", NoteKind.PAUSED)


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


def waiting(path: Path) -> dict[int, Path]:
    """Those that are ready, by inode."""
    return {one.stat().st_ino: one for one in path.parent.glob(f"*{SUFFIX}")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "state.json"
    path.write_text('{"is": "old"}')
    return path


def test_data_lies_where_room_was_made_and_blanks_follow(path: Path) -> None:
    spares = Spares(path)
    assert spares.take(10) is None
    spares.fill(10)
    ready = waiting(path)
    assert len(ready) == COUNT
    for number in range(COUNT):
        data = json.dumps({"is": number}).encode()
        spare = spares.take(len(data))
        assert spare is not None
        with path.open() as before:
            spare.put(path, data)
            assert json.loads(before.read())["is"] == ("old" if not number else number - 1)
        assert json.loads(path.read_bytes()) == {"is": number}
        assert path.stat().st_ino in ready
        assert path.stat().st_mode & 0o777 == 0o600
    assert spares.take(10) is None, "none is used twice"
    assert names(path) == [path.name]


def test_what_has_become_too_small_is_replaced(path: Path) -> None:
    spares = Spares(path)
    spares.fill(10)
    assert spares.take(100_000) is None
    spares.fill(100_000)
    assert len(waiting(path)) == COUNT
    spare = spares.take(100_000)
    assert spare is not None
    spare.put(path, b"x" * 100_000)
    assert path.read_bytes().rstrip() == b"x" * 100_000
    spares.fill(MAX_ROOM)
    assert not waiting(path), "for so much there are none"


def test_nothing_is_left_of_what_failed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    spares = Spares(path)
    spares.fill(10)
    open_before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    monkeypatch.setattr(os, "fdatasync", broken)
    spare = spares.take(10)
    assert spare is not None
    with pytest.raises(OSError, match="Input/output"):
        spare.put(path, b"{}")
    assert json.loads(path.read_text()) == {"is": "old"}
    assert len(waiting(path)) == COUNT - 1
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        spares.fill(10)
    assert len(waiting(path)) == COUNT - 1
    spares.close()
    spares.fill(10)
    assert names(path) == [path.name]
    assert len(os.listdir("/proc/self/fd")) == open_before - COUNT  # noqa: PTH208


async def test_a_store_writes_where_room_was_made_before(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    left = tmp_path / f"state.json.crashed{SUFFIX}"
    left.write_text(" ")
    with LocalStore(path) as store:
        assert not left.exists(), "a process before left it"
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            await store.note(NOTE, True)
            with trio.fail_after(10):
                while len(waiting(path)) < COUNT:  # noqa: ASYNC110  # a thread makes them
                    await trio.sleep(0.01)
            ready = waiting(path)
            await store.note(NOTE, False)
            assert path.stat().st_ino in ready
            nursery.cancel_scope.cancel()
    assert not waiting(path)
    with LocalStore(path) as store:
        assert store.notes[NOTE].value is False
