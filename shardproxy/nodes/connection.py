"""An open connection to a node: bytes out, replies in. Knows nothing of opening, logging in and turns."""

from __future__ import annotations

import contextlib
import select
import socket
import sys
from collections.abc import Sequence

import trio

from shardproxy.nodes.speech import RESP, Speech
from shardproxy.nodes.tls import TlsSocket
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import INCOMPLETE, Argument, ProtocolError

RECEIVE = 1 << 16  # bytes taken from the socket at once
UNACKED = slice(24, 28)  # where struct tcp_info has tcpi_unacked: segments sent and not acknowledged

Requests = Sequence[Sequence[Argument]]


class Batch(tuple[tuple[Argument, ...], ...]):
    """Requests that are sent many times, encoded once."""

    data: bytes

    def __new__(cls, *requests: tuple[Argument, ...]) -> Batch:
        self = super().__new__(cls, requests)
        self.data = encode_all(requests)
        return self


def encode_all(requests: Requests, speech: Speech = RESP) -> bytes:
    """Requests as they are sent, one after another."""
    if isinstance(requests, Batch):
        return requests.data
    return b"".join([speech.encode(*args) for args in requests])


class Connection:
    """A socket that does not block, and the state the node keeps for it."""

    def __init__(self, sock: socket.socket | TlsSocket, max_reply: int, speech: Speech = RESP) -> None:
        self.sock = sock
        self.reader = speech.reader(max_reply)
        self.resp = 2
        self.db = 0
        self.run_id = ""  # of the process at its other end, once somebody wanted to know
        self.peer = "" if sock.family == socket.AF_UNIX else str(sock.getpeername()[0])
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    @property
    def is_readable(self) -> bool:
        """There is something to read, be it the end."""
        if isinstance(self.sock, socket.socket):
            return bool(self._poll.poll(0))
        return self.sock.has_more  # some of it may have left the socket already

    @property
    def is_taken(self) -> bool:
        """The node's host has acknowledged all that was sent: it is up, and it is reached."""
        if self.sock.family == socket.AF_UNIX:
            return True
        try:
            info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, UNACKED.stop)
        except OSError:
            return False
        return int.from_bytes(info[UNACKED], sys.byteorder) == 0

    def send_nowait(self, data: bytes) -> bool:
        """Send all of it, or none of it (False); raise OSError, also when only a part was taken.

        A TLS session that could not send keeps what it made of the data, and wants nothing else before that.
        """
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            if not isinstance(self.sock, socket.socket):
                raise BlockingIOError("the node does not read") from None
            return False
        if sent < len(data):
            raise BlockingIOError("the node does not read")
        return True

    def receive_nowait(self, replies: list[Reply]) -> bool:
        """Add the replies that are there; raise EOFError at the end, ProtocolError, OSError.

        Tell whether anything came: not all that makes a socket readable is for its user.
        """
        try:
            received = self.sock.recv(RECEIVE)
        except BlockingIOError:
            return False
        if not received:
            raise EOFError
        self.reader.feed(received)
        while (reply := self.reader.next()) is not INCOMPLETE:
            replies.append(reply)
        return True

    async def exchange(self, data: bytes, count: int) -> tuple[list[Reply], bytes]:
        """Send, and receive that many replies; the bytes returned are all of them."""
        await self._send_all(data)
        replies: list[Reply] = []
        raw = bytearray()
        while len(replies) < count:
            received = await self._receive()
            if not received:
                raise EOFError
            raw += received
            self.reader.feed(received)
            while (reply := self.reader.next()) is not INCOMPLETE:
                replies.append(reply)
        if len(replies) > count or not self.reader.is_idle:
            raise ProtocolError("more replies than requests")
        return replies, bytes(raw)

    async def wait_readable(self) -> None:
        """Wait for anything to read, be it the end; returns also when it is closed meanwhile."""
        with contextlib.suppress(trio.ClosedResourceError):
            await trio.lowlevel.checkpoint()
            while not self.is_readable:
                await trio.lowlevel.wait_readable(self.sock)

    def close(self) -> None:
        trio.lowlevel.notify_closing(self.sock)
        self.sock.close()

    async def _send_all(self, data: bytes) -> None:
        with memoryview(data) as left:
            sent = 0
            while sent < len(left):
                try:
                    with left[sent:] as rest:
                        sent += self.sock.send(rest)
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self.sock)

    async def _receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self.sock)
            with contextlib.suppress(BlockingIOError):
                return self.sock.recv(RECEIVE)
