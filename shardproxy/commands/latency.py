"""LATENCY over shards: spikes of all of them, in order of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import cast

from shardproxy.commands.call import Call, Handler
from shardproxy.commands.joins import all_alike, everywhere, texts
from shardproxy.commands.own import is_own
from shardproxy.commands.shards import Answer, ask_all, ask_every
from shardproxy.commands.table import lower
from shardproxy.wire.reply import Reply

HISTORY = 160  # samples an engine keeps of an event (LATENCY_TS_LEN in latency.h)


async def latency_latest(call: Call) -> Reply:
    """Per event the latest spike of any shard, and the worst one ever."""
    events: dict[bytes, list[int]] = {}
    for answer in await ask_all(call, *call.args):
        for event, *row in cast("list[tuple[bytes, int, int, int]]", answer.reply):
            time, latest, worst = row
            known = events.get(event, [0, 0, 0])
            events[event] = [*max([time, latest], known[:2]), max(worst, known[2])]
    return [[event, *row] for event, row in events.items()]


async def latency_history(call: Call) -> Reply:
    """The samples of all shards: of each second the worst, as an engine keeps them."""
    answers = await ask_all(call, *call.args)
    samples = sorted(sample for answer in answers for sample in cast("list[list[int]]", answer.reply))
    seconds: dict[int, Reply] = {time: [time, latency] for time, latency in samples}
    return list(seconds.values())[-HISTORY:]


async def latency_reset(call: Call) -> Reply:
    """How many events some shard had; an error where only some have reset theirs."""
    latest = await ask_all(call, "LATENCY", "LATEST")
    known = {row[0] for answer in latest for row in cast("list[list[bytes]]", answer.reply)}
    all_alike(await ask_every(call, *call.args))
    return len(known & set(call.args[2:]) if len(call.args) > 2 else known)


async def latency_histogram(call: Call) -> Reply:
    """Per command the calls and the buckets of all shards, which are cumulative counts by microseconds.

    Without those that nodes know from the proxy alone, which answers them when an application asks.
    """
    answers = await ask_all(call, *call.args, resp=3)
    names = [name for answer in answers for name in _commands(answer) if not _is_own(call, name)]
    return {
        name: _joined([_commands(a)[name] for a in answers if name in _commands(a)])
        for name in dict.fromkeys(names)
    }


def _is_own(call: Call, name: bytes) -> bool:
    command = call.table.get(lower(name))
    return command is not None and is_own(command)


def _commands(answer: Answer) -> Mapping[bytes, Mapping[bytes, Reply]]:
    return cast("Mapping[bytes, Mapping[bytes, Reply]]", answer.reply)


def _joined(rows: Sequence[Mapping[bytes, Reply]]) -> Reply:
    calls: Counter[int] = Counter()  # by bound, those of lower bounds excluded
    for row in rows:
        lower = 0
        for bound, count in sorted(cast("Mapping[int, int]", row[b"histogram_usec"]).items()):
            calls[bound] += count - lower
            lower = count
    bounds = sorted(calls)
    buckets: dict[int, Reply] = dict(zip(bounds, accumulate(map(calls.__getitem__, bounds)), strict=True))
    joined: dict[str, Reply] = {
        "calls": sum(cast("int", row[b"calls"]) for row in rows),
        "histogram_usec": buckets,
    }
    return joined


HANDLERS: Mapping[str, Handler] = {
    "latency|doctor": everywhere(texts),
    "latency|graph": everywhere(texts),
    "latency|histogram": latency_histogram,
    "latency|history": latency_history,
    "latency|latest": latency_latest,
    "latency|reset": latency_reset,
}
