"""Where RDBs lie that are on their way: a directory of each process's own, gone with it.

    SPOOL/shardproxy-spool-TOKEN.lock    locked for as long as its process needs what is in
    SPOOL/shardproxy-spool-TOKEN/

Whoever makes one removes those that nobody has locked: their processes were killed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from secrets import token_hex

import trio

from shardproxy.archive.errors import PlaceError

BEGINNING = "shardproxy-spool-"
LOCK = ".lock"
TRIES = 5  # at a token: who removes what is left may lock a new one before its owner does

_LOCK = re.compile(re.escape(BEGINNING) + r"[0-9a-f]{16}" + re.escape(LOCK), re.ASCII)


@asynccontextmanager
async def spooled(spool: Path) -> AsyncIterator[Path]:
    """A new directory there that only its owner may read, gone afterwards; raise PlaceError."""
    try:
        made, lock = await trio.to_thread.run_sync(_make, spool)
    except OSError as e:
        raise PlaceError(f"cannot spool in {spool}: {e.strerror}; see backups: {{spool: ...}}") from e
    try:
        yield made
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(_remove, made, lock)


async def free_bytes(path: Path) -> int:
    """What fits on the disk that a path is on, or will be."""

    def free() -> int:
        there = path
        while not there.exists() and there != there.parent:
            there = there.parent
        return shutil.disk_usage(there).free

    return await trio.to_thread.run_sync(free)


def _make(spool: Path) -> tuple[Path, int]:
    """The directory, and what keeps it from being removed."""
    _remove_left(spool)
    for _ in range(TRIES):
        path = spool / f"{BEGINNING}{token_hex(8)}"
        lock = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            if _is_locked(lock) and _is_at(_lock_of(path), lock):
                path.mkdir(mode=0o700)
                return path, lock
        except BaseException:
            os.close(lock)
            _lock_of(path).unlink(missing_ok=True)
            raise
        os.close(lock)
    raise OSError(0, "others remove what is made there")


def _remove(path: Path, lock: int) -> None:
    """What is still being written there is left to the next one who makes a spool."""
    try:
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            _lock_of(path).unlink(missing_ok=True)
    except OSError:
        pass
    finally:
        os.close(lock)


def _remove_left(spool: Path) -> None:
    for lock in spool.iterdir():
        if _LOCK.fullmatch(lock.name) is None:
            continue
        with suppress(OSError), _free(lock) as is_free:
            path = lock.with_suffix("")
            if is_free:
                shutil.rmtree(path, ignore_errors=True)
            if is_free and not path.exists():
                lock.unlink()


@contextmanager
def _free(path: Path) -> Iterator[bool]:
    """Whether nobody has it locked; nobody has, while the block runs."""
    lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        yield _is_locked(lock) and _is_at(path, lock)
    finally:
        os.close(lock)


def _is_locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, lock: int) -> bool:
    """Whether what is locked is still there by that name."""
    try:
        there, ours = path.stat(), os.fstat(lock)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + LOCK)
