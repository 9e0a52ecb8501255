"""A backup is made whole, or nothing of it is left; every engine keeps the settings it had."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from shardproxy.archive import AlreadyThereError, Archive, Manifest, Origin, PlaceError, PlaceFullError
from shardproxy.archive.directory import DirectoryPlace
from shardproxy.archive.place import Place
from shardproxy.backup import making, settings, storing
from shardproxy.backup.create import BackupWorker
from shardproxy.config import Backups
from shardproxy.jobs.interface import JobError
from tests.unit.archive.manifests import OURS, file_of, manifest_of
from tests.unit.backup.fakes import CLUSTER, FakeWork, Site, never_served, primary, replica

MONDAY = {"name": "monday"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(3)
    made.config = configured(tmp_path)
    return made


def configured(folder: Path, **values: Any) -> Backups:
    (folder / "spool").mkdir(exist_ok=True)
    return Backups(to=str(folder / "backups"), spool=str(folder / "spool"), **values)


async def run(site: Site, work: FakeWork | None = None, **wants: Any) -> Manifest:
    """Make it; return what is there then."""
    work = work or FakeWork({**MONDAY, **wants})
    result = await BackupWorker(site.tools).run(site.desk, work)
    archive = await settings.archive_open(site.config)
    manifest = await archive.manifest("monday")
    assert result["keys"] == manifest.keys
    return manifest


def left(folder: Path) -> list[str]:
    """What is in the place and in the spool."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_a_whole_backup(site: Site, tmp_path: Path) -> None:
    work = FakeWork(MONDAY)
    made = await run(site, work)
    assert (made.cluster, made.cluster_id) == (CLUSTER, OURS)
    assert made.origin is Origin.MANUAL
    assert made.cut.is_fenced
    assert made.cut.at == 1000.0
    assert [(one.number, one.node, one.role) for one in made.files] == [
        (number, str(replica(number)), "replica") for number in range(3)
    ]
    assert [str(slots) for one in made.files for slots in one.slots] == [
        "0-5460",
        "5461-10921",
        "10922-16383",
    ]
    assert left(tmp_path) == sorted(
        ["backups/monday/manifest.json", *(f"backups/monday/{one.file}" for one in made.files)]
    )
    archive = Archive(DirectoryPlace(tmp_path / "backups"))
    for file in made.files:
        await archive.verify(made, file)
    assert work.shown == ["looking", "fencing", "reading", "storing", "vouching"]
    assert all(snapshot.is_stopped for snapshot in site.snapshots)


async def test_writes_wait_while_all_fork_and_not_longer(site: Site) -> None:
    await run(site)
    assert [[hold is not None for hold in holds] for holds in site.holds_at_start] == [[True] * 3] * 3
    assert all(hold is None or hold.only_writes for holds in site.desk.history for hold in holds)
    assert site.desk.holds == [None] * 3


async def test_nodes_fork_at_once_and_have_their_setting_back(site: Site) -> None:
    site.engines[replica(1)].delay = "17"
    site.engines[replica(2)].delay = "0"
    await run(site)
    assert site.engines[replica(0)].settings == ["0", "5"]
    assert site.engines[replica(1)].settings == ["0", "17"]
    assert site.engines[replica(2)].settings == []
    assert all(site.engines[primary(number)].settings == [] for number in range(3))


async def test_one_shard_needs_no_fence(tmp_path: Path) -> None:
    site = Site(1, replicas=False)
    site.config = configured(tmp_path)
    made = await run(site)
    assert made.cut.is_fenced
    assert made.cut.held == 0.0
    assert site.desk.history == []
    assert [(one.node, one.role) for one in made.files] == [(str(primary(0)), "primary")]


async def test_shards_without_slots_have_nothing(site: Site) -> None:
    site.with_record(2, slots=())
    made = await run(site)
    assert [one.number for one in made.files] == [0, 1]


