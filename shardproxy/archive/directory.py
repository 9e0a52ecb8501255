"""Backups in a directory of this machine, or of one that it mounts."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from shardproxy.archive.errors import AlreadyThereError, NotThereError, PlaceError, PlaceFullError
from shardproxy.archive.names import PARTIAL
from shardproxy.archive.place import CHUNK, FULL, Stored


class DirectoryPlace:
    """Files are written under another name, synced and renamed; only their owner may read them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def url(self) -> str:
        return str(self._root)

    def folders(self) -> list[str]:
        with self._failing("list"):
            if not self._root.exists():
                return []
            return sorted(entry.name for entry in self._root.iterdir() if entry.is_dir())

    def listed(self, folder: str) -> list[Stored]:
        with self._failing(f"list {folder} in"):
            directory = self._path(folder)
            if not directory.is_dir():
                return []
            found = ((entry.name, entry.stat()) for entry in directory.iterdir() if entry.is_file())
            return sorted(
                (Stored(f"{folder}/{name}", stat.st_size, stat.st_mtime) for name, stat in found),
                key=lambda one: one.name,
            )

    def read(self, name: str, *, at_most: int) -> bytes:
        with self._failing(f"read {name} in"), self._path(name).open("rb") as file:
            content = file.read(at_most + 1)
        if len(content) > at_most:
            raise PlaceError(f"{name} in {self.url} has more than {at_most} bytes: it is not ours")
        return content

    def chunks(self, name: str) -> Iterator[bytes]:
        with self._failing(f"read {name} in"), self._path(name).open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def create(self, name: str, content: bytes) -> None:
        with self._failing(f"write {name} to"), self._written(name, [content]) as (partial, path):
            try:
                os.link(partial, path)
            except FileExistsError:
                raise AlreadyThereError(f"{name} is in {self.url} already: take another name") from None

    def write(self, name: str, chunks: Iterable[bytes], *, size: int) -> None:
        with self._failing(f"write {name} to"), self._written(name, chunks) as (partial, path):
            partial.replace(path)

    def delete(self, names: Sequence[str]) -> None:
        with self._failing("delete in"):
            for name in names:
                self._path(name).unlink(missing_ok=True)
            for directory in {self._path(name).parent for name in names}:
                try:
                    directory.rmdir()
                except OSError as e:
                    if e.errno not in (errno.ENOTEMPTY, errno.ENOENT, errno.EEXIST):
                        raise

    def path_of(self, name: str) -> Path | None:
        return self._path(name)

    def _path(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or any(part in ("..", "/") for part in parts):
            raise PlaceError(f"{name!r} is no name of a file in {self.url}")
        return self._root.joinpath(*parts)

    @contextmanager
    def _written(self, name: str, chunks: Iterable[bytes]) -> Iterator[tuple[Path, Path]]:
        """A file with all of it, synced, and where it is to be; the file is gone afterwards."""
        path = self._path(name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_name(f"{PARTIAL}{secrets.token_hex(4)}-{path.name}")
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            yield partial, path
            _sync_directory(path.parent)
            _sync_directory(self._root)
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as e:
            raise NotThereError(f"cannot {what} {self.url}: {e.strerror}") from e
        except OSError as e:
            if e.errno in FULL:
                raise PlaceFullError(
                    f"cannot {what} {self.url}: {e.strerror}; free some room, or keep fewer backups"
                ) from e
            raise PlaceError(f"cannot {what} {self.url}: {e.strerror}") from e


def _sync_directory(path: Path) -> None:
    """Have the names in it survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
