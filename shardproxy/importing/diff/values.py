"""Whether two values are the same, whatever their encoding: in chunks, so that no node is kept long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shardproxy.importing.diff.pace import ELEMENTS, Pace
from shardproxy.importing.errors import ForeignError
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument

CHUNK = 500  # elements asked for at once
BYTES = 1 << 20  # of a string


class ChangedError(ForeignError):
    """It is another value now, or none: it cannot be compared this time."""


class Both(Protocol):
    """The two sides, of one key."""

    @property
    def has_field_ttl(self) -> bool:
        """Fields of hashes may expire on both."""

    async def both(self, *args: Argument) -> tuple[Reply, Reply]:
        """The same request to both; raise ChangedError for an error reply."""

    async def a(self, *args: Argument) -> Reply: ...

    async def b(self, requests: Sequence[tuple[Argument, ...]]) -> list[Reply]: ...


@dataclass(frozen=True, slots=True)
class Values:
    """One key's two values, both of this type."""

    key: bytes
    sides: Both
    pace: Pace

    async def why_different(self, kind: bytes) -> str | None:
        """Say what differs, or None; raise ChangedError, or KeyError for a type that is not known."""
        compare: dict[bytes, Callable[[], Awaitable[str | None]]] = {
            b"string": self._string,
            b"list": self._list,
            b"set": self._set,
            b"zset": self._zset,
            b"hash": self._hash,
            b"stream": self._stream,
        }
        return await compare[kind]()

    async def _counts(self, command: str, what: str) -> tuple[int, str | None]:
        a, b = await self.sides.both(command, self.key)
        if not isinstance(a, int) or not isinstance(b, int):
            raise ChangedError(f"{command} replied {a!r:.40} and {b!r:.40}")
        return a, None if a == b else f"{a} and {b} {what}"

    async def _string(self) -> str | None:
        length, why = await self._counts("STRLEN", "bytes")
        if why is not None:
            return why
        for first in range(0, length, BYTES):
            await self.pace.take(1)
            a, b = await self.sides.both("GETRANGE", self.key, first, first + BYTES - 1)
            if a != b:
                return f"within bytes {first} to {min(first + BYTES, length) - 1}"
        return None

    async def _list(self) -> str | None:
        length, why = await self._counts("LLEN", "elements")
        if why is not None:
            return why
        for first in range(0, length, CHUNK):
            await self.pace.take(CHUNK / ELEMENTS)
            a, b = await self.sides.both("LRANGE", self.key, first, first + CHUNK - 1)
            if a != b:
                return f"within elements {first} to {min(first + CHUNK, length) - 1}"
        return None

    async def _set(self) -> str | None:
        _, why = await self._counts("SCARD", "members")
        return why or await self._scan("SSCAN", 1, self._set_chunk)

    async def _set_chunk(self, members: Sequence[bytes]) -> str | None:
        has = await self.sides.b([("SISMEMBER", self.key, member) for member in members])
        return (
            None if all(reply == 1 for reply in has) else f"{sum(r != 1 for r in has)} members of A not in B"
        )

    async def _zset(self) -> str | None:
        _, why = await self._counts("ZCARD", "members")
        return why or await self._scan("ZSCAN", 2, self._zset_chunk)

    async def _zset_chunk(self, items: Sequence[bytes]) -> str | None:
        members, scores = items[::2], items[1::2]
        said = await self.sides.b([("ZSCORE", self.key, member) for member in members])
        pairs = zip(scores, said, strict=True)
        other = sum(not isinstance(b, bytes) or float(a) != float(b) for a, b in pairs)
        return f"{other} members of A with another score in B" if other else None

    async def _hash(self) -> str | None:
        _, why = await self._counts("HLEN", "fields")
        return why or await self._scan("HSCAN", 2, self._hash_chunk)

    async def _hash_chunk(self, items: Sequence[bytes]) -> str | None:
        fields, values = items[::2], list(items[1::2])
        (said,) = await self.sides.b([("HMGET", self.key, *fields)])
        if said != values:
            return "fields of A with another value in B"
        if self.sides.has_field_ttl:
            a, b = await self.sides.both("HPEXPIRETIME", self.key, "FIELDS", len(fields), *fields)
            if a != b:
                return "times to live of fields"
        return None

    async def _scan(
        self, command: str, width: int, chunk: Callable[[Sequence[bytes]], Awaitable[str | None]]
    ) -> str | None:
        cursor: bytes = b"0"
        while True:
            await self.pace.take(CHUNK / ELEMENTS)
            reply = await self.sides.a(command, self.key, cursor, "COUNT", CHUNK)
            match reply:
                case [bytes() as cursor, list() as items] if len(items) % width == 0:
                    found = [item for item in items if isinstance(item, bytes)]
                case _:
                    raise ChangedError(f"{command} replied {reply!r:.80}")
            for first in range(0, len(found), width * CHUNK):  # a small encoding comes whole
                if (why := await chunk(found[first : first + width * CHUNK])) is not None:
                    return why
            if cursor == b"0":
                return None

    async def _stream(self) -> str | None:
        _, why = await self._counts("XLEN", "entries")
        if why is not None:
            return why
        first: bytes = b"-"
        while True:
            await self.pace.take(CHUNK / ELEMENTS)
            a, b = await self.sides.both("XRANGE", self.key, first, "+", "COUNT", CHUNK)
            if a != b:
                return "entries"
            match a:
                case [*_, [bytes() as last, *_]] if len(a) == CHUNK:
                    first = last  # again: an engine before 6.2 knows no "after"
                case _:
                    break
        a, b = await self.sides.both("XINFO", "STREAM", self.key)
        if _field(a, b"last-generated-id") != _field(b, b"last-generated-id"):
            return "last ID"
        a, b = await self.sides.both("XINFO", "GROUPS", self.key)
        return None if _groups(a) == _groups(b) else "consumer groups"


def _field(reply: Reply, name: bytes) -> Reply:
    items: list[Reply] = list(reply) if isinstance(reply, list) else []
    return items[2 * items[::2].index(name) + 1] if name in items[::2] else None


def _groups(reply: Reply) -> list[tuple[Reply, ...]]:
    """What applications see of them; consumers without pending entries come and go."""
    names = (b"name", b"pending", b"last-delivered-id")
    groups = reply if isinstance(reply, list) else []
    return [tuple(_field(group, name) for name in names) for group in groups]


def failure_raised(reply: Reply) -> Reply:
    """The reply, but raise ChangedError for an error."""
    if isinstance(reply, Failure):
        raise ChangedError(reply.text)
    return reply
