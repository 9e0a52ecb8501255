"""Leases: who may load a key, or write it, over all workers and all proxies. Each verb is one script.

A lease ends by itself, later than the source's deadline; what its holder does after that is refused.

    none ── claim ──> l:TOKEN ── fill ──> none, and the value is there
                         │  └── missing ─> m (no row), for a while
                         └── any write ──> none: the fill is refused

Who writes through has another one, under another name: it ends the loader's, and none is claimed beside it.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from shardproxy.caching.engines import Call, Engines, Place, Request
from shardproxy.caching.names import SlotNames
from shardproxy.caching.scripts import CLAIM, FILL, INVALIDATE, MISSING, RELEASE, WRITE, Script
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Argument

MAX_WORDS = 4096  # of a command that a script does: Lua unpacks some thousands at once

Command = Sequence[Argument]


class Claim(enum.Enum):
    """What came of asking for the lease of a key."""

    MINE = b"mine"
    THERE = b"there"  # it has a value by now
    GONE = b"gone"  # what was to be refreshed has no value any more
    MISSING = b"missing"  # there is no row, as was found out lately
    DIRTY = b"dirty"  # the database lacks writes of it
    BUSY = b"busy"  # somebody else loads or writes it


class Kind(enum.Enum):
    """Why a key is loaded."""

    COLD = "cold"  # it has no value
    REFRESH = "refresh"  # it has one that is old


@dataclass(frozen=True, slots=True)
class Held:
    """A key, with the token of whoever asks for its lease."""

    names: SlotNames
    key: bytes
    token: bytes
    lease: bytes  # its name

    @classmethod
    def to_load(cls, names: SlotNames, key: bytes) -> Held:
        return cls(names, key, b"l:" + _token(), names.lease(key))

    @classmethod
    def to_write(cls, names: SlotNames, key: bytes) -> Held:
        return cls(names, key, b"w:" + _token(), names.write(key))

    @property
    def place(self) -> Place:
        return Place(self.names.cluster, self.names.slot)


def _token() -> bytes:
    return secrets.token_hex(8).encode()


class LoadLeases(Protocol):
    """What loading needs of leases, whatever the engine keeps them in."""

    async def claim(self, held: Held, kind: Kind, milliseconds: int, deadline: float) -> Claim: ...

    async def fill(
        self, held: Held, kind: Kind, commands: Sequence[Command], milliseconds: int, deadline: float
    ) -> bool: ...

    async def missing(self, held: Held, kind: Kind, milliseconds: int, deadline: float) -> bool: ...

    async def release(self, held: Held, deadline: float) -> None: ...


class Leases:
    """Asks for leases. All raise EngineDownError, and EngineRefusedError (as when memory is full)."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def claim(self, held: Held, kind: Kind, milliseconds: int, deadline: float) -> Claim:
        names, key = held.names, held.key
        keys = (key, held.lease, names.dirty(key), names.stream, names.write(key))
        reply = await self._run(held, CLAIM, keys, (held.token, milliseconds, kind.value), deadline)
        return Claim(cast("list[bytes]", reply)[0])

    async def fill(
        self, held: Held, kind: Kind, commands: Sequence[Command], milliseconds: int, deadline: float
    ) -> bool:
        """Whether the value was stored: not where the lease has ended or a write has cancelled it."""
        args = (held.token, milliseconds, kind.value, *framed(commands))
        return await self._run(held, FILL, (held.key, held.lease), args, deadline) == 1

    async def missing(self, held: Held, kind: Kind, milliseconds: int, deadline: float) -> bool:
        """Remember that there is no row; whether the lease was ours still."""
        args = (held.token, milliseconds, kind.value)
        return await self._run(held, MISSING, (held.key, held.lease), args, deadline) == 1

    async def release(self, held: Held, deadline: float) -> None:
        """Give it back, with what a write has prepared."""
        await self._run(held, RELEASE, (held.lease, held.names.new(held.key)), (held.token,), deadline)

    async def write(self, held: Held, milliseconds: int, deadline: float) -> Claim:
        """Take it from who loads; BUSY while another one writes, DIRTY while the database lacks writes."""
        names, key = held.names, held.key
        keys = (held.lease, names.lease(key), names.dirty(key), names.stream, names.new(key))
        return Claim(await self._run(held, WRITE, keys, (held.token, milliseconds), deadline))

    async def invalidate(
        self, names: SlotNames, key: bytes, deadline: float, behind: Request | None = None
    ) -> Reply:
        """Forget a key, and what is being loaded or written of it; the reply to a request `behind` that."""
        call = Call(INVALIDATE, (key, names.lease(key), names.new(key)), ())
        place = Place(names.cluster, names.slot)
        return (await self._engines.evaluate(place, call, deadline=deadline, behind=behind))[-1]

    async def _run(
        self, held: Held, script: Script, keys: Sequence[bytes], args: Sequence[Argument], deadline: float
    ) -> Reply:
        replies = await self._engines.evaluate(held.place, Call(script, keys, args), deadline=deadline)
        return replies[0]


def framed(commands: Sequence[Command]) -> list[Argument]:
    """Commands as scripts take them, each behind its length; ValueError of one with too many words."""
    words: list[Argument] = []
    for command in commands:
        if len(command) > MAX_WORDS:
            raise ValueError(f"a command of {len(command)} words, and scripts take {MAX_WORDS}")
        words += [len(command), *command]
    return words
