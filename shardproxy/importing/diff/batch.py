"""Compares some keys of both sides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from shardproxy.importing.diff.pace import Pace
from shardproxy.importing.diff.side import Request, Side
from shardproxy.importing.diff.tally import Difference, Tally, What
from shardproxy.importing.diff.values import ChangedError, Values, failure_raised
from shardproxy.importing.errors import ForeignError
from shardproxy.model.together import together
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument

SMALL = 64 << 10  # bytes in the node's memory: up to that DUMP is a matter of microseconds
FOOTER = 10  # bytes at the end of a DUMP: version and checksum
INEXACT = 1000  # milliseconds; without PEXPIRETIME it is asked how long is left, one side after the other


T = TypeVar("T")


class Look(NamedTuple):
    """A key on one side."""

    kind: bytes
    expiry: int  # milliseconds since 1970, or left where a side says no more; below 0: none
    size: int  # bytes; 0 = not known

    @property
    def is_there(self) -> bool:
        return self.kind != b"none"


@dataclass(frozen=True, slots=True)
class Batch:
    """See above."""

    a: Side
    b: Side
    pace: Pace
    ttl_within: int  # milliseconds

    async def compare(self, keys: Sequence[bytes], tally: Tally) -> list[Difference]:
        """Say what differs of these keys; raise ForeignError."""
        looks = await self._of_both(keys, self._looks)
        found: list[Difference] = []
        same: list[tuple[bytes, Look, Look]] = []
        for key, a, b in zip(keys, *looks, strict=True):
            if not a.is_there and not b.is_there:
                tally.gone += 1
                continue
            tally.compared += 1
            if (why := self._why_other(key, a, b)) is not None:
                found.append(why)
            else:
                same.append((key, a, b))
        return [*found, *await self._values(same)]

    async def only_in_b(self, keys: Sequence[bytes], tally: Tally) -> list[Difference]:
        """Those of B's keys that A does not have."""
        replies = await self.a.ask([(key, ("EXISTS", key)) for key in keys])
        for reply in replies:
            _refuse(self.a, reply)
        lacking = [key for key, reply in zip(keys, replies, strict=True) if reply == 0]
        # B had it a moment ago: what is gone there too was deleted or has expired meanwhile
        return await self.compare(lacking, tally) if lacking else []

    def _why_other(self, key: bytes, a: Look, b: Look) -> Difference | None:
        if not a.is_there or not b.is_there:
            return Difference(key, What.ONLY_A if a.is_there else What.ONLY_B)
        if a.kind != b.kind:
            return Difference(key, What.TYPE, f"{a.kind.decode()} and {b.kind.decode()}")
        within = self.ttl_within if self._is_exact else max(self.ttl_within, INEXACT)
        if (a.expiry < 0) != (b.expiry < 0):
            return Difference(key, What.TTL, f"none in {'A' if a.expiry < 0 else 'B'}")
        if abs(a.expiry - b.expiry) > within:
            return Difference(key, What.TTL, f"{b.expiry - a.expiry:+d} ms in B")
        return None

    @property
    def _is_exact(self) -> bool:
        return self.a.has_expiretime and self.b.has_expiretime

    async def _looks(self, side: Side, keys: Sequence[bytes]) -> list[Look]:
        expiry = "PEXPIRETIME" if self._is_exact else "PTTL"
        questions: tuple[tuple[str, ...], ...] = (("TYPE",), (expiry,), ("MEMORY", "USAGE"))
        replies = await side.ask([(key, (*words, key)) for key in keys for words in questions])
        looks = []
        for kind, left, size in zip(replies[::3], replies[1::3], replies[2::3], strict=True):
            _refuse(side, kind)
            _refuse(side, left)
            looks.append(
                Look(
                    kind if isinstance(kind, bytes) else b"none",
                    left if isinstance(left, int) else -1,
                    size if isinstance(size, int) else 0,
                )
            )
        return looks

    async def _values(self, keys: Sequence[tuple[bytes, Look, Look]]) -> list[Difference]:
        small = [key for key, a, b in keys if 0 < a.size <= SMALL and 0 < b.size <= SMALL]
        dumps = await self._of_both(small, _dumps) if small else ([], [])
        equal = {key for key, a, b in zip(small, *dumps, strict=True) if a is not None and a == b}
        found = []
        for key, a, _ in keys:
            if key not in equal and (why := await self._why_different(key, a.kind)) is not None:
                found.append(Difference(key, What.VALUE, why))
        return found

    async def _why_different(self, key: bytes, kind: bytes) -> str | None:
        try:
            return await Values(key, _OneKey(self.a, self.b, key), self.pace).why_different(kind)
        except KeyError:
            return f"type {kind.decode(errors='replace')} can only be compared by DUMP, which differs"
        except ChangedError as error:
            return f"changes all the time: {error}"

    async def _of_both(
        self, keys: Sequence[bytes], ask: Callable[[Side, Sequence[bytes]], Awaitable[list[T]]]
    ) -> tuple[list[T], list[T]]:
        """Both at once, so that as little as can be changes in between."""
        a, b = await together(*(partial(ask, side, keys) for side in (self.a, self.b)))
        return a, b


async def _dumps(side: Side, keys: Sequence[bytes]) -> list[bytes | None]:
    replies = await side.ask([(key, ("DUMP", key)) for key in keys])
    return [reply[:-FOOTER] if isinstance(reply, bytes) else None for reply in replies]


def _refuse(side: Side, reply: Reply) -> None:
    """What a side may not be asked cannot be compared."""
    if isinstance(reply, Failure):
        raise ForeignError(f"{side}: {reply.text}")


@dataclass(frozen=True, slots=True)
class _OneKey:
    """Both sides of one key."""

    side_a: Side
    side_b: Side
    key: bytes

    @property
    def has_field_ttl(self) -> bool:
        return self.side_a.has_field_ttl and self.side_b.has_field_ttl

    async def both(self, *args: Argument) -> tuple[Reply, Reply]:
        sides = (self.side_a, self.side_b)
        (a,), (b,) = await together(*(partial(side.ask, [(self.key, args)]) for side in sides))
        return failure_raised(a), failure_raised(b)

    async def a(self, *args: Argument) -> Reply:
        (reply,) = await self.side_a.ask([(self.key, args)])
        return failure_raised(reply)

    async def b(self, requests: Sequence[Request]) -> list[Reply]:
        replies = await self.side_b.ask([(self.key, request) for request in requests])
        return [failure_raised(reply) for reply in replies]
