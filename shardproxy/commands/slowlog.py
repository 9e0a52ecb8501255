"""SLOWLOG over shards: one log, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from shardproxy.commands.call import Call, CommandError, Handler, integer
from shardproxy.commands.joins import all_alike, everywhere, total
from shardproxy.commands.keyspace import SHARD_BITS
from shardproxy.commands.shards import ask_all
from shardproxy.wire.reply import Reply

BAD_COUNT = "ERR count should be greater than or equal to -1"
DEFAULT_COUNT = 10


async def slowlog_get(call: Call) -> Reply:
    """Entries of all shards by time; an entry's id is its shard's, with the shard in the low bits."""
    count = integer(call.args[2], BAD_COUNT) if len(call.args) > 2 else DEFAULT_COUNT
    if count < -1:
        raise CommandError(BAD_COUNT)
    entries = [
        [entry[0] << SHARD_BITS | answer.shard.index, *entry[1:]]
        for answer in await ask_all(call, *call.args)
        for entry in cast("list[list[int]]", answer.reply)
    ]
    entries.sort(key=lambda entry: (entry[1], entry[0]), reverse=True)
    return entries if count == -1 else entries[:count]


HANDLERS: Mapping[str, Handler] = {
    "slowlog|get": slowlog_get,
    "slowlog|len": everywhere(total),
    "slowlog|reset": everywhere(all_alike),
}
