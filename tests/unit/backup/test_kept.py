"""Copies: two of one name do not take each other's files away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shardproxy.archive import AlreadyThereError, Archive, Manifest, PlaceError, UnsureError
from shardproxy.archive.archive import file_context
from shardproxy.archive.directory import DirectoryPlace
from shardproxy.backup.kept import backup_copy
from tests.unit.archive.manifests import file_of, manifest_of


async def backed_up(folder: Path) -> Archive:
    archive = Archive(DirectoryPlace(folder / "backups"))
    (folder / "0.rdb").write_bytes(b"rdb")
    file = file_of(0, b"rdb")
    what = file_context(manifest_of().id, 0)
    size, sha256 = await archive.put(folder / "0.rdb", "monday", file.file, what=what)
    await archive.commit(manifest_of("monday", replace(file, stored_bytes=size, stored_sha256=sha256)))
    return archive


async def test_the_slower_of_two_copies_leaves_the_other_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = await backed_up(tmp_path)
    copy, made = Archive.copy, []

    async def overtaken(*args: object, **values: object) -> None:
        await copy(*args, **values)  # type: ignore[arg-type]
        monkeypatch.setattr(Archive, "copy", copy)
        made.append(await backup_copy(archive, "monday", archive, "kept"))

    monkeypatch.setattr(Archive, "copy", overtaken)
    with pytest.raises(AlreadyThereError, match="take another name"):
        await backup_copy(archive, "monday", archive, "kept")
    assert await archive.manifest("kept") == made[0]
    for file in made[0].files:
        await archive.verify(made[0], file)
    assert len(await archive.stored("kept")) == 2


async def test_files_of_a_copy_stay_where_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = await backed_up(tmp_path)

    async def unsure(archive: Archive, manifest: Manifest) -> Manifest:
        raise UnsureError("timed out")

    monkeypatch.setattr(Archive, "commit", unsure)
    with pytest.raises(PlaceError):
        await backup_copy(archive, "monday", archive, "kept")
    assert len(await archive.stored("kept")) == 1
