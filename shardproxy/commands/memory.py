"""MEMORY over shards: one server's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from shardproxy.commands.call import Call, Handler
from shardproxy.commands.joins import all_alike, everywhere, texts
from shardproxy.commands.shards import ask_all
from shardproxy.wire.reply import Reply


async def memory_stats(call: Call) -> Reply:
    """Bytes and counts summed; of ratios the largest."""
    answers = await ask_all(call, "MEMORY", "STATS", resp=3)
    stats = _merged([cast("Mapping[bytes, Reply]", answer.reply) for answer in answers])
    keys, startup = stats.get(b"keys.count"), stats.get(b"startup.allocated")
    allocated = stats.get(b"total.allocated")
    if isinstance(keys, int) and isinstance(startup, int) and isinstance(allocated, int):
        stats[b"keys.bytes-per-key"] = (allocated - startup) // keys if keys else 0
    return stats


def _merged(rows: Sequence[Mapping[bytes, Reply]]) -> dict[bytes, Reply]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _join([row[name] for row in rows if name in row]) for name in names}


def _join(values: Sequence[Reply]) -> Reply:
    if all(isinstance(value, Mapping) for value in values):
        return _merged(cast("Sequence[Mapping[bytes, Reply]]", values))
    if all(isinstance(value, int) for value in values):
        return sum(cast("Sequence[int]", values))
    if all(isinstance(value, int | float) for value in values):
        return max(cast("Sequence[float]", values))
    return values[0]


HANDLERS: Mapping[str, Handler] = {
    "memory|doctor": everywhere(texts),
    "memory|malloc-stats": everywhere(texts),
    "memory|purge": everywhere(all_alike),
    "memory|stats": memory_stats,
}
