"""One connection to one node. Knows nothing of shards.

The connection opens with the first request and again after any failure. Requests of several tasks take turns;
a request that is given up leaves no reply behind, because its connection goes with it. What it logs in with
is asked for whenever it opens: that may change.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import trio

from shardproxy.model import Address
from shardproxy.nodes.connect import open_socket
from shardproxy.nodes.connection import Connection, encode_all
from shardproxy.nodes.errors import NodeError, NodeTimeout, NodeUnreachable
from shardproxy.nodes.resolve import Resolver, own_resolver
from shardproxy.nodes.speech import RESP, Speech
from shardproxy.nodes.tls import NodeTls, TlsSocket, tls_fault
from shardproxy.wire.info import InfoError, read_fields
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import MAX_REPLY, Argument, ProtocolError


@dataclass(frozen=True, slots=True)
class Credentials:
    """What AUTH is given; without a user name the engine's default user is meant."""

    password: str = field(repr=False)
    username: str | None = None
    lasts: float | None = None  # seconds after which a connection logs in anew, before the node ends it


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


def no_password() -> Credentials | None:
    return None


def no_tls() -> NodeTls | None:
    return None


@dataclass(slots=True)
class _Attempt:
    """How far a request got."""

    data: bytes
    count: int
    is_sent: bool = False
    is_taken: bool = False  # by the node's host, as of when it was given up
    run_id: str | None = None  # nobody else is to get it


