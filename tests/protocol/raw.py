"""RESP replies byte for byte: where one ends, and its shape as a tree that still says every byte."""

from __future__ import annotations

import socket
from dataclasses import dataclass

AGGREGATES = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}
BULKS = (b"$", b"=", b"!")


@dataclass(frozen=True, slots=True, order=True)
class Value:
    """One reply: its type byte, the text of a scalar (or the length of an aggregate), its elements."""

    kind: bytes
    text: bytes
    items: tuple[Value, ...] = ()

    @property
    def raw(self) -> bytes:
        body = b"".join(item.raw for item in self.items)
        if self.kind in BULKS and self.text != b"-1":
            return b"%b%d\r\n%b\r\n" % (self.kind, len(self.text), self.text)
        return self.kind + self.text + b"\r\n" + body

    def __str__(self) -> str:
        """The raw bytes, readable; what the patterns of cases match."""
        return self.raw.decode("latin-1").replace("\r\n", "\n")


def parse(data: bytes | bytearray, at: int = 0) -> tuple[Value, int] | None:
    """The reply that begins there and where it ends; None when it is not all there."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, text, at = bytes(data[at : at + 1]), bytes(data[at + 1 : end]), end + 2
    if kind in BULKS and text != b"-1":
        end = at + int(text)
        return (Value(kind, bytes(data[at:end])), end + 2) if len(data) >= end + 2 else None
    items = []
    for _ in range(int(text) * AGGREGATES[kind] if kind in AGGREGATES else 0):
        found = parse(data, at)
        if found is None:
            return None
        item, at = found
        items.append(item)
    return Value(kind, text, tuple(items)), at


class Replies:
    """Reads whole replies from a socket."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._data = bytearray()

    def next(self) -> Value:
        while (found := parse(self._data)) is None:
            data = self._source.recv(1 << 16)
            if not data:
                raise EOFError(f"the connection was closed, with {bytes(self._data)!r} left")
            self._data += data
        value, end = found
        del self._data[:end]
        return value
