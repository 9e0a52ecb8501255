"""The daily backup is asked for in its window, once, and missed ones are said."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio

from shardproxy.archive import Archive, Manifest
from shardproxy.archive.directory import DirectoryPlace
from shardproxy.archive.names import automatic_name
from shardproxy.backup.daily import AGAIN, LATE, TIDY_EVERY, Daily, DailyTools
from shardproxy.backup.identity import cluster_identity
from shardproxy.backup.schedule import DAY
from shardproxy.config import Backups
from shardproxy.jobs.interface import JobError
from shardproxy.store.memory import MemoryNotes
from tests.unit.archive.manifests import OTHERS, OURS, automatic

THREE = datetime(2026, 11, 30, 3, tzinfo=UTC).timestamp()


class World:
    """A proxy that leads, its clock and what it asks for."""

    def __init__(self, folder: Path, now: float, **config: Any) -> None:
        self.folder = folder
        self.now = now
        self.config: Backups | None = Backups(**{"to": str(folder), "retention": 2, **config})
        self.asked: list[str] = []
        self.alarms: list[str] = []
        self.troubles: list[str] = []
        self.refusal: str | None = None
        self.daily = self.restarted()

    def restarted(self) -> Daily:
        self.daily = Daily(
            "sessions",
            DailyTools(
                config_of=lambda cluster: self.config,
                ask=self.ask,
                alarm=lambda cluster, text: self.alarms.append(text),
                identity=self.identity,
                trouble=lambda cluster, text: self.troubles.append(text),
                now=lambda: self.now,
            ),
        )
        return self.daily

    async def ask(self, cluster: str, wants: Mapping[str, Any]) -> None:
        if self.refusal is not None:
            raise JobError(self.refusal)
        assert (cluster, wants["origin"], wants["to"]) == ("sessions", "automatic", None)
        self.asked.append(wants["name"])

    async def identity(self, cluster: str) -> str:
        await trio.lowlevel.checkpoint()
        return OURS

    async def look_until(self, end: float, every: float = 20.0) -> None:
        while self.now < end:
            await self.daily.look()
            self.now += every

    async def made(self, name: str, began: float, identity: str = OURS) -> Manifest:
        archive = Archive(DirectoryPlace(self.folder))
        return await archive.commit(automatic(name, began, identity=identity))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, THREE - 300.0)


async def test_it_is_asked_for_when_its_window_opens(world: World) -> None:
    await world.look_until(THREE)
    assert world.asked == []
    await world.look_until(THREE + 60.0)
    assert world.asked == ["automatic.sessions-2026-11-30-03-00"]
    await world.made(world.asked[0], THREE)
    await world.look_until(THREE + 3 * 3600.0)
    assert len(world.asked) == 1
    assert world.alarms == []


async def test_one_that_fails_is_asked_for_again_in_its_window(world: World) -> None:
    await world.look_until(THREE + 2 * AGAIN + 100.0)
    assert world.asked == [automatic_name("sessions", THREE)] * 3


async def test_the_next_leader_knows_what_was_made(world: World) -> None:
    await world.look_until(THREE + 60.0)
    await world.made(world.asked[0], THREE)
    world.restarted()
    await world.look_until(THREE + 600.0)
    assert len(world.asked) == 1


async def test_a_missed_window_is_said_once(world: World) -> None:
    await world.look_until(THREE + 3600.0 + LATE)
    assert world.alarms == []
    await world.look_until(THREE + 6 * 3600.0)
    assert world.alarms == ["there is no backup of the window 03:00-04:00: its jobs say why"]


async def test_why_nothing_could_be_asked_for_is_said(world: World) -> None:
    world.refusal = "reshard 7 of sessions is running"
    await world.look_until(THREE + 6 * 3600.0)
    assert world.alarms == ["there is no backup of the window 03:00-04:00: reshard 7 of sessions is running"]
    assert world.asked == []


async def test_one_that_waits_for_another_job_is_made_after_it(world: World) -> None:
    world.refusal = "reshard 7 of sessions is running"
    await world.look_until(THREE + 1200.0)
    world.refusal = None
    await world.look_until(THREE + 1300.0)
    assert len(world.asked) == 1


async def test_who_begins_after_the_window_waits_for_the_next(tmp_path: Path) -> None:
    world = World(tmp_path, THREE + 5 * 3600.0)
    await world.look_until(THREE + DAY)
    assert (world.asked, world.alarms) == ([], [])
    await world.look_until(THREE + DAY + 60.0)
    assert world.asked == ["automatic.sessions-2026-12-01-03-00"]


@pytest.mark.parametrize("config", [None, {"retention": 0}])
async def test_nothing_is_made_where_nothing_is_configured(
    tmp_path: Path, config: dict[str, Any] | None
) -> None:
    world = World(tmp_path, THREE, **(config or {}))
    if config is None:
        world.config = None
    await world.made("automatic.sessions-2026-01-01-03-00", 0.0)
    await world.made("automatic.sessions-2026-01-02-03-00", DAY)
    await world.look_until(THREE + 3600.0)
    assert world.asked == []
    assert len(await Archive(DirectoryPlace(tmp_path)).names()) == 2


async def test_old_ones_go(tmp_path: Path) -> None:
    world = World(tmp_path, THREE + 2 * 3600.0)
    for day in range(5):
        began = THREE - day * DAY
        await world.made(automatic_name("sessions", began), began)
    await world.look_until(THREE + 3 * 3600.0)
    assert await Archive(DirectoryPlace(tmp_path)).names() == [
        automatic_name("sessions", THREE - day * DAY) for day in (1, 0)
    ]


async def test_a_place_that_is_away_is_said_after_the_window(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    world = World(tmp_path, THREE - 300.0, to=str(tmp_path / "file" / "backups"))
    await world.look_until(THREE + 6 * 3600.0, every=120.0)
    assert len(world.alarms) == 1
    assert "Not a directory" in world.alarms[0]


@pytest.mark.parametrize("retention", [0, 2])
async def test_files_of_no_backup_go_after_days(tmp_path: Path, retention: int) -> None:
    world = World(tmp_path, time.time() + 3 * DAY, retention=retention)
    (tmp_path / "monday").mkdir()
    (tmp_path / "monday" / "shard-0000-0123abcd.rdb").write_bytes(b"half")
    (tmp_path / "monday" / "somebodys.rdb").write_bytes(b"x")
    await world.daily.look()
    assert [path.name for path in (tmp_path / "monday").iterdir()] == ["somebodys.rdb"]


async def test_a_folder_that_cannot_be_read_holds_up_no_other(tmp_path: Path) -> None:
    world = World(tmp_path, time.time() + 3 * DAY)
    for day in range(3):
        await world.made(automatic_name("sessions", THREE - day * DAY), THREE - day * DAY)
    strange, half = tmp_path / "a-strange-one", tmp_path / "half"
    for folder in (strange, half):
        folder.mkdir()
        (folder / "shard-0000-0123abcd.rdb").write_bytes(b"half")
    (strange / "manifest.json").mkdir()
    archive = Archive(DirectoryPlace(tmp_path))
    found, faults = await archive.manifests()
    assert (len(found), list(faults)) == (3, ["a-strange-one"])
    assert "Is a directory" in faults["a-strange-one"]

    await world.daily.look()
    assert not half.exists()
    assert (strange / "shard-0000-0123abcd.rdb").exists(), "nobody knows whose it is"
    assert len(await archive.names()) == 2
    world.now += TIDY_EVERY
    await world.daily.look()
    assert len(world.troubles) == 1, "said once"
    assert "Is a directory" in world.troubles[0]

    (strange / "manifest.json").rmdir()
    world.now += TIDY_EVERY
    await world.daily.look()
    assert world.troubles[1:] == [""]
    assert not strange.exists()


@pytest.mark.parametrize("identity", [OTHERS, ""])
async def test_backups_of_another_cluster_of_that_name_are_neither_counted_nor_deleted(
    tmp_path: Path, identity: str
) -> None:
    world = World(tmp_path, THREE - 300.0)
    for day in range(5):
        await world.made(automatic_name("sessions", THREE - day * DAY), THREE - day * DAY, identity)
    await world.look_until(THREE + 6 * 3600.0)
    assert world.asked == []
    assert len(await Archive(DirectoryPlace(tmp_path)).names()) == 5
    assert len(world.alarms) == 1
    for said in (world.alarms[0], world.troubles[0]):
        assert "is of another cluster that is called sessions" in said


async def test_a_cluster_keeps_its_identity() -> None:
    notes = MemoryNotes()
    made = await cluster_identity(notes, "sessions")
    assert len(made) == 16
    assert await cluster_identity(MemoryNotes(notes.notes), "sessions") == made
    assert await cluster_identity(notes, "carts") != made
    assert await cluster_identity(MemoryNotes(), "sessions") != made
