"""CLIENT PAUSE WRITE holds what an engine holds, and passes what it passes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest

from shardproxy.model import Address
from tests.fixtures.clients import Wire
from tests.fixtures.oracle import Pair
from tests.fixtures.proxy import wait_until

Request = tuple[str | int, ...]

READS = "#!lua flags=no-writes\nreturn 1"
WRITES = "#!lua\nreturn 1"
PLAIN = "return 1"
LIBRARY = (
    "#!lua name=lib\n"
    "redis.register_function('writes', function() return 1 end)\n"
    "redis.register_function{function_name='reads', callback=function() return 1 end, flags={'no-writes'}}"
)


def digest(body: str) -> str:
    return hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest()


# What is sent, the last of it while writes are held.
CASES: list[Sequence[Request]] = [
    [("GET", "k")],
    [("SET", "k", "v")],
    [("PUBLISH", "c", "m")],
    [("SPUBLISH", "c", "m")],
    [("PFCOUNT", "h")],
    [("WAIT", 0, 1)],
    *([(command, body, 0)] for command in ("EVAL", "EVAL_RO") for body in (READS, WRITES, PLAIN)),
    *(
        [(command, digest(body), 0)]
        for command in ("EVALSHA", "EVALSHA_RO")
        for body in (READS, WRITES, PLAIN)
    ),
    [("EVALSHA", digest(READS).upper(), 0)],
    [("EVALSHA", "0" * 40, 0)],
    *([(command, name, 0)] for command in ("FCALL", "FCALL_RO") for name in ("reads", "writes", "nope")),
    [("EVAL", "#!lua flags=no-writes,allow-stale\nreturn 1", 0)],
    [("EVAL", "#!lua flags=nope\nreturn 1", 0)],
    [("EVAL", "#!lua flags=no-writes", 0)],
    [("FLUSHALL",)],
    [("FUNCTION", "FLUSH")],
    [("FUNCTION", "STATS")],
    [("SCRIPT", "LOAD", "return 2")],
    [("SORT_RO", "l")],
    [("SORT", "l")],
    [("BITFIELD_RO", "k", "GET", "u8", 0)],
    [("BITFIELD", "k", "GET", "u8", 0)],
    [("BLPOP", "nothing", "0.01")],
    [("XREAD", "STREAMS", "s", 0)],
    [("XGROUP", "NOPE")],
    [("SET", "k")],
    [("NOPE",)],
    [("EXEC",)],
    [("MULTI",), ("GET", "k"), ("EXEC",)],
    [("MULTI",), ("GET", "k"), ("EVAL", READS, 0), ("FCALL", "reads", 0), ("EXEC",)],
    [("MULTI",), ("EVAL_RO", PLAIN, 0), ("SORT_RO", "l"), ("EXEC",)],
    [("MULTI",), ("GET", "k"), ("SET", "k", "v"), ("EXEC",)],
    [("MULTI",), ("EVAL", PLAIN, 0), ("EXEC",)],
    [("MULTI",), ("PUBLISH", "c", "m"), ("EXEC",)],
    [("MULTI",), ("SET", "k", "v")],
    [("MULTI",), ("GET", "k")],
    [("MULTI",), ("SET", "k", "v"), ("DISCARD",)],
    [("MULTI",), ("NOPE",), ("EXEC",)],
]


def outcome(address: Address, requests: Sequence[Request]) -> Any:
    """The last one's reply, or "held"."""
    with closing(Wire(address)) as admin, closing(Wire(address)) as client:
        admin.ask("DEL", "k", "h", "l", "s")
        for body in (READS, WRITES, PLAIN):
            admin.ask("SCRIPT", "LOAD", body)
        admin.ask("FUNCTION", "LOAD", "REPLACE", LIBRARY)
        *before, last = requests
        for request in before:
            client.ask(*request)
        assert admin.ask("CLIENT", "PAUSE", 60_000, "WRITE") == b"OK"
        client.send_command(*last)
        wait_until(lambda: answered(client) or blocked(admin) == 1, f"{last} is answered or held")
        is_held = not answered(client)
        assert is_held == any(
            "b" in line.split(" flags=")[1].split()[0]
            for line in admin.ask("CLIENT", "LIST").decode().splitlines()
        )
        assert admin.ask("CLIENT", "UNPAUSE") == b"OK"
        reply = client.reply()
        wait_until(lambda: blocked(admin) == 0, "nobody is blocked any more")
        return "held" if is_held else reply


def answered(client: Wire) -> bool:
    """Whether something is there to be read."""
    client.socket.setblocking(False)
    try:
        return bool(client.socket.recv(1, 2))  # MSG_PEEK
    except BlockingIOError:
        return False
    finally:
        client.socket.settimeout(10)


def blocked(admin: Wire) -> int:
    lines = admin.ask("INFO", "clients").decode().splitlines()
    return int(next(line for line in lines if line.startswith("blocked_clients:")).partition(":")[2])


@pytest.mark.parametrize("requests", CASES, ids=lambda requests: " ".join(map(str, requests[-1][:2])))
def test_it_holds_what_an_engine_holds(pair: Pair, requests: Sequence[Request]) -> None:
    theirs = outcome(pair.plain.address, requests)
    assert outcome(pair.primary, requests) == theirs
    if "FUNCTION" not in requests[-1] and requests[-1][0] != "WAIT":
        assert (outcome(pair.sharded, requests) == "held") == (theirs == "held")


@pytest.mark.parametrize("where", ["plain", "primary"])
def test_a_pause_gets_no_shorter_and_holds_no_less(pair: Pair, where: str) -> None:
    address = pair.plain.address if where == "plain" else pair.primary
    with closing(Wire(address)) as admin, closing(Wire(address)) as client:
        admin.ask("CLIENT", "PAUSE", 60_000, "WRITE")
        admin.ask("CLIENT", "PAUSE", 1, "WRITE")
        client.send_command("SET", "k", "v")
        wait_until(lambda: blocked(admin) == 1, "it is held")
        assert "cmd=set" in admin.ask("CLIENT", "LIST").decode()
        assert [" flags=b " in line for line in admin.ask("CLIENT", "LIST").decode().splitlines()] == [
            False,
            True,
        ]
        admin.ask("CLIENT", "UNPAUSE")
        assert client.reply() == b"OK"
