"""Dead letters: writes behind that a database refused, as operators look at them. Values are not shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from shardproxy.caching.engines import Engines
from shardproxy.caching.names import Names
from shardproxy.wire.reply import Reply

ASKED = 1024  # slots in one write
TIMEOUT = 2.0  # seconds for one exchange


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A write that the database refused."""

    stream: str
    id: str  # in the stream; its first part is when it was refused, in milliseconds since 1970
    key: str
    operation: str  # upsert or delete
    reason: str

    @classmethod
    def read(cls, stream: bytes, entry: Reply) -> DeadLetter:
        number, words = cast("tuple[bytes, list[bytes]]", entry)
        named = dict(zip(words[:8:2], words[1:8:2], strict=True))
        operation = "delete" if named[b"type"] == b"none" else "upsert"
        texts = (stream, number, named[b"key"], operation.encode(), named[b"reason"])
        return cls(*(text.decode("utf-8", "backslashreplace") for text in texts))


async def dead_letters(engines: Engines, names: Names, cluster: str, most: int) -> list[DeadLetter]:
    """The oldest of each slot, so many at most; raise NodeFailure, NodeError."""
    found: list[DeadLetter] = []
    for process, slots in engines.slots(cluster):
        for at in range(0, len(slots), ASKED):
            streams = [names.of_slot(cluster, slot).dead for slot in slots[at : at + ASKED]]
            counts = await engines.request_all(process, [("XLEN", stream) for stream in streams], TIMEOUT)
            filled = [stream for stream, count in zip(streams, counts, strict=True) if count]
            requests = [("XRANGE", stream, "-", "+", "COUNT", most) for stream in filled]
            if requests:
                for stream, entries in zip(
                    filled, await engines.request_all(process, requests, TIMEOUT), strict=True
                ):
                    found += [DeadLetter.read(stream, one) for one in cast("list[Reply]", entries)]
            if len(found) >= most:
                return found[:most]
    return found
