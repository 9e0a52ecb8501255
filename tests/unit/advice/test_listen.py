"""A server is drained at once, however much it says, and nothing of it is repeated."""

from __future__ import annotations

import socket
import struct

import pytest
import trio

from shardproxy.advice import listen as listening
from shardproxy.advice.listen import ListenError, Target, listen
from shardproxy.model import Address
from shardproxy.nodes.connect import open_socket
from shardproxy.nodes.link import Credentials
from shardproxy.nodes.resolve import Resolver


class Listener:
    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.skipped = 0

    def take(self, line: bytes, /) -> None:
        self.lines.append(line)

    def skip(self, lines: int, /) -> None:
        self.skipped += lines


async def served(said: bytes, ear: Listener, credentials: Credentials | None = None) -> str:
    """Listen to a server that says this and closes; return why that ended."""
    why = ""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(said)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (opened,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [opened])
        port = opened.socket.getsockname()[1]
        try:
            await listen(Target(Address("127.0.0.1", port), credentials), 5, ear)
        except ListenError as error:
            why = str(error)
        nursery.cancel_scope.cancel()
    return why


async def test_lines_beyond_what_can_be_judged_are_skipped() -> None:
    ear, line = Listener(), b'+1.2 [0 a:1] "SET" "k" "' + b"v" * 100 + b'"\r\n'
    assert "closed the connection" in await served(b"+OK\r\n" + line * 50_000, ear)
    assert len(ear.lines) + ear.skipped == 50_000
    assert set(ear.lines) <= {line[:-1]}


async def test_a_line_of_any_length_takes_little_memory() -> None:
    ear = Listener()
    await served(b"+OK\r\n+1.2 [0 a:1] " + b"x" * (5 << 20) + b"\r\n+after\r\n", ear)
    assert max(map(len, ear.lines), default=0) < 3 << 20


async def test_a_refusal_is_told() -> None:
    why = await served(b"-WRONGPASS no\r\n-NOAUTH\r\n", Listener(), Credentials("secret", "me"))
    assert why == "the server says: WRONGPASS no"


async def test_a_server_that_is_gone_before_it_was_asked_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    async def reset(stream: trio.SocketStream) -> None:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()

    async def open_and_wait(address: Address, resolver: Resolver) -> socket.socket:
        sock = await open_socket(address, resolver)
        await trio.lowlevel.wait_readable(sock)
        return sock

    monkeypatch.setattr(listening, "open_socket", open_and_wait)
    async with trio.open_nursery() as nursery:
        (opened,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, reset, [opened])
        target = Target(Address("127.0.0.1", opened.socket.getsockname()[1]))
        with pytest.raises(ListenError, match="closed the connection"):
            await listen(target, 5, Listener())
        nursery.cancel_scope.cancel()


def test_an_address_is_read_and_its_password_is_not_shown() -> None:
    target = Target.parse("redis://me:pass%40word@10.0.0.1")
    assert target == Target(Address("10.0.0.1", 6379), Credentials("pass@word", "me"))
    assert "word" not in repr(target)
    assert Target.parse("unix:///run/redis.sock").address.path == "/run/redis.sock"
    for wrong in (
        "",
        "redis://",
        "10.0.0.1:6379",
        "rediss://a",
        "redis://:secret@a:99999",
        "redis://me:secret/2@a",
        "redis://:secret@[::1",
        "redis://:secret@\u2100",
    ):
        with pytest.raises(ListenError) as told:
            Target.parse(wrong)
        assert "secret" not in str(told.value)
