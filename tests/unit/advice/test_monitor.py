"""Lines of MONITOR are read as Redis writes them."""

from __future__ import annotations

from shardproxy.advice.monitor import Seen, line_parse


def test_a_line_is_database_client_and_arguments() -> None:
    table = {
        b'+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"\r\n': Seen(
            0, b"127.0.0.1:60866", (b"keys", b"*")
        ),
        b'1.2 [15 [::1]:5] "GET" ""': Seen(15, b"[::1]:5", (b"GET", b"")),
        b'1.2 [0 unix:/tmp/a b.sock] "PING"': Seen(0, b"unix:/tmp/a b.sock", (b"PING",)),
        b'1.2 [3 lua] "get" "a\\"b\\\\c"': Seen(3, b"lua", (b"get", b'a"b\\c')),
        b'1.2 [0 a:1] "SET" "\\n\\r\\t\\a\\b\\x00\\xff" "x\\" \\""': Seen(
            0, b"a:1", (b"SET", b"\n\r\t\a\b\x00\xff", b'x" "')
        ),
    }
    for line, expected in table.items():
        assert line_parse(line) == expected


def test_what_is_no_line_is_none() -> None:
    for line in (
        b"",
        b"+OK",
        b'1.2 [0 a:1] "GET" "a',
        b"1.2 [0 a:1] GET a",
        b"1.2 [0 a:1] ",
        b'[0 a:1] "GET"',
    ):
        assert line_parse(line) is None
