"""TLS to a node: what it is spoken with, and a socket that speaks it. Knows nothing of files."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import trio

CHUNK = 1 << 14  # bytes of a record


@dataclass(frozen=True)
class NodeTls:
    """What nodes are spoken to with; all PEM."""

    ca: str  # who signed their certificates
    certificate: str | None = None  # what the proxy shows them
    key: str | None = field(default=None, repr=False)
    server_name: str | None = None  # that their certificates have; None = each one's own host

    @cached_property
    def context(self) -> ssl.SSLContext:
        """Raise ssl.SSLError for what is no certificate or key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cadata=self.ca)
        if self.certificate is not None:
            with _in_memory(f"{self.certificate}\n{self.key or ''}") as path:
                context.load_cert_chain(path)
        return context


@contextlib.contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """A path that leads to the text, which is written to no disk: ssl reads keys from paths alone."""
    number = os.memfd_create("shardproxy-key", os.MFD_CLOEXEC)
    try:
        os.write(number, text.encode())
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


class TlsSocket:
    """A TLS session, to its user a socket that does not block."""

    def __init__(self, sock: ssl.SSLSocket, peer: tuple[str, int]) -> None:
        self._sock = sock
        self._peer = peer
        self._kept = bytearray()  # what was read by who wanted to know whether there is anything
        self._is_ended = False
        self._fault: OSError | None = None  # that ended it; whoever reads is told

    @classmethod
    async def open(cls, sock: socket.socket, tls: NodeTls, host: str) -> TlsSocket:
        """Shake hands over a connected socket; raise OSError. The socket is this one's from now on."""
        peer = sock.getpeername()  # which is forgotten where the node closes it meanwhile
        secured = tls.context.wrap_socket(
            sock, server_hostname=tls.server_name or host, do_handshake_on_connect=False
        )
        try:
            while True:
                try:
                    secured.do_handshake()
                except ssl.SSLWantReadError:
                    await trio.lowlevel.wait_readable(secured)
                except ssl.SSLWantWriteError:
                    await trio.lowlevel.wait_writable(secured)
                else:
                    return cls(secured, peer)
        except BaseException:
            trio.lowlevel.notify_closing(secured)
            secured.close()
            raise

    @property
    def family(self) -> int:
        return self._sock.family

    @property
    def has_more(self) -> bool:
        """Whether there is anything to read now, be it the end or a fault; tickets are nothing."""
        if not self._kept and not self._is_ended:
            try:
                self._kept += self._receive(CHUNK)
            except BlockingIOError:
                return False
            except OSError:
                return True
        return bool(self._kept) or self._is_ended

    def fileno(self) -> int:
        return self._sock.fileno()

    def getpeername(self) -> tuple[str, int]:
        return self._peer

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        return self._sock.getsockopt(level, option, size)

    def send(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def recv(self, size: int) -> bytes:
        """All that is there, up to about that size: what is decrypted already raises no event."""
        received = bytes(self._kept)
        self._kept.clear()
        try:
            while len(received) < size or self._sock.pending():
                more = self._receive(CHUNK)
                if not more:
                    break
                received += more
        except BlockingIOError:
            if not received:
                raise
        return received

    def close(self) -> None:
        self._sock.close()

    def _receive(self, size: int) -> bytes:
        if self._is_ended:
            return b""
        if self._fault is not None:
            raise self._fault
        try:
            received = self._sock.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            received = b""
        except OSError as error:
            self._fault = error
            raise
        self._is_ended = not received
        return received


def tls_fault(error: ssl.SSLError) -> str:
    """What went wrong, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "TLS: the connection was closed within the handshake"
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if reason in ("wrong version number", "packet length too long"):
        return "TLS: the node does not speak it"
    return f"TLS: {reason}"
