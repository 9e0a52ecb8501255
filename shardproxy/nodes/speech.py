"""How a node is spoken to: its engine's protocol, as links need it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from shardproxy.wire import meta, resp
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Argument, Incomplete


class Reader(Protocol):
    """Cuts received bytes into replies; see wire.resp."""

    def feed(self, data: bytes | bytearray) -> None: ...

    def next(self) -> Reply | Incomplete: ...

    @property
    def is_idle(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Speech:
    """A protocol; `login` makes the request that logs in."""

    name: str
    encode: Callable[..., bytes]
    reader: Callable[[int], Reader]  # of replies with so many bytes at most
    login: Callable[[str | None, str], tuple[Argument, ...]]


def _auth(username: str | None, password: str) -> tuple[Argument, ...]:
    return ("AUTH", *([username] if username else []), password)


def _set(username: str | None, password: str) -> tuple[Argument, ...]:
    return (b"set", b"auth", b"0", b"0", f"{username or ''} {password}".encode())


RESP = Speech("RESP", resp.encode, resp.Reader, _auth)
MEMCACHED = Speech("memcached", meta.encode, meta.Reader, _set)
