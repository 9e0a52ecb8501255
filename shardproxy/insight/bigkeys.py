"""Looks for the largest keys of a cluster, by SCAN of one node of each shard, at a bounded rate.

SCAN ─> TYPE ─> the length by type ─> MEMORY USAGE, some at once ─> Tally (the largest, by type) ─> lines
   └──── a pause: no more than `rate` keys a second, and no more than a fifth of the node's time ─┘
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from shardproxy.model import Address
from shardproxy.model.text import shown
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks
from shardproxy.reshard.sample import ScanError, page_read, rest_after
from shardproxy.wire.reply import Failure, Reply, Simple

PAGE = 100  # keys asked for at once: well under a millisecond of an engine
TIMEOUT = 5.0  # seconds of one exchange
WEIGHED = 10_000  # elements weighed at once, by all MEMORY USAGE together: some 2 ms of an engine
TELL = 1.0  # seconds between lines about progress
MAX_RATE = 1_000_000
MAX_LIMIT = 1000

NO_TOUCH = ("CLIENT", "NO-TOUCH", "on")  # to look is not to use: eviction goes on as before (since Redis 7.2)
LENGTHS: Mapping[str, str] = {
    "string": "STRLEN",
    "list": "LLEN",
    "set": "SCARD",
    "hash": "HLEN",
    "zset": "ZCARD",
    "stream": "XLEN",
}


@dataclass(frozen=True, slots=True, order=True)
class Big:
    """A key; of a string the elements are its bytes, of types that are not known there are none."""

    size: int  # bytes of memory
    elements: int
    key: bytes
    shard: int

    def document(self) -> dict[str, Any]:
        return {"key": shown(self.key), "shard": self.shard, "elements": self.elements, "bytes": self.size}


@dataclass(slots=True)
class Tally:
    """The largest keys of each type: by memory, and by elements. Bounded."""

    limit: int
    by_bytes: dict[str, list[tuple[int, Big]]] = field(default_factory=dict)
    by_elements: dict[str, list[tuple[int, Big]]] = field(default_factory=dict)

    def add(self, kind: str, big: Big) -> None:
        for board, weight in ((self.by_bytes, big.size), (self.by_elements, big.elements)):
            heap = board.setdefault(kind, [])
            if len(heap) < self.limit:
                heapq.heappush(heap, (weight, big))
            elif weight > heap[0][0]:
                heapq.heapreplace(heap, (weight, big))

    def lines(self) -> list[dict[str, Any]]:
        """One for each type: those that are among the first by either measure, the most bytes first."""
        return [{"type": kind, "keys": self._largest(kind)} for kind in sorted(self.by_bytes)]

    def _largest(self, kind: str) -> list[dict[str, Any]]:
        ranks: dict[Big, int] = {}
        for board in (self.by_bytes, self.by_elements):
            for rank, (_, big) in enumerate(sorted(board[kind], reverse=True)):
                ranks[big] = min(rank, ranks.get(big, rank))
        first = sorted(ranks, key=lambda big: ranks[big])[: self.limit]
        return [big.document() for big in sorted(first, reverse=True)]


@dataclass(frozen=True, slots=True)
class Place:
    """A node to scan for a shard."""

    shard: int
    address: Address


def pause_after(count: int, rate: int, took: float) -> float:
    """Seconds to rest after so many keys, which took the node so long: others want it, too."""
    return max(count / rate - took, rest_after(took), 0.0)


async def scan(
    places: Sequence[Place], links: NodeLinks, *, rate: int, limit: int, samples: int
) -> AsyncIterator[dict[str, Any]]:
    """Lines as they come: progress, one for each type, the end; a shard that fails has a line, too."""
    tally, began = Tally(limit), trio.current_time()
    total = 0
    for place in places:
        total += await _size(place, links)
    scanned, told_at = 0, began
    for place in places:
        yield {"progress": {"scanned": scanned, "of": total, "shard": place.shard}}
        cursor = b"0"
        while True:
            asked_at = trio.current_time()
            try:
                cursor, keys = await _page(place, links, cursor, min(PAGE, rate))
                rested = await _measure(place, links, keys, samples, tally)
            except (NodeFailure, NodeError, ScanError) as error:
                yield {"error": str(error), "shard": place.shard}
                break
            scanned += len(keys)
            now = trio.current_time()
            if now - told_at >= TELL:
                told_at = now
                yield {"progress": {"scanned": scanned, "of": max(total, scanned), "shard": place.shard}}
            if cursor == b"0":
                break
            took = now - asked_at - rested
            await trio.sleep(max(0.0, pause_after(len(keys), rate, took) - rested))
    for line in tally.lines():
        yield line
    yield {"ended": True, "scanned": scanned, "seconds": round(trio.current_time() - began, 3)}


async def _size(place: Place, links: NodeLinks) -> int:
    """How many keys it has; 0 where it does not say, as the scan will."""
    try:
        found = await links.request(place.address, "DBSIZE", timeout=TIMEOUT)
    except (NodeFailure, NodeError):
        return 0
    return found if isinstance(found, int) else 0


async def _page(place: Place, links: NodeLinks, cursor: bytes, count: int) -> tuple[bytes, list[bytes]]:
    (page,) = await links.request_many(
        place.address, [("SCAN", cursor, "COUNT", str(count))], timeout=TIMEOUT
    )
    if isinstance(page, Failure):
        raise NodeError(place.address, page)
    return page_read(page)


async def _measure(
    place: Place, links: NodeLinks, keys: Sequence[bytes], samples: int, tally: Tally
) -> float:
    """Add the keys to the tally; the seconds that the node was left to others meanwhile."""
    if not keys:
        return 0.0
    kinds = await links.request_many(place.address, [("TYPE", key) for key in keys], timeout=TIMEOUT)
    found = [(key, _text(kind)) for key, kind in zip(keys, kinds, strict=True) if _text(kind) != "none"]
    if not found:
        return 0.0
    asked = [NO_TOUCH, *((LENGTHS.get(kind, "EXISTS"), key) for key, kind in found)]
    _, *lengths = await links.request_many(place.address, asked, timeout=TIMEOUT)
    measured = [
        (key, kind, length if isinstance(length, int) and kind in LENGTHS else 0)
        for (key, kind), length in zip(found, lengths, strict=True)
    ]
    rested = 0.0
    for part in parts_of([_weighed(kind, count, samples) for _, kind, count in measured]):
        began = trio.current_time()
        some = measured[part]
        usage = [("MEMORY", "USAGE", key, "SAMPLES", str(samples)) for key, _, _ in some]
        _, *sizes = await links.request_many(place.address, [NO_TOUCH, *usage], timeout=TIMEOUT)
        for (key, kind, elements), size in zip(some, sizes, strict=True):
            tally.add(kind, Big(size if isinstance(size, int) else 0, elements, key, place.shard))
        if part.stop < len(measured):
            rest = rest_after(trio.current_time() - began)
            await trio.sleep(rest)
            rested += rest
    return rested


def parts_of(costs: Sequence[int]) -> list[slice]:
    """Neighbours that cost no more than WEIGHED together, or one that does alone."""
    parts, first, total = [], 0, 0
    for at, cost in enumerate(costs):
        if at > first and total + cost > WEIGHED:
            parts.append(slice(first, at))
            first, total = at, 0
        total += cost
    return [*parts, slice(first, len(costs))] if costs else []


def _weighed(kind: str, elements: int, samples: int) -> int:
    """How many elements a node looks at to weigh a key; of a kind that is not known as many as it may."""
    if kind == "string":
        return 1
    return max(1, min(samples, elements) if kind in LENGTHS else samples)


def _text(kind: Reply) -> str:
    match kind:
        case bytes():
            return kind.decode(errors="replace")
        case Simple(text):
            return text
    return "none"
