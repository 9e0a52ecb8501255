"""Tells systemd how this process is (sd_notify(3)); nothing where nobody listens.

READY=1 · RELOADING=1 + MONOTONIC_USEC= ... READY=1 · STOPPING=1 · STATUS=... · WATCHDOG=1
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping

import structlog
import trio

log = structlog.get_logger()


class Notifier:
    """The service manager's socket, as NOTIFY_SOCKET names it."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._path = "\0" + path[1:] if path.startswith("@") else path
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval = int(environment.get("WATCHDOG_USEC", "0")) / 1e6 if is_ours else 0.0
        self._beat = interval / 3  # seconds; twice may be late

    def ready(self, status: str) -> None:
        self._say(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._say(f"RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reloading")

    def stopping(self, status: str) -> None:
        self._say(f"STOPPING=1\nSTATUS={status}")

    async def run(self, why_not_live: Callable[[], Iterable[str]]) -> None:
        """Ping the watchdog as long as every worker turns, and the control plane gets here to say so."""
        if not self._path or not self._beat:
            return
        while True:
            if why := list(why_not_live()):
                log.error("no ping for the watchdog", why=why)
            else:
                self._say("WATCHDOG=1")
            await trio.sleep(self._beat)

    def _say(self, text: str) -> None:
        if not self._path:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto(text.encode(), self._path)
        except OSError as error:
            log.warning("the service manager does not hear", why=str(error))
