"""Files that wait beside another one to take its place: their room is on disk already.

    some time before   made, written full of blanks, synced
    when it counts     data ─> flushed ─> takes the other one's place ─> the directory is synced

To sync a new file the file system first writes down where it lies, which takes longer than to flush data that
goes where there is room. Whatever is shorter than its room is followed by blanks: for files like JSON, whose
readers pass over them. Nobody who has the file open sees another one's data: none is used twice.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from shardproxy.store.replace import directory_sync

COUNT = 4  # a move of slots writes as often at once, and waits for two of them
BLOCK = 4096  # bytes; room comes in so many
MAX_ROOM = 1 << 20  # bytes; of more than that the data takes longest
SUFFIX = ".spare"


@dataclass(frozen=True, slots=True)
class Spare:
    """One of them."""

    path: Path
    descriptor: int
    room: int  # bytes

    @classmethod
    def make(cls, beside: Path, room: int) -> Spare:
        """Raise OSError, and then nothing is left."""
        descriptor, name = tempfile.mkstemp(prefix=f"{beside.name}.", suffix=SUFFIX, dir=beside.parent)
        spare = cls(Path(name), descriptor, room)
        try:
            _write(descriptor, b" " * room)
            os.fsync(descriptor)
        except BaseException:
            spare.drop()
            raise
        return spare

    def put(self, path: Path, data: bytes) -> None:
        """Put these bytes in the place of the file, durably; raise OSError, and then it is as it was."""
        try:
            _write(self.descriptor, data.ljust(self.room))
            os.fdatasync(self.descriptor)
            self.path.replace(path)
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise
        finally:
            os.close(self.descriptor)
        directory_sync(path.parent)

    def drop(self) -> None:
        """It is not needed any more."""
        os.close(self.descriptor)
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


class Spares:
    """Those of one file. May be used by several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ready: list[Spare] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def take(self, size: int) -> Spare | None:
        """One with room for so many bytes, if there is any; it is the caller's."""
        with self._lock:
            fits = [spare for spare in self._ready if spare.room >= size]
            if not fits:
                return None
            self._ready.remove(fits[0])
            return fits[0]

    def fill(self, size: int) -> None:
        """Have some ready for data of about so many bytes: this takes a while. Raise OSError."""
        room = (size * 5 // 4 // BLOCK + 1) * BLOCK
        with self._lock:
            small = [spare for spare in self._ready if spare.room < size or spare.room > 2 * room]
            self._ready = [spare for spare in self._ready if spare not in small]
            missing = COUNT - len(self._ready) if room <= MAX_ROOM and not self._is_closed else 0
        for spare in small:
            spare.drop()
        for _ in range(missing):
            spare = Spare.make(self._path, room)
            with self._lock:
                if not self._is_closed:
                    self._ready.append(spare)
                    continue
            spare.drop()

    def close(self) -> None:
        """Leave none, and make none any more."""
        with self._lock:
            self._is_closed = True
            spares, self._ready = self._ready, []
        for spare in spares:
            spare.drop()

    def clear(self) -> None:
        """Remove what a process before has left when it crashed; only while nobody else has the file."""
        for path in self._path.parent.glob(f"{self._path.name}.*{SUFFIX}"):
            with contextlib.suppress(OSError):
                path.unlink()


def _write(descriptor: int, data: bytes) -> None:
    """All of it, from the file's beginning on."""
    at = 0
    with memoryview(data) as left:
        while at < len(left):
            at += os.pwrite(descriptor, left[at:], at)
