"""One connection to one node. Knows nothing of shards.

The connection opens with the first request and again after any failure. Requests of several tasks take turns;
a request that is given up leaves no reply behind, because its connection goes with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import trio

from shardproxy.model import Address
from shardproxy.nodes.errors import NodeError, NodeTimeout, NodeUnreachable
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import INCOMPLETE, MAX_REPLY, Argument, ProtocolError, Reader, encode

RECEIVE = 1 << 16  # bytes taken from the socket at once


@dataclass(frozen=True, slots=True)
class Credentials:
    """What AUTH is given; without a user name the engine's default user is meant."""

    password: str = field(repr=False)
    username: str | None = None


@dataclass(frozen=True, slots=True)
class LinkTimeouts:
    """Seconds a connection may take to open, and a request to be replied to, opening included."""

    connect: float = 1.0
    reply: float = 5.0


DEFAULT_TIMEOUTS = LinkTimeouts()


@dataclass(frozen=True, slots=True)
class Received:
    """A reply, be it an error, as a value and as the bytes the node sent."""

    reply: Reply
    raw: bytes


@dataclass(slots=True)
class _Connection:
    """An open stream and the state the node keeps for it."""

    stream: trio.SocketStream
    reader: Reader
    resp: int = 2
    db: int = 0


@dataclass(slots=True)
class _Attempt:
    """How far a request got."""

    data: bytes
    count: int
    is_sent: bool = False


class NodeLink:
    """A connection to a node, opened when needed."""

    def __init__(
        self,
        address: Address,
        *,
        credentials: Credentials | None = None,
        timeouts: LinkTimeouts = DEFAULT_TIMEOUTS,
        max_reply: int = MAX_REPLY,
    ) -> None:
        self.address = address
        self._credentials = credentials
        self._timeouts = timeouts
        self._max_reply = max_reply
        self._connection: _Connection | None = None
        self._turn = trio.Lock()
        self._opened = 0

    async def request(
        self, *args: Argument, resp: int = 2, db: int = 0, timeout: float | None = None
    ) -> Reply:
        """Send one request; return its reply, or raise NodeError, NodeUnreachable or NodeTimeout."""
        (reply,) = await self.request_many([args], resp=resp, db=db, timeout=timeout)
        if isinstance(reply, Failure):
            raise NodeError(self.address, reply)
        return reply

    async def request_many(
        self,
        requests: Sequence[Sequence[Argument]],
        *,
        resp: int = 2,
        db: int = 0,
        timeout: float | None = None,
    ) -> list[Reply]:
        """Send requests in one write; return a reply for each, errors as Failure values."""
        attempt = _Attempt(b"".join(encode(*args) for args in requests), len(requests))
        replies, _ = await self._serve(attempt, resp, db, timeout)
        return replies

    async def request_raw(
        self, *args: Argument, resp: int = 2, db: int = 0, timeout: float | None = None
    ) -> Received:
        """Send one request; return its reply, be it an error, together with its bytes."""
        (reply,), raw = await self._serve(_Attempt(encode(*args), 1), resp, db, timeout)
        return Received(reply, raw)

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @property
    def opened(self) -> int:
        """How many connections it has opened."""
        return self._opened

    async def wait_closed(self) -> None:
        """Wait until the node ends the open connection, for ever when none is open.

        Between requests only: a reply would be taken for the end.
        """
        if self._connection is None:
            await trio.sleep_forever()
        else:
            with contextlib.suppress(trio.ClosedResourceError):
                await trio.lowlevel.wait_readable(self._connection.stream.socket)

    def close(self) -> None:
        """Close the connection at once; a later request opens it again."""
        if self._connection is not None:
            self._connection.stream.socket.close()
            self._connection = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _serve(
        self, attempt: _Attempt, resp: int, db: int, timeout: float | None
    ) -> tuple[list[Reply], bytes]:
        seconds = self._timeouts.reply if timeout is None else timeout
        try:
            with trio.fail_after(seconds):
                async with self._turn:
                    return await self._serve_in_turn(attempt, resp, db)
        except trio.TooSlowError:
            why = f"no reply within {seconds:g} s"
            raise NodeTimeout(self.address, why, is_sent=attempt.is_sent) from None

    async def _serve_in_turn(self, attempt: _Attempt, resp: int, db: int) -> tuple[list[Reply], bytes]:
        try:
            connection = await self._prepare(resp, db)
            attempt.is_sent = True
            return await _exchange(connection, attempt.data, attempt.count)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, ProtocolError, EOFError) as e:
            self.close()
            raise NodeUnreachable(self.address, _cause(e), is_sent=attempt.is_sent) from e
        except BaseException:  # given up half-way, or refused the state we need: nothing to build on
            self.close()
            raise

    async def _prepare(self, resp: int, db: int) -> _Connection:
        """The connection, open and in that state, of which the node has acknowledged each change."""
        connection = self._connection
        if connection is not None and connection.stream.socket.is_readable():
            self.close()  # nothing is awaited, so this is its end
            connection = None
        if connection is None:
            connection = self._connection = await self._open()
            self._opened += 1
            if self._credentials is not None:
                user = [self._credentials.username] if self._credentials.username else []
                await self._set(connection, "AUTH", *user, self._credentials.password)
        if connection.resp != resp:
            await self._set(connection, "HELLO", resp)
            connection.resp = resp
        if connection.db != db:
            await self._set(connection, "SELECT", db)
            connection.db = db
        return connection

    async def _set(self, connection: _Connection, *args: Argument) -> None:
        (reply,), _ = await _exchange(connection, encode(*args), 1)
        if isinstance(reply, Failure):
            raise NodeError(self.address, reply)

    async def _open(self) -> _Connection:
        with trio.move_on_after(self._timeouts.connect):
            if self.address.is_unix:
                stream = await trio.open_unix_socket(self.address.path)
            else:
                stream = await trio.open_tcp_stream(self.address.host, self.address.port)
                if stream.socket.getsockname() == stream.socket.getpeername():
                    # where nobody listens, a socket that is given the very port it calls meets itself
                    stream.socket.close()
                    raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            return _Connection(stream, Reader(self._max_reply))
        raise TimeoutError(f"no connection within {self._timeouts.connect:g} s")


async def _exchange(connection: _Connection, data: bytes, count: int) -> tuple[list[Reply], bytes]:
    """Send, and receive that many replies; the bytes returned are all of them."""
    await connection.stream.send_all(data)
    replies: list[Reply] = []
    raw = bytearray()
    while len(replies) < count:
        received = await connection.stream.receive_some(RECEIVE)
        if not received:
            raise EOFError
        raw += received
        connection.reader.feed(received)
        while (reply := connection.reader.next()) is not INCOMPLETE:
            replies.append(reply)
    if len(replies) > count or not connection.reader.is_idle:
        raise ProtocolError("more replies than requests")
    return replies, bytes(raw)


def _cause(error: BaseException) -> str:
    """Why, in words: trio wraps the errors of connecting, once per address tried."""
    if isinstance(error, EOFError):
        return "the connection was closed"
    while error.__cause__ is not None and isinstance(error.__cause__, OSError | BaseExceptionGroup):
        error = error.__cause__
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[-1]
    if isinstance(error, ProtocolError):
        return f"not RESP: {error}"
    if isinstance(error, socket.gaierror):
        return str(error.strerror).lower()
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
