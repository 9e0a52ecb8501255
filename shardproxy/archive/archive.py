"""The backups of one place: found, read, put there and taken away, all in threads."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import trio

from shardproxy.archive.errors import (
    AlreadyThereError,
    ArchiveError,
    NotThereError,
    PlaceError,
    PlaceFullError,
    SealError,
    UnsureError,
)
from shardproxy.archive.manifest import (
    MANIFEST,
    MAX_MANIFEST,
    Manifest,
    ShardFile,
    manifest_decode,
    manifest_encode,
)
from shardproxy.archive.names import file_name, is_file_name
from shardproxy.archive.place import CHUNK, FULL, Place, Stop, Stored
from shardproxy.archive.sealing import Key
from shardproxy.model.together import each

TRANSFERS = 4  # files that go to or come from a place at once
READS = 8  # manifests that are read at once

Progress = Callable[[int], None]  # told of every so many bytes, from another thread
T = TypeVar("T")


def nobody(_: int) -> None:
    """Is told of progress, and says nothing."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A shard's RDB on this machine; `is_own` = it was put there for this, and whoever asked removes it."""

    path: Path
    is_own: bool


class Archive:
    """One place, and the key of what is in it. Everything raises ArchiveError."""

    def __init__(self, place: Place, key: Key | None = None) -> None:
        self._place, self._key = place, key
        self._transfers = trio.CapacityLimiter(TRANSFERS)
        self._reads = trio.CapacityLimiter(READS)

    @property
    def url(self) -> str:
        return self._place.url

    @property
    def is_sealed(self) -> bool:
        """Whether what is put there is encrypted first."""
        return self._key is not None

    async def names(self) -> list[str]:
        """What may be backups: folders of the place, some of which may have no manifest."""
        return await _in_thread(self._reads, lambda _: self._place.folders())

    async def has(self, name: str) -> bool:
        """Whether there is a backup of that name."""
        try:
            await self._read_manifest(name)
        except NotThereError:
            return False
        return True

    async def manifest(self, name: str, *, checked: bool = True) -> Manifest:
        """What the backup of that name says of itself; `checked`: vouched for by the key."""
        try:
            content = await self._read_manifest(name)
        except NotThereError:
            raise NotThereError(f"there is no backup {name} in {self.url}: shardproxy backup list") from None
        manifest = manifest_decode(content, name)
        if checked:
            manifest.check(self._key)
        return manifest

    async def manifests(self) -> tuple[list[Manifest], dict[str, str]]:
        """All backups, oldest first, unchecked; and why folders could not be read, by their names."""
        found: list[Manifest] = []
        faults: dict[str, str] = {}

        async def look(name: str) -> None:
            try:
                found.append(await self.manifest(name, checked=False))
            except NotThereError:
                return
            except ArchiveError as e:
                faults[name] = str(e)

        await each(look, await self.names())
        return sorted(found, key=lambda one: (one.began, one.name)), faults

    async def stored(self, name: str) -> list[Stored]:
        """What is in that folder, whether it is a backup or not."""
        return await _in_thread(self._reads, lambda _: self._place.listed(name))

    def path_for(self, name: str, file: str) -> Path | None:
        """Where a file of a backup can be written straight to, to be `adopted`; None: `put` it."""
        return None if self._key is not None else self._place.path_of(f"{name}/{file}")

    async def put(
        self, path: Path, name: str, file: str, *, what: str, progress: Progress = nobody
    ) -> tuple[int, str]:
        """Have the place keep a file of this machine; return the bytes and sha256 of what is there.

        `what` is `file_context`: what it is encrypted as.
        """

        def write(stop: Stop) -> tuple[int, str]:
            tally = _Tally()
            chunks: Iterable[bytes] = _file_chunks(path, stop, progress)
            if self._key is not None:
                chunks = self._key.seal(chunks, what)
            with _reading(path):
                size = path.stat().st_size
            self._place.write(f"{name}/{file}", tally.of(chunks), size=size)
            return tally.bytes, tally.digest.hexdigest()

        return await _in_thread(self._transfers, write)

    async def commit(self, manifest: Manifest) -> Manifest:
        """Make it a backup: all its files are there.

        Raise AlreadyThereError where the name is another's: its files can be taken back. Raise UnsureError
        where nobody can tell whether it was written, or will be: they must stay. Once begun it is seen
        through, also when all is cancelled, for as long as the place takes to answer twice.
        """
        sealed = manifest.sealed(self._key)
        name, content = f"{sealed.name}/{MANIFEST}", manifest_encode(sealed)

        def create() -> None:
            try:
                self._place.create(name, content)
            except ArchiveError as error:
                if not self._is_there(name, content, error):
                    taken = f"there is a backup {sealed.name} in {self.url} already: take another name"
                    raise AlreadyThereError(taken) from error

        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(create, limiter=trio.CapacityLimiter(1))
        return sealed

    def _is_there(self, name: str, content: bytes, error: ArchiveError) -> bool:
        """Whether what could not be written is there all the same, or another one; raise UnsureError."""
        try:
            return self._place.read(name, at_most=MAX_MANIFEST) == content
        except ArchiveError:
            if isinstance(error, PlaceFullError):
                raise error from None
            raise UnsureError(
                f"{error}; it may be there all the same, or yet come: see shardproxy backup list, and take"
                " another name for the next one"
            ) from error

    def path_of(self, manifest: Manifest, file: ShardFile) -> Path | None:
        """Where the RDB is on this machine, if it is there as it was; nothing of it is checked."""
        return None if manifest.key is not None else self._place.path_of(f"{manifest.name}/{file.file}")

    async def fetch(
        self, manifest: Manifest, file: ShardFile, to: Path, *, progress: Progress = nobody
    ) -> None:
        """Write a shard's RDB to a new file, decrypted; raise SealError when it is not what it was.

        A file that could not be written whole is removed.
        """

        def read(stop: Stop) -> None:
            try:
                with _writing(to), to.open("xb") as sink:
                    for chunk in self._opened(manifest, file, stop, progress):
                        sink.write(chunk)
            except BaseException:
                to.unlink(missing_ok=True)
                raise

        await _in_thread(self._transfers, read)

    async def at_hand(
        self, manifest: Manifest, file: ShardFile, spool: Path, *, progress: Progress = nobody
    ) -> Fetched:
        """A shard's RDB on this machine, verified: where it is, or fetched into the spool."""
        path = self.path_of(manifest, file)
        if path is not None:
            await self.verify(manifest, file, progress=progress)
            return Fetched(path, is_own=False)
        copy = spool / f"{secrets.token_hex(8)}.rdb"
        await self.fetch(manifest, file, copy, progress=progress)
        return Fetched(copy, is_own=True)

    async def verify(self, manifest: Manifest, file: ShardFile, *, progress: Progress = nobody) -> None:
        """Read a file to its end and compare it with what was written; raise SealError."""

        def read(stop: Stop) -> None:
            for _ in self._opened(manifest, file, stop, progress):
                pass

        await _in_thread(self._transfers, read)

    async def copy(
        self, manifest: Manifest, copy: Manifest, to: Archive, *, progress: Progress = nobody
    ) -> None:
        """Put the files of a backup where its `copied` has them, as they are; `commit` comes after."""

        async def one(pair: tuple[ShardFile, ShardFile]) -> None:
            file, copied = pair

            def read_and_write(stop: Stop) -> None:
                source = self._place.chunks(f"{manifest.name}/{file.file}")
                to._place.write(
                    f"{copy.name}/{copied.file}",
                    _as_stored(file, _watched(source, stop, progress)),
                    size=file.stored_bytes,
                )

            await _in_thread(self._transfers, read_and_write)

        await each(one, zip(manifest.files, copy.files, strict=True))

    async def export(
        self, manifest: Manifest, file: ShardFile, to: Place, target: str, *, progress: Progress = nobody
    ) -> None:
        """Have another place keep a shard's RDB as the engine wrote it, under that name."""

        def write(stop: Stop) -> None:
            to.write(target, self._opened(manifest, file, stop, progress), size=file.bytes)

        await _in_thread(self._transfers, write)

    async def delete(self, name: str) -> int:
        """Take a backup, or what is left of one, away; return the bytes that frees.

        The manifest goes first: what is half deleted is no backup. What is not called as our files are stays.
        """

        def delete(_: Stop) -> int:
            files = [one for one in self._place.listed(name) if is_file_name(one.name.rpartition("/")[2])]
            self._place.delete([f"{name}/{MANIFEST}"])
            self._place.delete([one.name for one in files])
            return sum(one.bytes for one in files)

        return await _in_thread(self._transfers, delete)

    async def discard(self, name: str, files: Iterable[str]) -> None:
        """Take these files of a folder away; those that are not there are no error."""
        names = [f"{name}/{file}" for file in files]
        await _in_thread(self._transfers, lambda _: self._place.delete(names))

    async def _read_manifest(self, name: str) -> bytes:
        return await _in_thread(
            self._reads, lambda _: self._place.read(f"{name}/{MANIFEST}", at_most=MAX_MANIFEST)
        )

    def _opened(self, manifest: Manifest, file: ShardFile, stop: Stop, progress: Progress) -> Iterator[bytes]:
        """The RDB, chunk by chunk; SealError at the end of what is not what was written."""
        stored = _watched(self._place.chunks(f"{manifest.name}/{file.file}"), stop, progress)
        if manifest.key is None:
            yield from _as_stored(file, stored)
            return
        if self._key is None:
            raise SealError(
                f"{manifest.name} is encrypted with the key {manifest.key}: say which file has it"
            )
        tally = _Tally()
        yield from tally.of(self._key.open(_as_stored(file, stored), file_context(manifest.id, file.number)))
        if tally.bytes != file.bytes or tally.digest.hexdigest() != file.sha256:
            raise SealError(f"{file.file} of {manifest.name} is not what was written")


