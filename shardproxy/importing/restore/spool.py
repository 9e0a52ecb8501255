"""Where files of a backup lie while they are restored: nobody else's, and gone when nobody needs them.

A process that is killed leaves them, decrypted. A directory is locked by who uses it, so the next one that
makes one takes away those that nobody has locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "shardproxy-restore-"
TRIES = 5  # against others that take away what is not locked yet


@dataclass(slots=True)
class Spool:
    """A directory of one restore."""

    path: Path
    _handle: int

    @classmethod
    def make(cls, root: Path) -> Spool:
        """Take away what others have left, and make one; raise OSError."""
        root.mkdir(parents=True, exist_ok=True)
        for old in root.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError), _locked(old):
                shutil.rmtree(old, ignore_errors=True)
        for _ in range(TRIES):
            path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
            with contextlib.suppress(FileNotFoundError, BlockingIOError):
                handle = _lock(path)
                if path.exists():
                    return cls(path, handle)
                os.close(handle)
        raise OSError(0, f"others take away what is made in {root}")

    def remove(self) -> None:
        """With all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._handle)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = _lock(path)
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            raise PermissionError
        yield
    finally:
        os.close(handle)


def _lock(path: Path) -> int:
    """Raise OSError where somebody has it."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle
