"""memcached's meta protocol as a node speaks it to the control plane. Knows nothing of sockets.

A request is words, of `ms` and `set` with the data last. A reply is a list: its code and its flags as they
come; of VA the value stands behind the code. An error is a Failure. (memcached: doc/protocol.txt)
"""

from __future__ import annotations

from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import INCOMPLETE, Argument, Incomplete, ProtocolError

MAX_LINE = 2048  # bytes; a key has 250, and flags are short
ERRORS = (b"SERVER_ERROR", b"CLIENT_ERROR", b"ERROR")
END = b"\r\n"


def encode(*args: Argument) -> bytes:
    """A request as it is sent."""
    words = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    match words:
        case [b"ms", key, *flags, data]:
            return b"%b%b%b%b" % (b" ".join((b"ms", key, b"%d" % len(data), *flags)), END, data, END)
        case [b"set", *line, data]:
            return b"%b %d%b%b%b" % (b" ".join((b"set", *line)), len(data), END, data, END)
    return b" ".join(words) + END


class Reader:
    """Cuts received bytes into replies."""

    def __init__(self, max_reply: int) -> None:
        self._data = bytearray()
        self._max_reply = max_reply

    def feed(self, data: bytes | bytearray) -> None:
        """Take bytes; raise ProtocolError when the unfinished reply is larger than it may be."""
        self._data += data
        if len(self._data) > self._max_reply:
            raise ProtocolError(f"a reply of more than {self._max_reply} bytes")

    def next(self) -> Reply | Incomplete:
        """The next whole reply, or INCOMPLETE; raise ProtocolError when the bytes cannot be read."""
        end = self._data.find(END)
        if end < 0 or end > MAX_LINE:
            if len(self._data) > MAX_LINE:
                raise ProtocolError("a line without an end")
            return INCOMPLETE
        line = bytes(self._data[:end])
        words = line.split()
        if not words:
            raise ProtocolError("an empty line")
        start = end + len(END)
        if words[0] != b"VA":
            del self._data[:start]
            return Failure(line.decode("utf-8", "replace")) if words[0] in ERRORS else list(words)
        if len(words) < 2 or not words[1].isdigit():
            raise ProtocolError("a value without a length")
        length = int(words[1])
        if len(self._data) < start + length + len(END):
            return INCOMPLETE
        value = bytes(self._data[start : start + length])
        if self._data[start + length : start + length + len(END)] != END:
            raise ProtocolError("a value without an end")
        del self._data[: start + length + len(END)]
        return [b"VA", value, *words[2:]]

    @property
    def is_idle(self) -> bool:
        """Nothing but whole replies was fed, and all were taken."""
        return not self._data