def file_context(backup_id: str, number: int) -> str:
    """What a file is encrypted as: it opens as nothing else."""
    return f"{backup_id}/{number}"


def copied(manifest: Manifest, name: str) -> Manifest:
    """The same backup under another name, and its files under names that no other copy has."""
    suffix = secrets.token_hex(4)
    files = tuple(replace(file, file=file_name(file.number, suffix)) for file in manifest.files)
    return replace(manifest, name=name, files=files)


class _Tally:
    """Counts what passes."""

    def __init__(self) -> None:
        self.bytes = 0
        self.digest = hashlib.sha256()

    def of(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.bytes += len(chunk)
            self.digest.update(chunk)
            yield chunk


def _as_stored(file: ShardFile, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same; SealError at the end of what is not what was stored."""
    tally = _Tally()
    yield from tally.of(chunks)
    if tally.bytes != file.stored_bytes:
        raise SealError(f"{file.file} has {tally.bytes} bytes, and had {file.stored_bytes}: it is damaged")
    if tally.digest.hexdigest() != file.stored_sha256:
        raise SealError(f"{file.file} is damaged: its sha256 is not the manifest's")


def _watched(chunks: Iterable[bytes], stop: Stop, progress: Progress) -> Iterator[bytes]:
    for chunk in chunks:
        stop.check()
        yield chunk
        progress(len(chunk))


def _file_chunks(path: Path, stop: Stop, progress: Progress) -> Iterator[bytes]:
    with _reading(path):
        file = path.open("rb")
    with file:
        while True:
            with _reading(path):
                chunk = file.read(CHUNK)
            if not chunk:
                return
            stop.check()
            yield chunk
            progress(len(chunk))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What is wrong with a file of this machine is not what is wrong with a place."""
    try:
        yield
    except OSError as e:
        raise ArchiveError(f"cannot read {path} again: {e.strerror}; was its directory tidied?") from e


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        kind = PlaceFullError if e.errno in FULL else PlaceError
        raise kind(f"cannot write {path}: {e.strerror}; see backups: {{spool: ...}}") from e


async def _in_thread(limiter: trio.CapacityLimiter, work: Callable[[Stop], T]) -> T:
    """Do it in a thread; one that nobody waits for any more ends at its next chunk."""
    stop = Stop()
    try:
        return await trio.to_thread.run_sync(work, stop, abandon_on_cancel=True, limiter=limiter)
    finally:
        stop.set()
