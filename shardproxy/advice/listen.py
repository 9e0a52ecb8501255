"""Listens to a server by MONITOR, and asks it what MONITOR does not show. Changes nothing there."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote, urlsplit

import trio

from shardproxy.commands.learn import entry_of
from shardproxy.commands.table import Table
from shardproxy.model import Address
from shardproxy.nodes.connect import open_socket
from shardproxy.nodes.errors import NodeError, NodeFailure
from shardproxy.nodes.link import Credentials, NodeLink
from shardproxy.nodes.resolve import own_resolver
from shardproxy.wire.info import InfoError, read_fields
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import encode

CHUNK = 1 << 18  # bytes; where so many wait at once the server is faster than we are
LINE = 1 << 20  # bytes of a line that are kept
CONNECT = 5.0  # seconds
LEARNED = 2048  # commands of modules
ADDRESS = "--app is redis://[user:password@]host[:port] or unix:///path; in a password / is %2F, @ %40"


class ListenError(Exception):
    """The server cannot be listened to."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server and what it wants to hear first."""

    address: Address
    credentials: Credentials | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read redis://[user:password@]host[:port] or unix:///path; raise ListenError."""
        try:
            url = urlsplit(text)
            if url.scheme == "redis" and url.hostname:
                address = Address(url.hostname, url.port or 6379)
            elif url.scheme == "unix" and url.path:
                address = Address.parse(f"unix:{url.path}")
            else:
                raise ListenError(ADDRESS)
        except ValueError:
            raise ListenError(ADDRESS) from None  # what it says may quote a password
        password = unquote(url.password) if url.password else None
        return cls(address, Credentials(password, unquote(url.username or "") or None) if password else None)


class Ear(Protocol):
    """Who hears MONITOR."""

    def take(self, line: bytes, /) -> None: ...

    def skip(self, lines: int, /) -> None:
        """So many lines were not looked at, and what they belonged to is not known."""


async def listen(target: Target, seconds: float, ear: Ear) -> None:
    """Let every line of MONITOR be heard for so long; raise ListenError.

    Redis keeps without limit what a slow listener has not read, so whatever comes is read at once: when there
    is too much of it, lines are skipped.
    """
    login = []
    if target.credentials is not None:
        login = [word for word in (target.credentials.username, target.credentials.password) if word]
    try:
        with trio.fail_after(CONNECT):
            sock = await open_socket(target.address, own_resolver())
    except (OSError, trio.TooSlowError) as error:
        why = "no answer" if isinstance(error, trio.TooSlowError) else error
        raise ListenError(f"{target.address} cannot be reached: {why}") from error
    requests = ([("AUTH", *login)] if login else []) + [("MONITOR",)]
    async with trio.SocketStream(trio.socket.from_stdlib_socket(sock)) as stream:
        with trio.move_on_after(seconds):
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(b"".join(encode(*request) for request in requests))
                await _read(stream, len(requests), ear)
            raise ListenError(f"{target.address} closed the connection")


async def _read(stream: trio.SocketStream, greetings: int, ear: Ear) -> None:
    """Until the other side closes; of a line that is too long only the beginning is kept."""
    rest = b""
    while data := await stream.receive_some(CHUNK):
        *lines, rest = (rest + data).split(b"\n")
        while lines and greetings > 0:
            greetings -= 1
            if (line := lines.pop(0)).startswith(b"-"):
                raise ListenError(f"the server says: {line[1:].decode(errors='replace').strip()}")
        if len(data) == CHUNK and lines:
            ear.skip(len(lines))
        else:
            for line in lines:
                ear.take(line)
        if len(rest) > LINE:
            rest = rest[: LINE + 1]


async def table_of(target: Target, table: Table) -> Table:
    """The table with the server's own commands, those of modules among them."""
    reply = await _ask(target, "COMMAND")
    for info in reply if isinstance(reply, list) else ():
        name = info[0] if isinstance(info, list) and info else None
        text = name.decode(errors="replace").lower() if isinstance(name, bytes) else str(name)
        if table.get(text) is None and len(table.learned) < LEARNED:
            entry = entry_of([info], text)
            table = table.with_command(entry) if entry is not None else table
    return table


async def called(target: Target) -> dict[str, int]:
    """How often each command was called since the server started: MONITOR does not show all."""
    try:
        fields = read_fields(await _ask(target, "INFO", "commandstats"))
    except InfoError:
        return {}
    found = {}
    for name, text in fields.items():
        calls = text.partition("calls=")[2].partition(",")[0]
        if name.startswith("cmdstat_") and calls.isdigit():
            found[name.removeprefix("cmdstat_")] = int(calls)
    return found


async def _ask(target: Target, *words: str) -> Reply:
    """A reply, or None where the server does not give one."""
    link = NodeLink(target.address, credentials=lambda: target.credentials)
    try:
        return await link.request(*words)
    except (NodeError, NodeFailure):
        return None
    finally:
        link.close()


def invisible(table: Table, calls: dict[str, int]) -> Sequence[tuple[str, int, str]]:
    """Commands that MONITOR hides and the proxy refuses, with their count and why."""
    found = []
    for name, count in sorted(calls.items()):
        command = table.get(name)
        if (
            command
            and command.route == "refused"
            and "admin" in command.flags
            and count
            and name != "monitor"
        ):
            found.append((name.replace("|", " ").upper(), count, command.note or ""))
    return found
