"""Replies are the bytes an engine would send, in both versions of RESP."""

from __future__ import annotations

import pytest

from shardproxy.wire.reply import OK, Failure, NullArray, Raw, Reply, SetOf, Simple, Verbatim, reply_encode

CASES: list[tuple[Reply, bytes, bytes]] = [
    (OK, b"+OK\r\n", b"+OK\r\n"),
    (Simple("a\r\nb"), b"+a  b\r\n", b"+a  b\r\n"),
    (Failure("ERR no"), b"-ERR no\r\n", b"-ERR no\r\n"),
    (Failure("ERR a\nb"), b"-ERR a b\r\n", b"-ERR a b\r\n"),
    (None, b"$-1\r\n", b"_\r\n"),
    (NullArray(), b"*-1\r\n", b"_\r\n"),
    (True, b":1\r\n", b"#t\r\n"),
    (False, b":0\r\n", b"#f\r\n"),
    (-7, b":-7\r\n", b":-7\r\n"),
    (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
    (3.0, b"$1\r\n3\r\n", b",3\r\n"),
    (float("-inf"), b"$4\r\n-inf\r\n", b",-inf\r\n"),
    ("é", b"$2\r\n\xc3\xa9\r\n", b"$2\r\n\xc3\xa9\r\n"),
    (b"\x00\r\n", b"$3\r\n\x00\r\n\r\n", b"$3\r\n\x00\r\n\r\n"),
    ("\udcff", b"$1\r\n\xff\r\n", b"$1\r\n\xff\r\n"),
    ([], b"*0\r\n", b"*0\r\n"),
    ([1, ["a"]], b"*2\r\n:1\r\n*1\r\n$1\r\na\r\n", b"*2\r\n:1\r\n*1\r\n$1\r\na\r\n"),
    ({"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
    (SetOf(("a",)), b"*1\r\n$1\r\na\r\n", b"~1\r\n$1\r\na\r\n"),
    (Verbatim("ab"), b"$2\r\nab\r\n", b"=6\r\ntxt:ab\r\n"),
    (Raw(b":1\r\n"), b":1\r\n", b":1\r\n"),
]


@pytest.mark.parametrize(("reply", "resp2", "resp3"), CASES)
def test_reply_has_these_bytes(reply: Reply, resp2: bytes, resp3: bytes) -> None:
    assert reply_encode(reply, 2) == resp2
    assert reply_encode(reply, 3) == resp3
