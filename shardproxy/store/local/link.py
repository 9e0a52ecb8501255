"""Two processes on one machine while one takes over from the other: lines of JSON, some with a socket.

    kind, value ─> {"kind": value}\\n ─> the handler of that kind there

Another version may be at the other end: kinds without a handler are passed over. Knows nothing of what
they say.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Callable
from typing import Any

import structlog
import trio

READ = 65536
MAX_LINE = 1 << 20  # bytes; who sends more is no shardproxy
SOCKETS = 8  # that may come with what is read at once

log = structlog.get_logger()


class Link:
    """One end of a unix stream socket. What it says is dropped once the other end has gone."""

    def __init__(self, own: socket.socket) -> None:
        own.setblocking(False)
        self._socket = trio.socket.from_stdlib_socket(own)
        self._handlers: dict[str, Callable[[Any], None]] = {}
        self._sockets: list[socket.socket] = []
        self._unsent = bytearray()
        self._has_unsent = trio.Event()
        self.ended = trio.Event()

    def on(self, kind: str, handle: Callable[[Any], None]) -> None:
        """Call this with each value of that kind; before the link is run."""
        self._handlers[kind] = handle

    def say(self, kind: str, value: Any) -> None:
        """Send it soon, behind all that was said before."""
        if not self.ended.is_set() and len(self._unsent) < MAX_LINE:
            self._unsent += json.dumps({kind: value}).encode() + b"\n"
            self._has_unsent.set()

    async def say_with(self, kind: str, value: Any, passed: socket.socket) -> None:
        """Send it with a socket, once all before it is sent; raise OSError."""
        while self._unsent and not self.ended.is_set():  # noqa: ASYNC110  # rare, and over in a moment
            await trio.sleep(0.001)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [passed.fileno()]))]
        await self._socket.sendmsg([json.dumps({kind: value}).encode() + b"\n"], rights)

    def take_socket(self) -> socket.socket | None:
        """The oldest socket that came; that of the line whose handler runs."""
        return self._sockets.pop(0) if self._sockets else None

    async def run(self) -> None:
        """Until the other end has gone, or this one is closed. Never raises for its sake."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send)
                await self._receive()
                nursery.cancel_scope.cancel()
        except* (OSError, trio.ClosedResourceError) as errors:
            log.debug("link ended", why=[str(error) for error in errors.exceptions])
        finally:
            self.close()

    def close(self) -> None:
        """Idempotent."""
        self.ended.set()
        self._socket.close()
        for left in self._sockets:
            left.close()
        self._sockets.clear()

    async def _send(self) -> None:
        while True:
            await self._has_unsent.wait()
            self._has_unsent = trio.Event()
            while self._unsent:
                sent = await self._socket.send(bytes(self._unsent[:READ]))
                del self._unsent[:sent]

    async def _receive(self) -> None:
        rest = b""
        while len(rest) < MAX_LINE:
            data, extra, _, _ = await self._socket.recvmsg(READ, socket.CMSG_SPACE(SOCKETS * 4))
            self._sockets += _sockets(extra)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._handle(line)

    def _handle(self, line: bytes) -> None:
        try:
            said = dict(json.loads(line))
            for kind, value in said.items():
                if (handle := self._handlers.get(kind)) is not None:
                    handle(value)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("not understood by the other process's version", why=repr(error))


def _sockets(extra: list[tuple[int, int, bytes]]) -> list[socket.socket]:
    """The sockets that came, each ours alone."""
    found: list[socket.socket] = []
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers = array.array("i")
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
            for number in numbers:
                os.set_inheritable(number, False)
                found.append(socket.socket(fileno=number))
    return found
