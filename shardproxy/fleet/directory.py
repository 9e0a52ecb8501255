"""A directory that disappears with its owner, together with every process that runs in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from shardproxy.fleet import guard


class GuardedDirectory:
    """A temporary directory, guarded from the moment it is made. Also a context manager."""

    def __init__(self, prefix: str = "shardproxy-") -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
        self._guard = subprocess.Popen(
            # Isolated and without site-packages: it starts in a few milliseconds.
            (sys.executable, "-I", "-S", guard.__file__, str(self.path)),
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """Kill what still runs in it, remove it and wait until that is done. Idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait()  # bounded by guard.PATIENCE

    def __enter__(self) -> GuardedDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
