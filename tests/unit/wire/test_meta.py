"""Replies of memcached's meta protocol: whole, byte by byte, and wrong."""

from __future__ import annotations

import pytest

from shardproxy.wire.meta import Reader, encode
from shardproxy.wire.reply import Failure
from shardproxy.wire.resp import INCOMPLETE, ProtocolError

REPLIES = b"HD c7\r\nVA 4 f0 c9\r\na\r\nb\r\nEN\r\nVA 0 W\r\n\r\nSERVER_ERROR no memory\r\nSTORED\r\n"
READ = [
    [b"HD", b"c7"],
    [b"VA", b"a\r\nb", b"f0", b"c9"],
    [b"EN"],
    [b"VA", b"", b"W"],
    Failure("SERVER_ERROR no memory"),
    [b"STORED"],
]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_replies_are_cut(size: int) -> None:
    reader, found = Reader(1000), []
    for at in range(0, len(REPLIES), size):
        reader.feed(REPLIES[at : at + size])
        while (reply := reader.next()) is not INCOMPLETE:
            found.append(reply)
    assert found == READ
    assert reader.is_idle


@pytest.mark.parametrize("data", [b"VA x\r\n", b"VA 1\r\nabcd", b"\r\n", b"x" * 3000, b"VA\r\n"])
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    reader = Reader(1 << 20)
    reader.feed(data)
    with pytest.raises(ProtocolError):
        reader.next()


def test_a_reply_has_a_limit() -> None:
    with pytest.raises(ProtocolError):
        Reader(100).feed(b"VA 200\r\n" + b"x" * 100)


def test_requests_have_their_data_last() -> None:
    assert encode(b"ms", b"k", b"T5", b"a\r\nb") == b"ms k 4 T5\r\na\r\nb\r\n"
    assert encode(b"mg", b"k", "v", 1) == b"mg k v 1\r\n"
    assert encode(b"set", b"auth", b"0", b"0", b"u p") == b"set auth 0 0 3\r\nu p\r\n"
