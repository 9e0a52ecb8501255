"""Bytes of a file that a person names: one that is no file, as a pipe, is waited for, and not for ever."""

from __future__ import annotations

import errno
import os
import select
import stat

WAIT = 5.0  # seconds for a pipe to be written to


class SilentPipeError(OSError):
    """Nothing comes out of what is no file."""

    def __init__(self, wait: float) -> None:
        super().__init__(errno.ETIMEDOUT, f"nobody writes into this pipe ({wait:g} s)")


def read_bytes(path: str | os.PathLike[str], at_most: int, wait: float = WAIT) -> bytes:
    """Read a file, or what comes out of a pipe; raise OSError, SilentPipeError if nothing comes for so long.

    To open a pipe into which nobody writes would block; to read one whose writer sleeps, too.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(file).st_mode
        is_waited_for = not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
        poll = select.poll()
        poll.register(file, select.POLLIN)
        parts: list[bytes] = []
        left = at_most
        while left > 0:
            if is_waited_for and not poll.poll(wait * 1000):
                raise SilentPipeError(wait)
            part = os.read(file, min(left, 1 << 20))
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(file)
