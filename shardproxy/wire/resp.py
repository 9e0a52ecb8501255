"""RESP as a node speaks it to the control plane: requests out, replies in. Knows nothing of sockets.

hiredis does the reading. It misreads RESP3 attributes and bulk errors (`|`, `!`); no engine sends those to
the commands the control plane uses.
"""

from __future__ import annotations

import enum
from typing import Final, TypeAlias, cast

import hiredis

from shardproxy.wire.reply import Failure, Reply

Argument: TypeAlias = bytes | str | int | float

MAX_REPLY: Final = 512 << 20  # bytes; an engine's own limit of one bulk string (proto-max-bulk-len)


class ProtocolError(Exception):
    """The bytes are not RESP; the connection they came from is of no use any more."""


class Incomplete(enum.Enum):
    """What a reader has while a reply is not all there."""

    INCOMPLETE = enum.auto()


INCOMPLETE: Final = Incomplete.INCOMPLETE


def encode(*args: Argument) -> bytes:
    """A request, as an array of bulk strings."""
    return cast("bytes", hiredis.pack_command(args))  # type: ignore[arg-type]  # its stub says tuples of one


class Reader:
    """Cuts received bytes into replies.

    Simple and bulk strings come as bytes, errors as Failure, maps as dict, sets and pushes as list.
    """

    def __init__(self, max_reply: int = MAX_REPLY) -> None:
        self._reader = hiredis.Reader(
            protocolError=ProtocolError, replyError=_ErrorReplyError, notEnoughData=INCOMPLETE
        )
        self._waiting = 0  # bytes fed since the last whole reply
        self._max_reply = max_reply

    def feed(self, data: bytes | bytearray) -> None:
        """Take bytes; raise ProtocolError when the unfinished reply is larger than it may be."""
        self._waiting += len(data)
        if self._waiting > self._max_reply:
            raise ProtocolError(f"a reply of more than {self._max_reply} bytes")
        self._reader.feed(bytes(data))

    def next(self) -> Reply | Incomplete:
        """The next whole reply, or INCOMPLETE; raise ProtocolError when the bytes cannot be read."""
        try:
            value: object = self._reader.gets()
        except (TypeError, ValueError) as e:  # a map whose key is a list, a number that is none
            raise ProtocolError(str(e)) from e
        if value is INCOMPLETE:
            return INCOMPLETE
        self._waiting = 0
        return _plain(value)

    @property
    def is_idle(self) -> bool:
        """Nothing but whole replies was fed, and all were taken."""
        return not self._reader.has_data()


class _ErrorReplyError(Exception):
    """How hiredis hands an error over; `_plain` makes it a Failure."""


def _plain(value: object) -> Reply:
    match value:
        case _ErrorReplyError():
            return Failure(str(value))
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
    return cast("Reply", value)
