"""What is spooled is its process's alone, and goes with it; what killed processes left goes next time."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import trio

from shardproxy.archive import PlaceError
from shardproxy.archive.spool import spooled


def held_in(spool: Path, said: object) -> None:
    async def hold() -> None:
        async with spooled(spool) as folder:
            (folder / "x.rdb").write_bytes(b"x")
            said.send(folder)  # type: ignore[attr-defined]
            await trio.sleep_forever()

    trio.run(hold)


def left(spool: Path) -> list[Path]:
    return sorted(spool.iterdir())


async def test_it_is_gone_afterwards(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with spooled(tmp_path) as folder:
            (folder / "x.rdb").write_bytes(b"x")
            assert folder.stat().st_mode & 0o777 == 0o700
            scope.cancel()
            await trio.sleep_forever()
    assert left(tmp_path) == []


async def test_several_at_once_do_not_touch_each_other(tmp_path: Path) -> None:
    async with spooled(tmp_path) as one:
        (one / "x.rdb").write_bytes(b"x")
        async with spooled(tmp_path) as other:
            assert other != one
            assert (one / "x.rdb").exists()
        assert (one / "x.rdb").exists()
    assert left(tmp_path) == []


async def test_what_a_killed_process_left_goes_and_not_before(tmp_path: Path) -> None:
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=held_in, args=(tmp_path, theirs))
    process.start()
    try:
        folder = await trio.to_thread.run_sync(ours.recv)
        async with spooled(tmp_path):
            assert (folder / "x.rdb").exists(), "its process lives"
    finally:
        process.kill()
        await trio.to_thread.run_sync(process.join)
    assert (folder / "x.rdb").exists()
    async with spooled(tmp_path):
        assert not folder.exists()
    assert left(tmp_path) == []


async def test_what_others_call_alike_stays(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "x").write_text("x")
    (tmp_path / f"shardproxy-spool-{'a' * 16}.lock").symlink_to(victim / "x")
    (tmp_path / f"shardproxy-spool-{'b' * 16}").symlink_to(victim)
    (tmp_path / f"shardproxy-spool-{'b' * 16}.lock").touch()
    (tmp_path / "shardproxy-spool-x").mkdir()
    (tmp_path / "shardproxy-spool-..lock").touch()
    there = left(tmp_path)
    async with spooled(tmp_path):
        pass
    assert left(tmp_path) == there
    assert (victim / "x").read_text() == "x"


async def test_where_nothing_can_be_spooled(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=r"cannot spool in .*No such file"):
        async with spooled(tmp_path / "nowhere"):
            raise AssertionError("there is no spool")
