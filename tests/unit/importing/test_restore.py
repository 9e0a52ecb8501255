"""The restore job: what it refuses before anything is written, and where it goes on."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from shardproxy.archive import Cut, Manifest, Origin, ShardFile
from shardproxy.importing.restore import RestoreWorker
from shardproxy.jobs.interface import JobError
from shardproxy.model import SlotRange
from shardproxy.replication.interface import CopyError
from tests.unit.importing.make import CLUSTER, Desk, Engines, FakeLoader, FakeWork, World, summary_of, until


@pytest.fixture
def rdb(tmp_path: Path) -> str:
    path = tmp_path / "dump.rdb"
    path.write_bytes(b"REDIS0010" + b"\xff" + bytes(8))
    return str(path)


@pytest.fixture
def world() -> World:
    return World(summary=summary_of(), does=[restore_all])


async def restore_all(loader: FakeLoader) -> None:
    await trio.sleep(1)
    loader.status = replace(loader.status, keys=10, positions=(100,), expired=2)


async def never_end(loader: FakeLoader) -> None:
    loader.status = replace(loader.status, keys=4, positions=(40,))
    await trio.sleep_forever()


def failing(why: str) -> Any:
    async def fail(loader: FakeLoader) -> None:
        await trio.sleep(1)
        loader.status = replace(loader.status, keys=4, positions=(40,))
        raise CopyError(why)

    return fail


async def run(world: World, desk: Desk, work: FakeWork) -> Any:
    return await RestoreWorker(world.means).run(desk, work)


async def left_behind(world: World, rdb: str) -> dict[str, Any]:
    """The memo of a leader that went on to byte 40 and is no more."""
    work = FakeWork({"rdb": [rdb]})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, world, Desk(), work)
        await until(lambda: work.memos and work.memos[-1]["positions"] == [40])
        nursery.cancel_scope.cancel()
    return work.memos[-1]


async def test_all_is_restored_and_said(world: World, rdb: str, autojump_clock: Any) -> None:
    result = await run(world, Desk(), FakeWork({"rdb": [rdb]}))
    assert (result["keys"], result["text"]) == (10, "10 keys restored, 2 expired before")
    (loader,) = world.loaders
    assert not loader.plan.replaces
    assert [str(target.end.address) for target in loader.plan.targets] == ["10.0.0.1:7000", "10.0.0.1:7001"]
    assert loader.is_stopped


@pytest.mark.parametrize(
    ("fields", "engines", "why"),
    [
        ({}, Engines(keys={7001: 3}), "the cluster is not empty: 10.0.0.1:7001 has 3 keys"),
        ({"engine": "redis 7.4.1"}, Engines(), "does not read what redis 7.4.1 writes"),
        ({"engine": "valkey 9.0.0"}, Engines(), "does not read what valkey 9.0.0 writes"),
        ({"engine": "", "version": 12}, Engines(), "does not read RDB version 12"),
        ({"modules": ("ReJSON-RL",)}, Engines(), "there are values of the module types ReJSON-RL"),
        ({"longest": 1 << 20}, Engines(max_value=1 << 20), "there is a value of 1mb, and 10.0.0.1:7000"),
        ({"databases": (0, 3)}, Engines(), "there are keys in database 3, and a cluster of 2 shards"),
        ({"bytes": 1 << 30}, Engines(max_memory=1 << 20), "are to come, and"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_written(
    world: World, rdb: str, fields: dict[str, Any], engines: Engines, why: str, autojump_clock: Any
) -> None:
    world.summary, world.engines = summary_of(**fields), engines
    with pytest.raises(JobError) as refused:
        await run(world, Desk(), FakeWork({"rdb": [rdb]}))
    assert why in str(refused.value)
    assert "Nothing was restored" in str(refused.value)
    assert not world.loaders


async def test_unknown_types_are_refused_before_anything_is_written(
    world: World, rdb: str, autojump_clock: Any
) -> None:
    world.summary = CopyError("type 99 at byte 17 is not known")
    with pytest.raises(JobError, match="type 99 at byte 17 is not known; nothing was restored"):
        await run(world, Desk(), FakeWork({"rdb": [rdb]}))
    assert not world.loaders


async def test_a_failure_goes_on_where_it_was_and_takes_what_is_there_as_its_own(
    world: World, rdb: str, autojump_clock: Any
) -> None:
    world.does = [failing("the connection was closed"), restore_all]
    result = await run(world, Desk(), FakeWork({"rdb": [rdb]}))
    assert [loader.plan.positions for loader in world.loaders] == [(), (40,)]
    assert not any(loader.plan.replaces for loader in world.loaders)
    assert result["keys"] == 14


async def test_what_comes_no_further_is_given_up(world: World, rdb: str, autojump_clock: Any) -> None:
    world.does = [failing("the connection was closed")]
    with pytest.raises(JobError, match=r"the connection was closed\. 24 keys are restored"):
        await run(world, Desk(), FakeWork({"rdb": [rdb]}))
    assert len(world.loaders) == 6, "five that came no further than the first"


@pytest.mark.parametrize(
    "why",
    [
        'a:1: the key "k" is there already: restore into an empty cluster, or with --replace',
        'a:1 is full at the key "k": raise its maxmemory, or restore into more shards',
    ],
)
async def test_what_will_not_get_better_is_tried_once(
    world: World, rdb: str, why: str, autojump_clock: Any
) -> None:
    world.does = [failing(why)]
    with pytest.raises(JobError, match="with --replace"):
        await run(world, Desk(), FakeWork({"rdb": [rdb]}))
    assert len(world.loaders) == 1


async def test_another_primary_may_lack_some_so_it_begins_anew(
    world: World, rdb: str, autojump_clock: Any
) -> None:
    world.does = [never_end, restore_all]
    desk = Desk()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, world, desk, FakeWork({"rdb": [rdb]}))
        await until(lambda: world.loaders and world.loaders[0].status.keys)
        desk.fence(1)
        await until(lambda: world.loaders[0].is_stopped)
        await trio.sleep(10)
        assert len(world.loaders) == 1
        desk.records = Desk().records
        desk.promote(1)
    assert [loader.plan.positions for loader in world.loaders] == [(), ()]
    assert str(world.loaders[1].plan.targets[1].end.address) == "10.0.0.2:7001"
    assert world.loaders[1].plan.replaces


async def test_the_next_leader_goes_on_where_the_last_one_was(
    world: World, rdb: str, autojump_clock: Any
) -> None:
    world.does = [never_end, restore_all]
    begun = await left_behind(world, rdb)
    world.engines.keys = {7000: 4}  # its own
    result = await run(world, Desk(), FakeWork({"rdb": [rdb]}, begun))
    assert [loader.plan.positions for loader in world.loaders] == [(), (40,)]
    assert not world.loaders[1].plan.replaces
    assert result["keys"] == 10


async def test_a_pause_keeps_its_place(world: World, rdb: str, autojump_clock: Any) -> None:
    world.does = [never_end, restore_all]
    work = FakeWork({"rdb": [rdb]})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, world, Desk(), work)
        await until(lambda: world.loaders and world.loaders[0].status.keys)
        work.is_paused = True
        await until(lambda: world.loaders[0].is_stopped)
        await trio.sleep(10)
        assert len(world.loaders) == 1
        work.is_paused = False
    assert world.loaders[1].plan.positions == (40,)


async def test_giving_up_says_what_stays(world: World, rdb: str, autojump_clock: Any) -> None:
    world.does = [never_end]
    work = FakeWork({"rdb": [rdb]})
    results: list[Any] = []

    async def restore() -> None:
        results.append(await run(world, Desk(), work))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(restore)
        await until(lambda: world.loaders)
        work.is_aborted = True
    assert "FLUSHALL empties the cluster" in results[0]["text"]
    assert world.loaders[0].is_stopped


async def test_one_shard_gets_all_databases_and_several_get_one(
    world: World, rdb: str, autojump_clock: Any
) -> None:
    await run(world, Desk(shards=2), FakeWork({"rdb": [rdb]}))
    world.summary = summary_of(databases=(0, 3))
    await run(world, Desk(shards=1), FakeWork({"rdb": [rdb]}))
    assert [loader.plan.database for loader in world.loaders] == [0, None]


@pytest.mark.parametrize(
    ("wants", "why"),
    [
        ({}, "restore what"),
        ({"rdb": ["/a"], "from": "/b", "name": "c"}, "restore what"),
        ({"from": "/b"}, "which backup"),
        ({"rdb": ["a.rdb"]}, "no absolute path"),
        ({"rdb": "a"}, "a list of paths"),
        ({"rdb": ["/nonexistent/x.rdb"]}, "has to be on the machine"),
        ({"from": "backups", "name": "one"}, "no absolute path"),
        ({"rdb": ["/etc/hostname"]}, "is no RDB file"),
    ],
)
async def test_what_cannot_be_meant_is_refused(world: World, wants: dict[str, Any], why: str) -> None:
    with pytest.raises(JobError, match=why):
        await RestoreWorker(world.means).plan(Desk(), wants)


async def test_a_plan_says_what_would_be_done(world: World, rdb: str) -> None:
    plan = await RestoreWorker(world.means).plan(Desk(), {"rdb": [rdb], "match": "user:*"})
    assert plan["lines"][:2] == ["restore 1 RDB file: 18b", "into the 2 shards of sessions"]
    assert "only keys that match user:*" in plan["lines"]
    assert not world.loaders


async def test_other_files_of_the_same_names_are_not_gone_on_with(
    world: World, rdb: str, autojump_clock: Any
) -> None:
    """As on the machine of another leader: a place in one file is none in the other."""
    world.does = [never_end, restore_all]
    begun = await left_behind(world, rdb)
    world.summary = summary_of(sha256="other")
    with pytest.raises(JobError, match="not those that the restore began with"):
        await run(world, Desk(), FakeWork({"rdb": [rdb]}, begun))
    assert len(world.loaders) == 1
    world.summary = summary_of()
    await run(world, Desk(), FakeWork({"rdb": [rdb]}, begun))
    assert world.loaders[-1].plan.positions == (40,)


class Fetching:
    """An archive of one file that has to be fetched, which does what a test says."""

    url = "s3://backups"

    def __init__(self, fetches: Any) -> None:
        self._fetches = fetches

    async def manifest(self, name: str) -> Manifest:
        file = ShardFile(
            0, "a", "a.rdb", (SlotRange(0, 16383),), "", "", "", "", 0, 1, "", 1, "", 1, 0, 0, 0, "", (0,)
        )
        return Manifest("x", name, CLUSTER, Origin.MANUAL, "1", 0.0, 0.0, Cut(True), (file,))

    def path_of(self, manifest: Manifest, file: ShardFile) -> None:
        return None

    async def at_hand(self, manifest: Manifest, file: ShardFile, spool: Path, **_: Any) -> Any:
        return await self._fetches(spool)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; nothing was restored"),
        (ValueError("embedded null byte"), "embedded null byte; nothing was restored"),
    ],
)
async def test_a_backup_that_cannot_be_fetched_says_why(
    world: World, tmp_path: Path, error: Exception, why: str, autojump_clock: Any
) -> None:
    async def fails(spool: Path) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    world.archive, world.spool = Fetching(fails), tmp_path / "spool"
    with pytest.raises(JobError, match=why):
        await run(world, Desk(), FakeWork(BACKUP))
    assert not list(world.spool.iterdir())
    assert not world.loaders


async def test_a_file_that_is_being_fetched_is_given_up_at_once(world: World, tmp_path: Path) -> None:
    work = FakeWork(BACKUP)

    async def hangs(spool: Path) -> None:
        (spool / "a.rdb").write_text("secret")
        work.is_aborted = True
        await trio.sleep_forever()

    world.archive, world.spool = Fetching(hangs), tmp_path / "spool"
    with trio.fail_after(20):
        result = await run(world, Desk(), work)
    assert result["text"].startswith("given up: 0 keys restored")
    assert not list(world.spool.iterdir())
    assert not world.loaders


BACKUP = {"from": "s3://backups", "name": "nightly"}


async def test_a_key_may_be_called_as_an_error_is(world: World, rdb: str, autojump_clock: Any) -> None:
    name = "OOM BUSYKEY is there already: restore into an empty cluster, or with --replace"
    world.does = [failing(f'a:1 refuses the key "{name}": LOADING'), restore_all]
    result = await run(world, Desk(), FakeWork({"rdb": [rdb]}))
    assert len(world.loaders) == 2
    assert result["keys"] == 14
