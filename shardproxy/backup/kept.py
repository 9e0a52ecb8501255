"""What is done with backups that are there; no proxy is needed for it. Everything raises ArchiveError."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import trio

from shardproxy.archive import (
    AlreadyThereError,
    Archive,
    Manifest,
    ManifestError,
    NotThereError,
    Origin,
    PlaceError,
    Progress,
    SealError,
    ShardFile,
    UnsureError,
)
from shardproxy.archive.archive import copied, nobody
from shardproxy.archive.names import is_file_name, why_not_a_name
from shardproxy.archive.place import Place
from shardproxy.archive.spool import spooled
from shardproxy.model.together import each
from shardproxy.replication.interface import RdbSummary
from shardproxy.replication.rdb import RdbError, rdb_read


async def backup_verify(archive: Archive, name: str, spool: Path, *, progress: Progress = nobody) -> Manifest:
    """Read all of it to the end: as it was stored, opened with its key, parsed, counted again."""
    manifest = await archive.manifest(name)
    async with spooled(spool) as folder:
        for file in manifest.files:
            fetched = await archive.at_hand(manifest, file, folder, progress=progress)
            try:
                found = await rdb_read(fetched.path, owned=file.slots, families=manifest.families)
            except RdbError as e:
                raise SealError(f"{file.file} of {name} is no RDB that this version reads: {e}") from e
            finally:
                if fetched.is_own:
                    await trio.Path(fetched.path).unlink(missing_ok=True)
            if (why := _why_not_same(file, found)) is not None:
                raise SealError(f"{file.file} of {name} is not what was backed up: {why}")
    return manifest


def _why_not_same(file: ShardFile, found: RdbSummary) -> str | None:
    """What differs from what was counted when it was written."""
    said = {
        "bytes": (file.bytes, found.bytes),
        "sha256": (file.sha256, found.sha256),
        "keys": (file.keys, found.keys),
        "strays": (file.strays, found.strays),
        "functions": (file.functions_sha256, found.functions_sha256),
    }
    differing = [f"{what} {was}, now {now}" for what, (was, now) in said.items() if was != now]
    return differing[0] if differing else None


async def backup_copy(
    archive: Archive, name: str, to: Archive, new_name: str, *, progress: Progress = nobody
) -> Manifest:
    """Copy it as it is stored; the copy is kept until it is deleted. What fails for sure leaves nothing."""
    if (why := why_not_a_name(new_name)) is not None:
        raise ManifestError(why)
    manifest = await archive.manifest(name)
    if await to.has(new_name):
        raise AlreadyThereError(f"there is a backup {new_name} in {to.url} already: take another name")
    copy = replace(copied(manifest, new_name), origin=Origin.COPY)
    stays = False
    try:
        await archive.copy(manifest, copy, to, progress=progress)
        made = await to.commit(copy)
        stays = True
    except UnsureError:
        stays = True
        raise
    finally:
        if not stays:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEAN_WITHIN):
                await to.discard(new_name, [file.file for file in copy.files])
    return made


CLEAN_WITHIN = 30.0  # seconds


async def backup_delete(archive: Archive, name: str) -> int:
    """Take it away, or what is left of one that was never whole; return the bytes that frees."""
    stored = await archive.stored(name)
    if not any(is_file_name(one.name.rpartition("/")[2]) for one in stored) and not await archive.has(name):
        raise NotThereError(f"there is no backup {name} in {archive.url}: shardproxy backup list")
    return await archive.delete(name)


async def backup_export(
    archive: Archive, name: str, to: Place, *, progress: Progress = nobody
) -> Sequence[tuple[ShardFile, str]]:
    """Write one plain RDB per shard, called NAME-0001.rdb and so on, as ElastiCache calls and takes them."""
    manifest = await archive.manifest(name)
    named = [(file, f"{name}-{number:04}.rdb") for number, file in enumerate(manifest.files, start=1)]
    for _, target in named:
        if await trio.to_thread.run_sync(_is_there, to, target):
            raise PlaceError(f"{target} is in {to.url} already: export to another place")
    await each(lambda pair: archive.export(manifest, pair[0], to, pair[1], progress=progress), named)
    return named


def _is_there(place: Place, name: str) -> bool:
    try:
        next(place.chunks(name), None)
    except NotThereError:
        return False
    return True
