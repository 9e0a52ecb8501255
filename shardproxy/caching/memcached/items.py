"""What a node has of a key: a value, or an empty one whose flags say what is going on. Knows no rule.

    ms KEY 0 F<mark>      somebody loads it, or writes it, or it has no row
    ... C<cas>            done only where nobody has changed it since

The low 24 bits of the flags are a number of who made the mark: by it one finds one's own again, also where
the reply was lost. (Of MISSING they are when that ends.) The data plane takes what is empty for missing, so
that clients see no marks.
"""

from __future__ import annotations

import base64
import enum
import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import trio

from shardproxy.caching.engines import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    TIMEOUT,
    EngineDownError,
    EngineRefusedError,
)
from shardproxy.model import Address
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks
from shardproxy.wire.reply import Failure, Reply
from shardproxy.wire.resp import Argument

LONGEST_RELATIVE = 60 * 60 * 24 * 30  # seconds; memcached takes more for a date
LOOK = (b"s", b"f", b"v", b"c", b"t")
FOREVER = -1

Words = tuple[Argument, ...]


class Mark(enum.IntEnum):
    """What an empty value stands for: the high byte of its flags."""

    LOADING = 0xC1
    WRITING = 0xC2
    MISSING = 0xC3  # there is no row


MARKS = {mark.value: mark for mark in Mark}


@dataclass(frozen=True, slots=True)
class Item:
    """What a node has; `mark` in place of a value."""

    value: bytes
    flags: int
    cas: int
    left: int  # seconds it lives; -1: without end
    mark: Mark | None
    is_place: bool = False  # a client's own, of mg with N: it is to be filled by that

    @property
    def is_value(self) -> bool:
        return self.mark is None and not self.is_place


def mark_made(mark: Mark) -> int:
    """The flags of one's own mark."""
    return mark << 24 | secrets.randbits(24)


def lifetime(milliseconds: int) -> int:
    """As T takes it, and not less; 0: without end. memcached counts whole seconds."""
    if milliseconds <= 0:
        return 0
    seconds = math.ceil(milliseconds / 1000)
    return seconds if seconds <= LONGEST_RELATIVE else int(time.time()) + seconds


def lease_seconds(milliseconds: int) -> int:
    """Not less than that: a lifetime of one second may end at once."""
    return math.ceil(milliseconds / 1000) + 1


def named(key: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """A key as a request has it, and the flag that says so: memcached's may be any bytes, in base64."""
    if all(0x20 < byte != 0x7F for byte in key):
        return key, ()
    return base64.b64encode(key), (b"b",)


def request(verb: bytes, key: bytes, *rest: Argument, data: bytes | None = None) -> Words:
    """A meta command about a key."""
    word, flag = named(key)
    return (verb, word, *flag, *rest, *([data] if data is not None else []))


def item_of(reply: Reply) -> Item | None:
    """Read the reply to a look; None: there is nothing."""
    words = cast("Sequence[bytes]", reply)
    if words[0] != b"VA":
        return None
    value, found = words[1], {word[:1]: word[1:] for word in words[2:]}
    flags = int(found.get(b"f", b"0"))
    mark = MARKS.get(flags >> 24) if not value else None
    is_place = not value and (b"W" in found or b"Z" in found)
    return Item(value, flags, int(found.get(b"c", b"0")), int(found.get(b"t", b"-1")), mark, is_place)


class Items:
    """Asks the node that has a key, whichever that is by now."""

    def __init__(self, node_of: Callable[[str, bytes], Address | None], nodes: NodeLinks) -> None:
        self._node_of = node_of
        self._nodes = nodes

    async def ask(
        self, cluster: str, key: bytes, requests: Sequence[Words], *, deadline: float, repeats: bool = True
    ) -> list[Reply]:
        """The replies to requests about a key; the first one's error is raised: EngineRefusedError.

        EngineDownError as of caching.engines. With `repeats` unset what may have been executed is not
        sent again.
        """
        pause, why, is_doubtful = FIRST_PAUSE, "the node of the key is down", False
        while True:
            address = self._node_of(cluster, key)
            left = deadline - trio.current_time()
            if address is not None and left > 0:
                try:
                    replies = await self._nodes.request_many(address, requests, timeout=min(left, TIMEOUT))
                except NodeFailure as error:
                    why, is_doubtful = str(error), is_doubtful or error.is_sent
                except NodeError as error:  # it refused the login
                    why = error.failure.text
                else:
                    if isinstance(replies[0], Failure):
                        raise EngineRefusedError(replies[0].text)
                    return replies
            if deadline - trio.current_time() <= pause or (is_doubtful and not repeats):
                raise EngineDownError("its node did not answer in time", why, is_doubtful=is_doubtful)
            await trio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def look(self, cluster: str, key: bytes, deadline: float) -> Item | None:
        (reply,) = await self.ask(cluster, key, [request(b"mg", key, *LOOK)], deadline=deadline)
        return item_of(reply)

    async def mark(
        self, cluster: str, key: bytes, mark: Mark, seconds: int, deadline: float, *when: bytes
    ) -> tuple[Item | None, bool]:
        """Put a mark in place of a value, where `when` (flags of ms) allows it.

        What is there behind that, and whether it is that mark.
        """
        flags = mark_made(mark)
        ask = [
            request(b"ms", key, b"F%d" % flags, b"T%d" % seconds, *when, data=b""),
            request(b"mg", key, *LOOK),
        ]
        replies = await self.ask(cluster, key, ask, deadline=deadline)
        if isinstance(replies[1], Failure):
            raise EngineRefusedError(replies[1].text)
        item = item_of(replies[1])
        return item, item is not None and item.mark is mark and item.flags == flags

    async def change(
        self, cluster: str, key: bytes, words: Words, deadline: float, *, repeats: bool = True
    ) -> Sequence[bytes]:
        """One request's code and flags."""
        (reply,) = await self.ask(cluster, key, [words], deadline=deadline, repeats=repeats)
        return cast("Sequence[bytes]", reply)

    async def forget(self, cluster: str, key: bytes, deadline: float) -> None:
        """Have a value gone; a mark of who writes it stays."""
        while (item := await self.look(cluster, key, deadline)) is not None:
            if item.mark is Mark.WRITING:
                return
            words = request(b"md", key, b"C%d" % item.cas)
            if (await self.change(cluster, key, words, deadline))[0] != b"EX":
                return
