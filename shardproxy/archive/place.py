"""What a place for backups can do. Everything blocks: it is called in threads."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shardproxy.archive.errors import StoppedError

CHUNK = 1 << 20  # bytes that files are passed on in
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a disk says that has no room


@dataclass(frozen=True, slots=True)
class Stored:
    """One object of a place."""

    name: str  # NAME/FILE
    bytes: int
    modified: float  # seconds since 1970, by the place's clock


class Place(Protocol):
    """Objects by name, each whole or not there. Names are NAME/FILE.

    Everything raises PlaceError when the place does not answer or refuses.
    """

    @property
    def url(self) -> str:
        """As people write it; no secrets."""

    def folders(self) -> list[str]:
        """What is before the / of any name there, sorted."""

    def listed(self, folder: str) -> list[Stored]:
        """What is in one of them, by name."""

    def read(self, name: str, *, at_most: int) -> bytes:
        """A small object; raise NotThereError, or PlaceError where it is larger."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """A large one, piece by piece; raise NotThereError."""

    def create(self, name: str, content: bytes) -> None:
        """Write a small object, durably; raise AlreadyThereError where there is one of that name."""

    def write(self, name: str, chunks: Iterable[bytes], *, size: int) -> None:
        """Write a large object of about that many bytes, durably, in place of one of that name.

        When that fails, or the chunks raise, nothing is seen of it, and what was sent is taken back.
        """

    def delete(self, names: Sequence[str]) -> None:
        """Take objects away; those that are not there are no error."""

    def path_of(self, name: str) -> Path | None:
        """The file that an object is in, or can be written straight to, on this machine; else None."""


class Stop:
    """Ends a transfer in another thread at its next chunk."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def check(self) -> None:
        """Raise StoppedError once it is set."""
        if self._event.is_set():
            raise StoppedError
