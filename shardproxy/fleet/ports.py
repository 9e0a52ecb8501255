"""Free ports of loopback."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port(host: str = "127.0.0.1") -> int:
    """Find a TCP port that nobody listens on now; the caller must cope with losing it to someone faster.

    Ports the kernel hands to outgoing connections are left out: while an engine is down, such a port can be
    taken by any client of the machine, even by a connection to that very port, which then talks to itself.
    """
    highest = ephemeral_start() - 1
    if highest - LOWEST >= 1000:
        for _ in range(100):
            port = random.randint(LOWEST, highest)
            if is_free(host, port):
                return port
    with listener(host, 0) as sock:
        return int(sock.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Whether a listener could bind the port now."""
    try:
        listener(host, port).close()
    except OSError:
        return False
    return True


def ephemeral_start() -> int:
    try:
        return int(EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0  # not Linux: let the kernel choose


def listener(host: str, port: int) -> socket.socket:
    """A bound socket, with the option that engines use too: a port in TIME_WAIT counts as free."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
