"""Compares all keys of two Redis, or those that match, and looks again at what differs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import trio

from shardproxy.importing.diff.batch import Batch
from shardproxy.importing.diff.pace import Pace
from shardproxy.importing.diff.side import Side
from shardproxy.importing.diff.tally import Difference, Tally

AT_ONCE = 64  # keys: 4 MiB of each side at most, but for values that are compared in chunks
MAX_DIFFERENT = 100_000  # keys; where more differ it is not the same data


@dataclass(frozen=True, slots=True)
class DiffPlan:
    """How to compare."""

    match: str | None = None  # only keys that match this glob
    rate: float = 5000.0  # keys a second
    ttl_within: int = 0  # milliseconds that times to live may differ
    again: int = 3  # looks at what differs
    gap: float = 1.0  # seconds before each


async def diff_run(a: Side, b: Side, plan: DiffPlan, show: Callable[[Tally], None]) -> Tally:
    """Compare; raise ForeignError when a side cannot be asked. `show` is called for every few keys."""
    tally = Tally(keys_a=a.keys, keys_b=b.keys)
    pace = Pace(plan.rate)
    batch = Batch(a, b, pace, plan.ttl_within)
    async with aclosing(_batches(a, plan.match)) as batches:
        async for keys in batches:
            await pace.take(len(keys))
            tally.scanned_a += len(keys)
            if not _take(tally, await batch.compare(keys, tally), show):
                return tally
    async with aclosing(_batches(b, plan.match)) as batches:
        async for keys in batches:
            await pace.take(len(keys))
            tally.scanned_b += len(keys)
            if not _take(tally, await batch.only_in_b(keys, tally), show):
                return tally
    for _ in range(plan.again):
        if tally.is_same:
            break
        await trio.sleep(plan.gap)
        await _look_again(tally, batch, show)
    return tally


async def _batches(side: Side, match: str | None) -> AsyncGenerator[Sequence[bytes], None]:
    async with aclosing(side.scan(match)) as scan:
        async for keys in scan:
            for first in range(0, len(keys), AT_ONCE):
                yield keys[first : first + AT_ONCE]


def _take(tally: Tally, found: Iterable[Difference], show: Callable[[Tally], None]) -> bool:
    """Note what differs; say whether to go on."""
    tally.different.update({difference.key: difference for difference in found})
    tally.is_cut = len(tally.different) > MAX_DIFFERENT
    show(tally)
    return not tally.is_cut


async def _look_again(tally: Tally, batch: Batch, show: Callable[[Tally], None]) -> None:
    tally.looks += 1
    keys = list(tally.different)
    counted = Tally()  # these were counted before
    for first in range(0, len(keys), AT_ONCE):
        some = keys[first : first + AT_ONCE]
        await batch.pace.take(len(some))
        still = {difference.key: difference for difference in await batch.compare(some, counted)}
        for key in some:
            if key in still:
                tally.different[key] = still[key]
            else:
                del tally.different[key]
                tally.settled += 1
        show(tally)
