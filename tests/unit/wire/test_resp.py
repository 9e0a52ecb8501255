"""The reader gives the same replies however the bytes arrive."""

from __future__ import annotations

import pytest

from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import INCOMPLETE, ProtocolError, Reader, encode

CASES: list[tuple[bytes, Reply]] = [
    (b"+OK\r\n", b"OK"),
    (b"-ERR no\r\n", Failure("ERR no")),
    (b":-3\r\n", -3),
    (b"$3\r\na\r\n\r\n", b"a\r\n"),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*2\r\n+a\r\n*1\r\n-ERR inner\r\n", [b"a", [Failure("ERR inner")]]),
    (b"_\r\n", None),
    (b"#t\r\n", True),
    (b",1.5\r\n", 1.5),
    (b"%1\r\n$1\r\na\r\n:1\r\n", {b"a": 1}),
    (b"~1\r\n:1\r\n", [1]),
    (b"=6\r\ntxt:ab\r\n", b"ab"),
]


def read_all(reader: Reader) -> list[object]:
    replies: list[object] = []
    while (reply := reader.next()) is not INCOMPLETE:
        replies.append(reply)
    return replies


@pytest.mark.parametrize(("data", "reply"), CASES)
def test_reply_is_read_whole_and_byte_by_byte(data: bytes, reply: Reply) -> None:
    whole = Reader()
    whole.feed(data * 2)
    assert read_all(whole) == [reply, reply]
    assert whole.is_idle

    slow = Reader()
    for i in range(len(data)):
        assert read_all(slow) == []
        slow.feed(data[i : i + 1])
    assert read_all(slow) == [reply]


@pytest.mark.parametrize("data", [b"HTTP/1.1 400\r\n", b"$x\r\n", b"%1\r\n*1\r\n:1\r\n:2\r\n"])
def test_other_bytes_are_a_protocol_error(data: bytes) -> None:
    reader = Reader()
    reader.feed(data)
    with pytest.raises(ProtocolError):
        reader.next()


def test_part_of_a_reply_is_not_idle() -> None:
    reader = Reader()
    reader.feed(b":1\r\n:2")
    assert read_all(reader) == [1]
    assert not reader.is_idle


def test_unfinished_reply_is_bounded() -> None:
    reader = Reader(max_reply=100)
    reader.feed(b"$1000\r\n" + b"x" * 90)
    assert reader.next() is INCOMPLETE
    with pytest.raises(ProtocolError, match="more than 100 bytes"):
        reader.feed(b"x" * 90)


def test_many_replies_may_exceed_the_bound_of_one() -> None:
    reader = Reader(max_reply=100)
    for _ in range(100):
        reader.feed(b"+four\r\n")
        assert read_all(reader) == [b"four"]


def test_request_is_an_array_of_bulk_strings() -> None:
    assert encode("SET", b"\xff", 1) == b"*3\r\n$3\r\nSET\r\n$1\r\n\xff\r\n$1\r\n1\r\n"
