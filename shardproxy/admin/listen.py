"""The admin socket. Bound before anything heavy is imported, so that a clash of addresses fails at once."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from shardproxy.model import Address

BACKLOG = 64


def admin_listen(address: Address) -> socket.socket:
    """Bind and listen; raise OSError."""
    return _listen_unix(address.path) if address.is_unix else _listen_tcp(address)


def admin_close(listener: socket.socket) -> None:
    """Close it, and remove a unix socket's file."""
    path = listener.getsockname() if listener.family == socket.AF_UNIX else None
    listener.close()
    if path:
        Path(path).unlink(missing_ok=True)


def _listen_tcp(address: Address) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bound(listener, where)


def _listen_unix(path: str) -> socket.socket:
    _unlink_if_stale(path)
    return _bound(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path)


def _bound(listener: socket.socket, where: Any) -> socket.socket:
    """Have it listen there; it is closed where it cannot."""
    try:
        listener.bind(where)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _unlink_if_stale(path: str) -> None:
    """Remove the socket file of a process that has gone; leave one that still answers."""
    if not Path(path).is_socket():
        return  # bind says so, should something else be in the way
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