@pytest.mark.parametrize(
    ("delay", "why_not_set", "why"),
    [
        (None, None, "10.0.0.2:7001 do not tell repl-diskless-sync-delay (CONFIG GET)"),
        ("5", "NOPERM no", "node 10.0.0.2:7001: NOPERM no"),
    ],
)
async def test_nodes_that_fork_when_they_like_are_not_waited_for(
    site: Site, delay: str | None, why_not_set: str | None, why: str
) -> None:
    site.engines[replica(1)].delay, site.engines[replica(1)].why_not_set = delay, why_not_set
    made = await run(site)
    assert (made.cut.is_fenced, made.cut.why) == (False, why)
    assert site.desk.history == []


async def test_who_wants_no_fence_holds_nothing(site: Site) -> None:
    made = await run(site, fence=False)
    assert not made.cut.is_fenced
    assert site.desk.history == []


async def test_a_store_that_is_slow_is_asked_before_anything_is_held(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = FakeWork.save

    async def slowly(work: FakeWork, memo: Mapping[str, Any]) -> None:
        assert memo != work.memo, "a note that stays as it is is not written"
        await trio.sleep(0.2)
        await save(work, memo)

    monkeypatch.setattr(FakeWork, "save", slowly)
    made = await run(site)
    assert "the store takes 2" in made.cut.why
    assert site.desk.history == []


async def test_one_that_cannot_be_fenced_says_so(site: Site) -> None:
    site.desk.served = never_served
    made = await run(site)
    assert (made.cut.is_fenced, made.cut.why) == (False, "proxy b does not hold yet")


async def test_a_node_that_saves_is_waited_for(site: Site) -> None:
    site.engines[replica(0)].is_saving = True
    async with trio.open_nursery() as nursery:

        async def saved() -> None:
            await trio.sleep(0.3)
            assert site.read == []
            site.engines[replica(0)].is_saving = False

        nursery.start_soon(saved)
        assert (await run(site)).cut.is_fenced


async def test_a_node_that_fails_is_read_anew(site: Site, tmp_path: Path) -> None:
    site.whys = ["", "it closed the connection"]
    made = await run(site)
    assert len(site.read) == 6
    assert [path for path in left(tmp_path) if "manifest" not in path] == [
        f"backups/monday/{one.file}" for one in made.files
    ]


async def test_nodes_that_fail_leave_nothing(site: Site, tmp_path: Path) -> None:
    site.whys = ["it closed the connection"] * 6
    with pytest.raises(
        JobError, match=r"shard \d, read from 10\.0\.0\.2:700\d: it closed the connection; no backup was made"
    ):
        await run(site)
    assert left(tmp_path) == []
    assert site.engines[replica(0)].settings == ["0", "5"] * 2


async def test_a_name_is_taken_once(site: Site) -> None:
    await run(site)
    reads = len(site.read)
    with pytest.raises(JobError, match="there is a backup monday"):
        await run(site)
    assert len(site.read) == reads


async def test_given_up_leaves_nothing(site: Site, tmp_path: Path) -> None:
    work = FakeWork(MONDAY)
    site.reads_for = 3600.0
    async with trio.open_nursery() as nursery:

        async def give_up() -> None:
            while work.shown[-1:] != ["reading"]:  # noqa: ASYNC110  # nobody tells
                await trio.sleep(0.001)
            work.aborted.set()

        nursery.start_soon(give_up)
        result = await BackupWorker(site.tools).run(site.desk, work)
    assert "nothing of it is left" in result["text"]
    assert work.shown[-1] == "reading"
    assert left(tmp_path) == []
    assert site.desk.holds == [None] * 3
    assert site.engines[replica(0)].settings == ["0", "5"]


EARLIER = "0123abcd0123abcd"  # the id of an earlier leader's attempt


def half(folder: Path) -> Path:
    """What an earlier leader has put there."""
    (folder / "backups" / "monday").mkdir(parents=True)
    path = folder / "backups" / "monday" / f"shard-0000-{EARLIER[:8]}.rdb"
    path.write_bytes(b"half")
    return path


async def test_what_an_earlier_leader_left_goes_once_the_name_is_taken(site: Site, tmp_path: Path) -> None:
    earlier = half(tmp_path)
    others = earlier.with_name("shard-0000-76543210.rdb")
    others.write_bytes(b"somebody's")
    site.engines[replica(0)].delay = "0"
    memo = {"ids": [EARLIER], "delays": {str(replica(0)): 5}}
    work = FakeWork(MONDAY, memo=memo)
    made = await run(site, work)
    assert work.memo["ids"] == [EARLIER, made.id]
    assert not earlier.exists()
    assert others.exists()
    assert site.engines[replica(0)].delay == "5"


async def test_what_a_dead_leader_completed_is_not_made_again(site: Site) -> None:
    work = FakeWork(MONDAY)
    made = await run(site, work)
    again = await run(site, FakeWork(MONDAY, memo=work.memo))
    assert again == made
    assert len(site.read) == 3


async def test_an_earlier_leader_that_is_still_at_it_may_complete_its_own(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut off from the store, and not from the place: what it vouches for has all its files."""
    earlier = half(tmp_path)
    commit = Archive.commit

    async def later(archive: Archive, manifest: Manifest) -> Manifest:
        assert earlier.exists()
        await commit(archive, manifest_of("monday", replace(file_of(0, b"half"), file=earlier.name)))
        return await commit(archive, manifest)

    monkeypatch.setattr(Archive, "commit", later)
    made = await run(site, FakeWork(MONDAY, memo={"ids": ["f" * 16, EARLIER], "delays": {}}))
    assert made.id == EARLIER
    assert left(tmp_path) == ["backups/monday/manifest.json", f"backups/monday/{earlier.name}"]


class Doubtful:
    """A place whose `create` fails once it has written, or before."""

    def __init__(self, place: Place, error: Exception, *, writes: bool) -> None:
        self._place, self._error, self._writes = place, error, writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)

    def create(self, name: str, content: bytes) -> None:
        if self._writes:
            self._place.create(name, content)
        raise self._error


def use(monkeypatch: pytest.MonkeyPatch, place: Any) -> None:
    async def opened(*args: object) -> Archive:
        return Archive(place)

    monkeypatch.setattr("shardproxy.backup.create.archive_open", opened)


@pytest.mark.parametrize("error", [PlaceError("timed out"), AlreadyThereError("412 at the second try")])
async def test_a_manifest_that_was_written_whatever_was_said_of_it_is_a_backup(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    use(monkeypatch, Doubtful(DirectoryPlace(tmp_path / "backups"), error, writes=True))
    made = await run(site)
    assert len(left(tmp_path)) == 1 + len(made.files)


async def test_files_stay_where_nobody_knows_whether_the_manifest_is_written(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Doubtful(DirectoryPlace(tmp_path / "backups"), PlaceError("timed out"), writes=False))
    with pytest.raises(JobError, match="timed out; it may be there all the same, or yet come"):
        await run(site)
    assert len(left(tmp_path)) == 3


@pytest.mark.parametrize("is_shut_down", [False, True])
async def test_one_that_is_being_vouched_for_is_seen_through(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_shut_down: bool
) -> None:
    """Given up, or shut down, while the manifest is written: it is there with all its files."""
    begun, goes_on = threading.Event(), threading.Event()
    create = DirectoryPlace.create

    def slowly(place: DirectoryPlace, name: str, content: bytes) -> None:
        begun.set()
        assert goes_on.wait(20.0)
        create(place, name, content)

    monkeypatch.setattr(DirectoryPlace, "create", slowly)
    work = FakeWork(MONDAY)
    results = []
    async with trio.open_nursery() as nursery:

        async def make() -> None:
            results.append(await BackupWorker(site.tools).run(site.desk, work))

        nursery.start_soon(make)
        while not begun.is_set():  # noqa: ASYNC110  # a thread's
            await trio.sleep(0.001)
        if is_shut_down:
            nursery.cancel_scope.cancel()
        else:
            work.aborted.set()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked(0.05)
        goes_on.set()
    archive = await settings.archive_open(site.config)
    made = await archive.manifest("monday")
    for file in made.files:
        await archive.verify(made, file)
    assert work.memo["ids"] == [made.id]
    assert is_shut_down or results[0]["complete"] is True


async def test_every_step_that_matters_is_remembered_first(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memo has what a next leader has to set back, and to know, before anything of it can be there."""
    work = FakeWork(MONDAY)
    seen: list[tuple[dict[str, Any], list[str]]] = []
    site_snapshot = site.snapshot

    def snapshot(*args: Any, **kwargs: Any) -> Any:
        seen.append((work.memo, site.engines[replica(0)].settings.copy()))
        return site_snapshot(*args, **kwargs)

    monkeypatch.setattr(site, "snapshot", snapshot)
    made = await run(site, work)
    memo, settings_then = seen[0]
    assert settings_then == ["0"]
    assert memo["delays"] == {str(replica(number)): 5 for number in range(3)}
    assert memo["ids"] == [made.id]


class Flaky:
    """A place that fails now and then; nothing is written straight to it."""

    def __init__(self, place: Place, errors: list[Exception]) -> None:
        self._place, self._errors = place, errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)

    def write(self, name: str, chunks: Iterable[bytes], *, size: int) -> None:
        def failing() -> Iterator[bytes]:
            yield from chunks
            if self._errors:
                raise self._errors.pop(0)

        self._place.write(name, failing(), size=size)

    def path_of(self, name: str) -> None:
        return None


def use_flaky(monkeypatch: pytest.MonkeyPatch, folder: Path, errors: list[Exception]) -> None:
    archive = Archive(Flaky(DirectoryPlace(folder / "backups"), errors))

    async def opened(*args: object) -> Archive:
        return archive

    monkeypatch.setattr("shardproxy.backup.create.archive_open", opened)
    monkeypatch.setattr("shardproxy.backup.storing.BACKOFF", (0.001,) * 7)


async def test_a_place_that_is_away_is_tried_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_flaky(monkeypatch, tmp_path, [PlaceError("away") for _ in range(5)])
    made = await run(site)
    assert len(site.read) == 3, "what was read is not read again"
    assert len(left(tmp_path)) == 1 + len(made.files)


async def test_a_place_that_stays_away_leaves_nothing(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_flaky(monkeypatch, tmp_path, [PlaceError("away") for _ in range(100)])
    with pytest.raises(JobError, match="away; no backup was made"):
        await run(site)
    assert left(tmp_path) == []


async def test_files_that_are_there_go_when_the_manifest_cannot_be_written(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def refuse(archive: Archive, manifest: Manifest) -> Manifest:
        seen.extend(left(tmp_path))
        raise AlreadyThereError("somebody was faster")

    monkeypatch.setattr(Archive, "commit", refuse)
    with pytest.raises(JobError, match="somebody was faster; no backup was made"):
        await run(site)
    assert len(seen) == 3
    assert left(tmp_path) == []


async def test_a_full_place_is_not_tried_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [PlaceFullError("full") for _ in range(100)]
    use_flaky(monkeypatch, tmp_path, errors)
    with pytest.raises(JobError, match="full; no backup was made"):
        await run(site)
    assert len(errors) >= 97
    assert left(tmp_path) == []


async def test_engines_that_send_nothing_are_given_up(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.fork = 10_000.0
    monkeypatch.setattr("shardproxy.backup.shots.STALL", 0.3)
    monkeypatch.setattr("shardproxy.backup.making.FORK_WITHIN", 0.1)
    with pytest.raises(JobError, match="nothing came from"):
        await run(site)
    assert left(tmp_path) == []


async def test_encrypted_where_a_key_is_configured(site: Site, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("ab" * 32)
    site.config = configured(tmp_path, key_file=str(tmp_path / "key"))
    made = await run(site)
    assert made.key is not None
    for file in made.files:
        stored = (tmp_path / "backups" / "monday" / file.file).read_bytes()
        assert b"rdb of" not in stored
        archive = await settings.archive_open(site.config)
        await archive.fetch(made, file, tmp_path / "plain")
        assert (tmp_path / "plain").read_bytes() == f"rdb of {file.node}".encode()
        (tmp_path / "plain").unlink()


async def test_a_plan_says_who_is_read_and_changes_nothing(site: Site, tmp_path: Path) -> None:
    plan = await BackupWorker(site.tools).plan(site.desk, MONDAY)
    assert plan["lines"] == [
        f"backup monday of sessions to {tmp_path}/backups",
        *(f"shard {n}: read from 10.0.0.2:700{n} (replica), 1000 bytes in memory" for n in range(3)),
        "fenced: writes wait until all nodes have forked, which is given up after 500 ms",
    ]
    assert site.desk.history == []
    assert not (tmp_path / "backups").exists()
    assert all(engine.settings == [] for engine in site.engines.values())


async def test_what_cannot_be_kept_as_well_as_the_rest_is_said(site: Site) -> None:
    site.engines[replica(1)].modules = ("ReJSON", "bf")
    site.engines[replica(2)].checksum = "no"
    plan = await BackupWorker(site.tools).plan(site.desk, MONDAY)
    assert plan["lines"][-2:] == [
        "shard 1 has modules (ReJSON, bf): shardproxy cannot restore values of theirs",
        "RDBs without a checksum of their own (rdbchecksum no): of shards 2",
    ]
    site.found = {"modules": ("ReJSON-RL",), "is_checked": False}
    result = await BackupWorker(site.tools).run(site.desk, FakeWork(MONDAY))
    made = await (await settings.archive_open(site.config)).manifest("monday")
    assert [(one.rdb_version, one.longest, one.modules, one.is_checked) for one in made.files] == [
        (10, 7, ("ReJSON-RL",), False)
    ] * 3
    assert list(result["warnings"]) == [
        "values of the module type ReJSON-RL (shard 0 has some): shardproxy cannot restore them",
        "RDBs without a checksum of their own (rdbchecksum no): of shards 0, 1, 2",
    ]
    assert all(warning in result["text"] for warning in result["warnings"])


@pytest.mark.parametrize(
    ("wants", "why"),
    [
        ({}, "needs a name"),
        ({"name": "a--b"}, "is no name for a backup"),
        ({"name": "automatic.x"}, "those of scheduled backups"),
        ({"name": "monday", "origin": "automatic"}, "no scheduled backup's name"),
        ({"name": "monday", "origin": "copied"}, "manual, automatic or final"),
        ({"name": "monday", "to": "backups"}, "no absolute path"),
        ({"name": "monday", "to": "ftp://x"}, "neither a directory nor"),
        ({"name": "monday", "to": "/etc/cron.d"}, r'places: \["/etc/cron.d"\]'),
        ({"name": "monday", "where": "x"}, "knows no where"),
    ],
)
async def test_what_is_no_backup_is_refused(site: Site, wants: dict[str, Any], why: str) -> None:
    with pytest.raises(JobError, match=why):
        await BackupWorker(site.tools).plan(site.desk, wants)


async def test_where_to_is_said_somewhere(site: Site) -> None:
    site.config = None
    with pytest.raises(JobError, match="give --to"):
        await BackupWorker(site.tools).plan(site.desk, MONDAY)


def test_what_is_waited_for_has_an_end() -> None:
    assert sum(storing.BACKOFF) < 600.0
    assert making.READS * making.QUIET_WITHIN < 600.0
