"""SLOWLOG over shards: one log of what applications asked for, newest first.

Its entries are those of the shards' primaries and those of the proxy. Of the first the clients are the
proxy's own connections, which applications share, so whose a command was is not known. Of the others a last
argument says that they are the proxy's, and where the time went.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, cast

from shardproxy.commands.call import Call, CommandError, Handler, integer
from shardproxy.commands.joins import all_alike
from shardproxy.commands.keyspace import SHARD_BITS
from shardproxy.commands.own import is_own
from shardproxy.commands.shards import Answer, ask_all, ask_each, ask_every
from shardproxy.config.slow_log import MOST
from shardproxy.dataplane.timings import TimedRequest
from shardproxy.wire.reply import Reply

BAD_COUNT = "ERR count should be greater than or equal to -1"
DEFAULT_COUNT = 10
ALL = -1
PROXY = (1 << SHARD_BITS) - 1  # in the place of a shard: there are 250 at most
NUMBER_BITS = 12  # of an entry's number at its shard: they are told apart by it within a second

Entry: TypeAlias = tuple[int, int, int, list[bytes], bytes, bytes]  # number, time, microseconds, words, who


async def slowlog_get(call: Call) -> Reply:
    count = integer(call.args[2], BAD_COUNT) if len(call.args) > 2 else DEFAULT_COUNT
    if count < ALL:
        raise CommandError(BAD_COUNT)
    return await _newest(call, count)


async def slowlog_len(call: Call) -> Reply:
    found = await _of_shards(call, ALL)
    return sum(map(len, found.values())) + call.dataplane.slow_log_len(call.topology.cluster)


async def slowlog_reset(call: Call) -> Reply:
    reply = all_alike(await ask_every(call, *call.args, resp=call.resp))
    call.dataplane.slow_log_reset(call.topology.cluster)
    return reply


async def _newest(call: Call, count: int) -> list[Reply]:
    most = MOST if count == ALL else min(count, MOST)
    entries = [_of_proxy(request) for request in await call.dataplane.slow_log(call.topology.cluster, most)]
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


def _of_proxy(request: TimedRequest) -> tuple[int, Entry]:
    """An entry of the proxy's own: no shard has its id."""
    at = request.at // 1_000_000
    number = (at << NUMBER_BITS | request.id & (1 << NUMBER_BITS) - 1) << SHARD_BITS | PROXY
    words = [*request.arguments, _where_the_time_went(request)]
    return number, (request.id, at, request.microseconds, words, request.client.encode(), request.name)


def _where_the_time_went(request: TimedRequest) -> bytes:
    """The last argument of such an entry: `(shardproxy: waited 0, ... us, shard 1, node 127.0.0.1:7001)`."""
    phases = request.phases
    parts = {
        "waited": phases.waited,
        "parked": phases.parked,
        "upstream": phases.upstream,
        "client": phases.client,
    }
    times = ", ".join(f"{name} {micros}" for name, micros in parts.items() if micros is not None)
    where = f", shard {request.shard}" if request.shard is not None else ""
    node = f", node {request.node}" if request.node else ""
    return f"(shardproxy: {times} us{where}{node})".encode()


HANDLERS: Mapping[str, Handler] = {
    "slowlog|get": slowlog_get,
    "slowlog|len": slowlog_len,
    "slowlog|reset": slowlog_reset,
}