class NodeLink:
    """A connection to a node, opened when needed."""

    def __init__(
        self,
        address: Address,
        *,
        credentials: Callable[[], Credentials | None] = no_password,
        tls: Callable[[], NodeTls | None] = no_tls,
        timeouts: LinkTimeouts = DEFAULT_TIMEOUTS,
        max_reply: int = MAX_REPLY,
        resolver: Resolver | None = None,
        speech: Speech = RESP,
    ) -> None:
        self.address = address
        self._speech = speech
        self._credentials = credentials
        self._tls = tls
        self._timeouts = timeouts
        self._max_reply = max_reply
        self._resolver = resolver
        self._connection: Connection | None = None
        self._login: Credentials | None = None  # of the open connection
        self._logged_in_at = 0.0
        self._turn = trio.Lock()
        self._opened = 0
        self._peer = ""

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
        run_id: str | None = None,
    ) -> list[Reply]:
        """Send requests in one write; return a reply for each, errors as Failure values.

        With a run_id nothing is sent to another process than that: NodeUnreachable.
        """
        attempt = _Attempt(encode_all(requests, self._speech), len(requests), run_id=run_id)
        replies, _ = await self._serve(attempt, resp, db, timeout)
        return replies

    async def request_raw(
        self, *args: Argument, resp: int = 2, db: int = 0, timeout: float | None = None
    ) -> Received:
        """Send one request; return its reply, be it an error, together with its bytes."""
        (reply,), raw = await self._serve(_Attempt(self._speech.encode(*args), 1), resp, db, timeout)
        return Received(reply, raw)

    async def open(self) -> None:
        """Connect and log in, unless it is open; raise NodeError, NodeUnreachable or NodeTimeout."""
        await self._serve(_Attempt(b"", 0), 2, 0, None)

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @property
    def is_busy(self) -> bool:
        """Somebody has the turn."""
        return self._turn.locked()

    @property
    def is_ended(self) -> bool:
        """The node has ended the open connection, or soon will; between requests only."""
        if self._connection is None:
            return False
        return self._connection.is_readable or self._is_login_old()

    @property
    def opened(self) -> int:
        """How many connections it has opened."""
        return self._opened

    @property
    def peer(self) -> str:
        """The IP address the node was last reached at, or nothing."""
        return self._peer

    @property
    def connection(self) -> Connection | None:
        """The open connection, for who has the link to himself."""
        return self._connection

    async def wait_closed(self) -> None:
        """Wait until the node ends the open connection, for ever when none is open.

        Between requests only: a reply would be taken for the end.
        """
        if self._connection is None:
            await trio.sleep_forever()
        else:
            await self._connection.wait_readable()

    def close(self) -> None:
        """Close the connection at once; a later request opens it again."""
        self.drop()

    def drop(self) -> None:
        """Close the connection, as after a failure: the link stays in use."""
        if self._connection is not None:
            self._connection.close()
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
            raise NodeTimeout(self.address, why, is_sent=attempt.is_sent, is_taken=attempt.is_taken) from None

    async def _serve_in_turn(self, attempt: _Attempt, resp: int, db: int) -> tuple[list[Reply], bytes]:
        try:
            connection = await self._prepare(resp, db)
            if not attempt.count:
                return [], b""
            if attempt.run_id is not None:
                await _demand_process(connection, attempt.run_id)
            attempt.is_sent = True
            replies, raw = await connection.exchange(attempt.data, attempt.count)
        except (OSError, trio.ClosedResourceError, ProtocolError, InfoError, EOFError) as e:
            self.drop()
            raise NodeUnreachable(self.address, _cause(e, self._speech.name), is_sent=attempt.is_sent) from e
        except BaseException:  # given up half-way, or refused the state we need: nothing to build on
            attempt.is_taken = self._connection is not None and self._connection.is_taken
            self.drop()
            raise
        if any(isinstance(reply, Failure) and self._is_stale_login(reply) for reply in replies):
            self.drop()  # the next request logs in with what is current then
        return replies, raw

    def _is_stale_login(self, failure: Failure) -> bool:
        if failure.code == "NOPERM":
            return self._credentials() != self._login
        return failure.code in ("NOAUTH", "WRONGPASS")

    async def _prepare(self, resp: int, db: int) -> Connection:
        """The connection, open and in that state, of which the node has acknowledged each change."""
        if self.is_ended:
            self.drop()  # nothing is awaited, so what can be read is its end
        connection = self._connection
        if connection is None:
            connection = self._connection = await self._open()
            self._opened += 1
            self._peer = connection.peer
            self._login = login = self._credentials()
            self._logged_in_at = trio.current_time()
            if login is not None:
                await self._set(connection, *self._speech.login(login.username, login.password))
        if connection.resp != resp:
            await self._set(connection, "HELLO", resp)
            connection.resp = resp
        if connection.db != db:
            await self._set(connection, "SELECT", db)
            connection.db = db
        return connection

    def _is_login_old(self) -> bool:
        lasts = self._login.lasts if self._login is not None else None
        return lasts is not None and trio.current_time() - self._logged_in_at >= lasts

    async def _set(self, connection: Connection, *args: Argument) -> None:
        (reply,), _ = await connection.exchange(self._speech.encode(*args), 1)
        if isinstance(reply, Failure):
            raise NodeError(self.address, reply)

    async def _open(self) -> Connection:
        with trio.move_on_after(self._timeouts.connect):
            sock = await open_socket(self.address, self._resolver or own_resolver())
            if (tls := self._tls()) is None:
                return Connection(sock, self._max_reply, self._speech)
            secured = await TlsSocket.open(sock, tls, self.address.host)
            return Connection(secured, self._max_reply, self._speech)
        raise TimeoutError(f"no connection within {self._timeouts.connect:g} s")


async def _demand_process(connection: Connection, run_id: str) -> None:
    """A connection ends with its process, so it has to be asked but once who it is."""
    if not connection.run_id:
        (reply,), _ = await connection.exchange(RESP.encode("INFO", "server"), 1)
        connection.run_id = read_fields(reply).get("run_id", "")
    if connection.run_id != run_id:
        raise ConnectionRefusedError("another process answers there")


def _cause(error: BaseException, speech: str) -> str:
    """Why, in words."""
    if isinstance(error, EOFError):
        return "the connection was closed"
    if isinstance(error, ProtocolError):
        return f"not {speech}: {error}"
    if isinstance(error, ssl.SSLError):
        return tls_fault(error)
    if isinstance(error, socket.gaierror):
        return str(error.strerror).lower()
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
