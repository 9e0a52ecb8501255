"""The RDB files that are restored: of a backup, or of anybody's."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from shardproxy.archive import Archive, ArchiveError, Manifest
from shardproxy.config.sizes import format_size
from shardproxy.importing.means import Families, Means
from shardproxy.importing.readiness import Coming
from shardproxy.importing.restore.spool import Spool
from shardproxy.importing.wants import RestoreWants
from shardproxy.jobs.interface import JobError, Work
from shardproxy.model import SlotRange
from shardproxy.model.together import unless
from shardproxy.replication.interface import CopyError

HEADER = re.compile(rb"(REDIS|VALKEY)(\d{3,4})")
OLDEST = "2.6"  # of the engines that write what is read


@dataclass(frozen=True, slots=True)
class RdbFile:
    """One of them, at hand."""

    path: Path
    owned: tuple[SlotRange, ...] = ()  # keys of others are leftovers; () = all count
    sha256: str = ""  # that it has to have; empty = nobody said


@dataclass(frozen=True, slots=True)
class Restored:
    """What is restored, before any of it was read."""

    title: str
    coming: Coming
    keys: int = 0  # 0 = not known
    leftovers: int = 0  # known ones
    cut: str = ""  # how its shards belong together
    manifest: Manifest | None = None


async def described(means: Means, cluster: str, wants: RestoreWants) -> Restored:
    """What manifest or headers say; raise JobError."""
    if wants.files:
        sizes = await trio.to_thread.run_sync(_headers_read, wants.files)
        title = f"{len(wants.files)} RDB {'file' if len(wants.files) == 1 else 'files'}"
        return Restored(title, Coming((), {}, bytes=sum(sizes.values())))
    archive = await archive_opened(means, cluster, wants)
    try:
        manifest = await archive.manifest(wants.name)
    except ArchiveError as error:
        raise JobError(str(error)) from None
    databases = {number for file in manifest.files for number in file.databases}
    return Restored(
        f"backup {manifest.name} of {manifest.cluster} in {archive.url}",
        Coming(
            tuple(sorted({file.engine for file in manifest.files if file.engine})),
            dict.fromkeys(databases, 1),
            bytes=manifest.bytes,
        ),
        keys=manifest.keys,
        leftovers=sum(file.strays for file in manifest.files),
        cut="all shards at one moment"
        if manifest.cut.is_fenced
        else f"not of one moment: {manifest.cut.why}",
        manifest=manifest,
    )


async def archive_opened(means: Means, cluster: str, wants: RestoreWants) -> Archive:
    """Raise JobError."""
    try:
        return await means.archive(cluster, wants.place, wants.key_file, unencrypted=wants.unencrypted)
    except ArchiveError as error:
        raise JobError(str(error)) from None


def owned_slots(manifest: Manifest, families: Families) -> tuple[tuple[SlotRange, ...], ...]:
    """Whose keys count, by file; raise JobError when that cannot be told any more."""
    if manifest.families == families:
        return tuple(file.slots for file in manifest.files)
    if strays := sum(file.strays for file in manifest.files):
        raise JobError(
            f"{manifest.name} has {strays} keys that were left over from moves of slots, and which they are"
            " went by other key families than the cluster has: restore it into one with those families"
        )
    return ()


@asynccontextmanager
async def at_hand(
    means: Means, cluster: str, wants: RestoreWants, restored: Restored, work: Work
) -> AsyncIterator[tuple[RdbFile, ...]]:
    """Have the files on this machine while the block runs, all or those there were before it was given up.

    Raise JobError.
    """
    manifest = restored.manifest
    if manifest is None:
        yield tuple(RdbFile(Path(file)) for file in wants.files)
        return
    archive = await archive_opened(means, cluster, wants)
    owned = owned_slots(manifest, means.families_of(cluster)) or ((),) * len(manifest.files)
    with _failing():
        size = _to_fetch(archive, manifest)
    spool = await trio.to_thread.run_sync(_spool_made, means.spool(cluster), size)
    try:
        files: list[RdbFile] = []
        told = _Told(work, restored.coming.bytes)
        for file, slots in zip(manifest.files, owned, strict=True):
            if work.is_aborted:
                break
            fetch = partial(archive.at_hand, manifest, file, spool.path, progress=told.add)
            with _failing():
                fetched = await unless(work.wait_aborted, fetch)
            if fetched is None:
                break
            files.append(RdbFile(fetched.path, slots, file.sha256))
        yield tuple(files)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(spool.remove)


async def summed(means: Means, cluster: str, files: tuple[RdbFile, ...]) -> tuple[Coming, str]:
    """What files hold, and what they are known by, each read whole; raise JobError for unknown types."""
    engines: set[str] = set()
    databases: dict[int, int] = {}
    modules: set[str] = set()
    size = version = longest = 0
    known_by = hashlib.sha256()
    for file in files:
        try:
            summary = await means.rdb_read(file.path, means.families_of(cluster))
        except CopyError as error:
            raise JobError(f"{file.path}: {error}; nothing was restored") from None
        if summary.engine:
            engines.add(summary.engine)
        for number in summary.databases:
            databases[number] = databases.get(number, 0) + 1
        modules |= set(summary.modules)
        size += summary.bytes
        known_by.update(f"{summary.bytes} {summary.sha256}\n".encode())
        version, longest = max(version, summary.version), max(longest, summary.longest)
    coming = Coming(
        tuple(sorted(engines)),
        databases,
        bytes=size,
        values_of=frozenset(modules),
        version=version,
        longest=longest,
    )
    return coming, known_by.hexdigest()


def _to_fetch(archive: Archive, manifest: Manifest) -> int:
    return sum(file.bytes for file in manifest.files if archive.path_of(manifest, file) is None)


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    """What is wrong with a backup, or with the disk it is fetched to, is what the job says."""
    try:
        yield
    except ArchiveError as error:
        raise JobError(f"{error}; nothing was restored") from None
    except OSError as error:
        raise JobError(f"the backup cannot be fetched: {error.strerror}; nothing was restored") from None
    except ValueError as error:  # as a name with a NUL
        raise JobError(f"the backup names a file that cannot be: {error}; nothing was restored") from None


def _spool_made(root: Path, size: int) -> Spool:
    try:
        spool = Spool.make(root)
        if size > (free := shutil.disk_usage(root).free):
            spool.remove()
            raise JobError(
                f"the backup has to be fetched first, which takes {format_size(size)}, and {root} has"
                f" {format_size(free)} free; nothing was restored"
            )
        return spool
    except OSError as error:
        raise JobError(f"{root}: {error.strerror}; nothing was restored") from None


def _headers_read(files: tuple[str, ...]) -> Mapping[str, int]:
    """Bytes of each; raise JobError where one is no RDB."""
    sizes: dict[str, int] = {}
    for name in files:
        try:
            with Path(name).open("rb") as file:
                head = file.read(10)
            sizes[name] = Path(name).stat().st_size
        except OSError as error:
            raise JobError(
                f"{name}: {error.strerror}: it has to be on the machine whose proxy leads"
            ) from None
        if HEADER.match(head) is None:
            raise JobError(f"{name} is no RDB file: it does not begin with REDIS or VALKEY")
    return sizes


class _Told:
    """Shows how much was fetched, of which other threads tell."""

    def __init__(self, work: Work, total: int) -> None:
        self._work, self._total, self._done = work, total, 0
        self._trio = trio.lowlevel.current_trio_token()

    def add(self, count: int) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._trio.run_sync_soon(self._show, count)

    def _show(self, count: int) -> None:
        self._done += count
        text = f"{format_size(self._done)} of {format_size(self._total)} read and verified"
        self._work.show("fetching", what="bytes", done=self._done, total=self._total, text=text)
