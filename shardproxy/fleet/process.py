"""How a program is launched on this machine. Knows nothing of engines."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

LOG = "engine.log"


class Process(Protocol):
    """A running program. A container can play one too."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None:
        """The exit status, or None while it runs."""

    def wait(self, timeout: float) -> int | None:
        """Wait for its end; None when it still runs then."""

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its children. One that has ended is left alone."""


Launch = Callable[[Sequence[str], Path], Process]


class LocalProcess:
    """A child of this process, in its own session so that Ctrl-C does not reach it before its owner."""

    def __init__(self, argv: Sequence[str], directory: Path) -> None:
        with (directory / LOG).open("ab") as log:
            self._child = subprocess.Popen(
                argv,
                cwd=directory,  # guard.py finds it by that
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def poll(self) -> int | None:
        return self._child.poll()

    def wait(self, timeout: float) -> int | None:
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: signal.Signals) -> None:
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)
