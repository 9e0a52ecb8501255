"""Looks at a process from outside: when it listens, when it is ready, what memory it holds."""

from __future__ import annotations

import http.client
import socket
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from shardproxy.fleet.process import Process

POLL_INTERVAL = 0.002  # seconds
IDLE_CLIENTS = 1000
SETTLE = 0.5  # seconds for a process to come to rest after its start


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from exec until its endpoint accepted, and until it said it was ready."""

    listening: float
    ready: float | None


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory: of the idle process, and what one connected client adds that has asked once."""

    idle_mib: float
    client_kib: float


def wait_open(port: int, child: Process, timeout: float) -> bool:
    """Wait until somebody accepts on the port; False when the child ends or the time is over."""
    deadline = time.monotonic() + timeout
    while child.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(POLL_INTERVAL)
        else:
            return True
    return False


def wait_admin(url: str, child: Process, timeout: float) -> bool:
    """Wait until a GET answers 200; False when the child ends or the time is over."""
    deadline = time.monotonic() + timeout
    while child.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1.0):
                return True
        except (OSError, urllib.error.URLError, http.client.HTTPException):
            time.sleep(POLL_INTERVAL)
    return False


def measure_memory(address: str, pid: int, request: bytes) -> Memory:
    """Connect many clients, let each ask once, and see what the process holds then."""
    host, port = address.rsplit(":", 1)
    time.sleep(SETTLE)
    idle = resident_kib(pid)
    with ExitStack() as stack:
        for _ in range(IDLE_CLIENTS):
            client = stack.enter_context(socket.create_connection((host, int(port)), 5.0))
            client.sendall(request)
            client.recv(4096)
        full = resident_kib(pid)
    return Memory(idle_mib=idle / 1024, client_kib=(full - idle) / IDLE_CLIENTS)


def resident_kib(pid: int) -> int:
    """Resident memory of a process, KiB."""
    return status_kib(Path(f"/proc/{pid}/status").read_text(), "VmRSS")


def status_kib(status: str, name: str) -> int:
    """A field of /proc/PID/status that is in kB."""
    for line in status.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ValueError(f"no {name} in this status")
