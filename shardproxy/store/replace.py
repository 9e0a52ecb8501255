"""Writes a file so that after a crash it is the old one or the new one, whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

PRIVATE = 0o600


def file_replace(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Put these bytes in the place of the file; raise OSError, and then it is as it was."""
    with _beside(path) as (descriptor, beside):
        os.fchmod(descriptor, mode)
        _put(descriptor, beside, path, data)


def file_rewrite(path: Path, data: bytes) -> None:
    """The same for a file that others made: its mode stays, its owner and its group where that is allowed.

    Where the group cannot stay, no group may do anything with it.
    """
    old = path.stat()
    with _beside(path) as (descriptor, beside):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, -1, old.st_gid)
        has_group = os.fstat(descriptor).st_gid == old.st_gid
        os.fchmod(descriptor, old.st_mode & (0o777 if has_group else 0o707))
        with contextlib.suppress(OSError):
            os.fchown(descriptor, old.st_uid, -1)
        _put(descriptor, beside, path, data)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[tuple[int, Path]]:
    """A file that nobody else can have put there; gone if it takes no other's place."""
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".new", dir=path.parent)
    try:
        yield descriptor, Path(name)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _put(descriptor: int, beside: Path, path: Path, data: bytes) -> None:
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.fsync(descriptor)
    beside.replace(path)
    directory_sync(path.parent)


def directory_sync(path: Path) -> None:
    """Have the names in it be durable; raise OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
