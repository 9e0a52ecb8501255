"""Who may write a state file: the process that holds the lock beside it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from shardproxy.store.local.state import StateFileError


def lock_take(path: Path) -> int:
    """Take the lock of the state file; closing the descriptor lets go of it. Raise StateFileError."""
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateFileError(f"{lock}: {error.strerror}: make its directory writable") from error
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(number)
        raise StateFileError(
            f"{path} is in use by another shardproxy: give each its own file, or let them share a store"
        ) from error
    return number
