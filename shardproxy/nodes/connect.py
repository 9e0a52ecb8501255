"""Opens a socket to a node: resolves, then tries one address after another. The caller sets the deadline."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress

import trio

from shardproxy.model import Address
from shardproxy.nodes.resolve import Resolver

BACKLOG_PAUSE = 0.005  # seconds; a unix socket whose backlog is full cannot be waited for

# A peer that vanished without a word, which a connection kept in reserve would not notice: found after
# KEEP_IDLE + KEEP_COUNT * KEEP_INTERVAL seconds.
KEEP_IDLE, KEEP_INTERVAL, KEEP_COUNT = 3, 1, 3

# From here there is no way to an address of that kind: says nothing of the node at the others.
NO_WAY = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL})


async def open_socket(address: Address, resolver: Resolver) -> socket.socket:
    """Connect, without blocking mode; raise OSError.

    ConnectionRefusedError only if nobody listens at any address that can be reached.
    """
    if address.is_unix:
        return await _open_unix(address.path)
    hosts = await resolver.resolve(address.host)
    errors: list[OSError] = []
    for number, host in enumerate(hosts):
        left = max(0.0, trio.current_effective_deadline() - trio.current_time())
        with trio.move_on_after(left / (len(hosts) - number)):
            try:
                return await _open_tcp(host, address.port)
            except OSError as error:
                errors.append(error)
                continue
        errors.append(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
    raise gravest(errors)


def gravest(errors: list[OSError]) -> OSError:
    """The error that proves least: one address that refuses is nothing beside another that is silent."""
    reached = [error for error in errors if error.errno not in NO_WAY] or errors
    return next((error for error in reached if error.errno != errno.ECONNREFUSED), reached[0])


async def _open_tcp(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(sock)
        try:
            sock.connect((host, port))
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise _os_error(number) from None
        if sock.getsockname() == sock.getpeername():
            # where nobody listens, a socket that is given the very port it calls meets itself
            raise _os_error(errno.ECONNREFUSED)
    except BaseException:
        _close(sock)
        raise
    return sock


async def _open_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:
                await trio.sleep(BACKLOG_PAUSE)
            else:
                return sock
    except BaseException:
        _close(sock)
        raise


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEP_IDLE),
        ("TCP_KEEPINTVL", KEEP_INTERVAL),
        ("TCP_KEEPCNT", KEEP_COUNT),
    ):
        if (option := getattr(socket, name, None)) is not None:
            with suppress(OSError):  # it only makes a lost peer known sooner
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _close(sock: socket.socket) -> None:
    trio.lowlevel.notify_closing(sock)
    sock.close()


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
