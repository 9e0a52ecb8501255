"""Writes a file so that after a crash it is the old one or the new one, whole."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE = 0o600


def file_replace(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Put these bytes in the place of the file; raise OSError, and then it is as it was."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
