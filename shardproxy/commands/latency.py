"""LATENCY over shards: spikes of all of them, in order of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import cast

from shardproxy.commands.call import Call, Handler
from shardproxy.commands.joins import all_reset, everywhere, texts
from shardproxy.commands.shards import Answer, ask_all
from shardproxy.wire.reply import Reply

HISTORY = 160  # samples an engine keeps of an event (LATENCY_TS_LEN in latency.h)


async def latency_latest(call: Call) -> Reply:
    """Per event the latest spike of any shard, and the worst one ever."""
    events: dict[bytes, list[int]] = {}
    for answer in await ask_all(call, *call.args):
        for event, *row in cast("list[tuple[bytes, int, int, int]]", answer.reply):
            time, latest, worst = row
            known = events.get(event, [0, 0, 0])
            newest = [time, latest] if time >= known[0] else known[:2]
            events[event] = [*newest, max(worst, known[2])]
    return [[event, *row] for event, row in events.items()]


async def latency_history(call: Call) -> Reply:
    answers = await ask_all(call, *call.args)
    samples = sorted(sample for answer in answers for sample in cast("list[list[int]]", answer.reply))
    return samples[-HISTORY:]


async def latency_histogram(call: Call) -> Reply:
    """Per command the calls and the buckets of all shards, which are cumulative counts by microseconds."""
    answers = await ask_all(call, *call.args, resp=3)
    names = dict.fromkeys(name for answer in answers for name in _commands(answer))
    return {name: _joined([_commands(a)[name] for a in answers if name in _commands(a)]) for name in names}


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
    "latency|reset": everywhere(all_reset),
}
