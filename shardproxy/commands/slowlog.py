"""SLOWLOG over shards: one log of what applications asked for, newest first.

Its entries are those of the shards' primaries. Their clients are the proxy's own connections, which
applications share, so whose a command was is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, cast

from shardproxy.commands.call import Call, CommandError, Handler, integer
from shardproxy.commands.joins import all_alike, everywhere
from shardproxy.commands.keyspace import SHARD_BITS
from shardproxy.commands.own import is_own
from shardproxy.commands.shards import Answer, ask_all, ask_each
from shardproxy.wire.reply import Reply

BAD_COUNT = "ERR count should be greater than or equal to -1"
DEFAULT_COUNT = 10
ALL = -1
NUMBER_BITS = 12  # of an entry's number at its shard: they are told apart by it within a second

Entry: TypeAlias = tuple[int, int, int, list[bytes], bytes, bytes]  # number, time, microseconds, words, who


async def slowlog_get(call: Call) -> Reply:
    count = integer(call.args[2], BAD_COUNT) if len(call.args) > 2 else DEFAULT_COUNT
    if count < ALL:
        raise CommandError(BAD_COUNT)
    return await _newest(call, count)


async def slowlog_len(call: Call) -> Reply:
    return len(await _newest(call, ALL))


async def _newest(call: Call, count: int) -> list[Reply]:
    entries: list[tuple[int, Entry]] = []
    for index, found in (await _of_shards(call, count)).items():
        entries += [(_number(call, index, entry), entry) for entry in found]
    entries.sort(key=lambda numbered: (numbered[1][1], numbered[0]), reverse=True)
    chosen = entries if count == ALL else entries[:count]
    return [[number, *entry[1:]] for number, entry in chosen]


async def _of_shards(call: Call, count: int) -> dict[int, list[Entry]]:
    """Each shard's newest entries, so many of applications' where there are as many.

    The proxy's own are between them: whoever has given too few is asked for twice as many.
    """
    found: dict[int, list[Entry]] = {}
    asked = count
    answers = await ask_all(call, "SLOWLOG", "GET", asked)
    while answers:
        short = []
        for answer in answers:
            given = cast("list[Entry]", answer.reply)
            found[answer.shard.index] = [entry for entry in given if not _is_own(call, entry)]
            if ALL != count > len(found[answer.shard.index]) and len(given) == asked:
                short.append(answer.shard.index)
        asked *= 2
        answers = await _ask_again(call, short, asked)
    return found


async def _ask_again(call: Call, shards: list[int], count: int) -> list[Answer]:
    answers = await ask_each(call, dict.fromkeys(shards, ("SLOWLOG", "GET", count)))
    for answer in answers:
        answer.check()
    return answers


def _is_own(call: Call, entry: Entry) -> bool:
    command = call.table.find(entry[3])
    return command is not None and is_own(command)


def _number(call: Call, shard: int, entry: Entry) -> int:
    """An entry's id: its only shard's; of several, one that grows with time and says which of them has it."""
    if len(call.topology.shards) == 1:
        return entry[0]
    at_shard = entry[0] & (1 << NUMBER_BITS) - 1
    return (entry[1] << NUMBER_BITS | at_shard) << SHARD_BITS | shard


HANDLERS: Mapping[str, Handler] = {
    "slowlog|get": slowlog_get,
    "slowlog|len": slowlog_len,
    "slowlog|reset": everywhere(all_alike),
}
