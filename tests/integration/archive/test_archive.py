"""Backups in a directory and in a real S3 server: whole or not there, encrypted or not."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import trio

from shardproxy.archive import (
    AlreadyThereError,
    Archive,
    Key,
    Manifest,
    ManifestError,
    NotThereError,
    PlaceError,
    SealError,
    open_place,
)
from shardproxy.archive.archive import copied, file_context
from shardproxy.archive.objects import PART, ObjectPlace
from shardproxy.archive.place import Stop
from tests.fixtures.s3 import S3
from tests.unit.archive.manifests import file_of, manifest_of

KEY = Key(b"k" * 32)
_numbers = itertools.count()

OpenArchive = Callable[..., Archive]


@pytest.fixture(params=["directory", "s3"])
def archive_at(request: pytest.FixtureRequest, tmp_path: Path) -> OpenArchive:
    """Opens an archive of a place of its own; a second one of that name is the same place."""
    number = next(_numbers)

    def make(key: Key | None = None, name: str = "here") -> Archive:
        if request.param == "directory":
            return Archive(open_place(str(tmp_path / name)), key)
        server: S3 = request.getfixturevalue("s3")
        return Archive(open_place(f"{server.url}/{name}{number}", server.settings), key)

    return make


async def backed_up(archive: Archive, folder: Path, *contents: bytes, name: str = "monday") -> Manifest:
    """A backup with these files."""
    files = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.rdb"
        path.write_bytes(content)
        file = file_of(number, content)
        size, sha256 = await archive.put(path, name, file.file, what=file_context(manifest_of().id, number))
        files.append(replace(file, stored_bytes=size, stored_sha256=sha256))
    return await archive.commit(manifest_of(name, *files))


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
async def test_what_was_put_there_is_fetched(
    archive_at: OpenArchive, tmp_path: Path, key: Key | None
) -> None:
    archive = archive_at(key)
    contents = b"small", os.urandom(2 * PART + 12345)
    assert not await archive.has("monday")
    made = await backed_up(archive, tmp_path, *contents)
    assert await archive.has("monday")
    assert await archive.manifest("monday") == made
    assert (await archive.manifests())[0] == [made]
    for file, content in zip(made.files, contents, strict=True):
        fetched = await archive.at_hand(made, file, tmp_path)
        assert fetched.path.read_bytes() == content
    for stored in await archive.stored("monday"):
        assert stored.name.startswith("monday/")
        assert stored.bytes > 0


async def test_without_a_manifest_there_is_no_backup(archive_at: OpenArchive, tmp_path: Path) -> None:
    archive = archive_at()
    (tmp_path / "x.rdb").write_bytes(b"x")
    await archive.put(tmp_path / "x.rdb", "monday", "shard-0000-0123abcd.rdb", what="")
    assert await archive.names() == ["monday"]
    assert not await archive.has("monday")
    assert await archive.manifests() == ([], {})
    with pytest.raises(NotThereError, match="shardproxy backup list"):
        await archive.manifest("monday")


async def test_a_name_is_taken_once(archive_at: OpenArchive, tmp_path: Path) -> None:
    archive = archive_at()
    first = await backed_up(archive, tmp_path, b"first")
    with pytest.raises(AlreadyThereError, match="take another name"):
        await archive.commit(replace(first, ended=9.0))
    assert await archive.manifest("monday") == first


async def test_a_damaged_file_is_found(archive_at: OpenArchive, tmp_path: Path) -> None:
    archive = archive_at()
    made = await backed_up(archive, tmp_path, b"what was written")
    for damaged in (b"what was WRITTEN", b"what was"):
        (tmp_path / "other").write_bytes(damaged)
        await archive.put(tmp_path / "other", "monday", made.files[0].file, what="")
        with pytest.raises(SealError, match="damaged"):
            await archive.verify(made, made.files[0])
        with pytest.raises(SealError, match="damaged"):
            await archive.fetch(made, made.files[0], tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
    await archive.discard("monday", [made.files[0].file])
    with pytest.raises(NotThereError):
        await archive.verify(made, made.files[0])


async def test_a_copy_is_a_backup_of_its_own(archive_at: OpenArchive, tmp_path: Path) -> None:
    here, there = archive_at(KEY), archive_at(KEY, "there")
    made = await backed_up(here, tmp_path, b"a", os.urandom(100_000))
    copy = copied(made, "kept")
    await here.copy(made, copy, there)
    assert not await there.has("kept")
    copy = await there.commit(copy)
    await here.delete("monday")
    assert await here.names() == []
    for file in copy.files:
        await there.verify(await there.manifest("kept"), file)


async def test_without_the_key_nothing_is_read(archive_at: OpenArchive, tmp_path: Path) -> None:
    made = await backed_up(archive_at(KEY), tmp_path, b"secret")
    without, other = archive_at(), archive_at(Key(b"o" * 32))
    assert (await without.manifests())[0] == [made]
    for archive in (without, other):
        with pytest.raises(ManifestError, match="encrypted with the key"):
            await archive.manifest("monday")
        with pytest.raises(SealError):
            await archive.verify(made, made.files[0])


async def test_progress_is_told(archive_at: OpenArchive, tmp_path: Path) -> None:
    archive = archive_at()
    content = os.urandom(3 << 20)
    (tmp_path / "x.rdb").write_bytes(content)
    seen: list[int] = []
    await archive.put(tmp_path / "x.rdb", "monday", "a.rdb", what="", progress=seen.append)
    assert sum(seen) == len(content)
    assert len(seen) > 1


async def test_an_upload_that_fails_leaves_nothing(s3: S3, tmp_path: Path) -> None:
    place = open_place(f"{s3.url}/failing", s3.settings)

    seen: list[Path] = []

    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield os.urandom(PART)
        deadline = time.monotonic() + 20.0
        while not seen and time.monotonic() < deadline:
            seen.extend(s3.uploads)
        raise RuntimeError("the reader left")

    with pytest.raises(RuntimeError, match="the reader left"):
        await trio.to_thread.run_sync(lambda: place.write("monday/a.rdb", chunks(), size=4 * PART))
    assert seen, "some of it was there"
    assert s3.uploads == []
    assert place.listed("monday") == []


async def test_an_upload_that_is_given_up_leaves_nothing(s3: S3, tmp_path: Path) -> None:
    archive = Archive(open_place(f"{s3.url}/given-up", s3.settings))
    (tmp_path / "x.rdb").write_bytes(os.urandom(4 * PART))
    seen = trio.Event()
    token = trio.lowlevel.current_trio_token()
    ended = trio.Event()

    async with trio.open_nursery() as nursery:

        async def put() -> None:
            await archive.put(
                tmp_path / "x.rdb",
                "monday",
                "a.rdb",
                what="",
                progress=lambda _: trio.from_thread.run_sync(seen.set, trio_token=token),
            )
            ended.set()

        nursery.start_soon(put)
        await seen.wait()
        nursery.cancel_scope.cancel()
    assert not ended.is_set()
    with trio.fail_after(20):
        while s3.uploads:  # noqa: ASYNC110  # nobody tells
            await trio.sleep(0.05)
    assert await archive.names() == []


async def test_s3_that_is_away_is_said_in_time(s3: S3, tmp_path: Path) -> None:
    settings = replace(s3.settings, retry=timedelta(seconds=1))
    archive = Archive(open_place(f"{s3.url}/away", settings))
    s3.kill()
    (tmp_path / "x.rdb").write_bytes(b"x")
    with trio.fail_after(60), pytest.raises(PlaceError, match=r"cannot write monday/a\.rdb to s3://"):
        await archive.put(tmp_path / "x.rdb", "monday", "a.rdb", what="")
    with trio.fail_after(60), pytest.raises(PlaceError):
        await archive.has("monday")
    s3.start()
    await archive.put(tmp_path / "x.rdb", "monday", "a.rdb", what="")
    assert [one.bytes for one in await archive.stored("monday")] == [1]


async def test_a_wrong_secret_is_refused_and_not_shown(s3: S3) -> None:
    settings = replace(s3.settings, secret_access_key="not-it", retry=timedelta(seconds=1))
    with pytest.raises(PlaceError, match="see the key, its rights") as caught:
        await Archive(open_place(s3.url, settings)).has("monday")
    assert "not-it" not in str(caught.value)


async def test_a_bucket_that_is_not_there_is_said(s3: S3) -> None:
    with pytest.raises((PlaceError, NotThereError), match="s3://nobodys"):
        await Archive(open_place("s3://nobodys", s3.settings)).names()


def test_a_stopped_thread_ends_at_its_next_chunk() -> None:
    stop = Stop()
    stop.check()
    stop.set()
    with pytest.raises(Exception):  # noqa: B017
        stop.check()


def test_a_place_is_written_without_secrets(s3: S3) -> None:
    place = open_place("s3://backups/a/b/", s3.settings)
    assert isinstance(place, ObjectPlace)
    assert place.url == "s3://backups/a/b"
    assert s3.secret_access_key not in repr(s3.settings)
