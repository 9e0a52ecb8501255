"""Commands over all keys: DBSIZE, KEYS, RANDOMKEY, SCAN, FLUSHALL, FLUSHDB.

Keys of the proxy's own are not shown; DBSIZE counts them with the others, for that is all an engine says.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import cast

from shardproxy.commands.call import Call, CommandError, Handler
from shardproxy.commands.joins import all_alike, concatenated, everywhere, total
from shardproxy.commands.mixed import any_owned, count_owned, keys_shown, owned
from shardproxy.commands.shards import ask_every_to_read, ask_to_read
from shardproxy.model.reserved import RESERVED
from shardproxy.wire.reply import Raw, Reply

SHARD_BITS = 8  # of a cursor: 250 shards at most; the rest is the engine's, and all fits JavaScript's 2^53
STRAYS = 100  # keys of others that RANDOMKEY may come by before a shard is looked through
CURSOR = re.compile(rb"([+-]?)([0-9]*)", re.DOTALL)


async def scan(call: Call) -> Reply:
    """One step on one shard; where a shard ends the next one begins, and the last one's end is 0."""
    cursor = cursor_read(call.args[1])
    shards = call.topology.shards
    position, engine_cursor = cursor & (1 << SHARD_BITS) - 1, cursor >> SHARD_BITS
    if position >= len(shards):  # there were more shards when the cursor was given
        position, engine_cursor = len(shards) - 1, (1 << 64) - 1
    answer = await ask_to_read(call, shards[position], call.args[0], engine_cursor, *call.args[2:])
    answer.check()
    after, found = cast("tuple[bytes, list[bytes]]", answer.reply)
    cursor = cursor_after(int(after), position, len(shards))
    if shards[position].is_mixed or RESERVED in answer.raw:
        return [b"%d" % cursor, list(await keys_shown(call, shards[position], found))]
    keys = answer.raw[len(reply_head(after)) :]  # passed on unread
    return Raw(reply_head(b"%d" % cursor) + keys)


def reply_head(cursor: bytes) -> bytes:
    """SCAN's reply up to the array of keys."""
    return b"*2\r\n$%d\r\n%b\r\n" % (len(cursor), cursor)


def cursor_read(word: bytes) -> int:
    """The number, read as Redis reads it (strtoul): a sign is allowed, and nothing at all is 0."""
    match = CURSOR.fullmatch(word)
    if match is None:
        raise CommandError("ERR invalid cursor")
    value = int(match[2] or b"0")
    if value >= 1 << 64:
        raise CommandError("ERR invalid cursor")
    return (-value if match[1] == b"-" else value) % (1 << 64)


def cursor_after(engine_cursor: int, position: int, shards: int) -> int:
    """The cursor to go on with."""
    if engine_cursor:
        return engine_cursor << SHARD_BITS | position
    return position + 1 if position + 1 < shards else 0


async def keys(call: Call) -> Reply:
    """Those of all shards, each by its owner."""
    answers = await ask_every_to_read(call, *call.args, resp=call.resp)
    return concatenated([await owned(call, answer) for answer in answers])


async def dbsize(call: Call) -> Reply:
    """All keys that are where they are owned."""
    answers = await ask_every_to_read(call, *call.args, resp=call.resp)
    size = cast("int", total(answers))
    for answer in answers:
        if answer.shard.is_mixed:
            count = cast("int", answer.reply)
            size += await count_owned(call, answer.shard, count) - count
    return size


async def randomkey(call: Call) -> Reply:
    """A key of a shard chosen by how many it has, so that every key is as likely.

    One that is not the shard's, or the proxy's own, counts for nothing, and another one is chosen anywhere.
    """
    sizes = []
    for answer in await ask_every_to_read(call, "DBSIZE"):
        answer.check()
        sizes.append(cast("int", answer.reply))
    strays = 0
    while any(sizes):
        (chosen,) = random.choices(range(len(sizes)), sizes)
        shard = call.topology.shards[chosen]
        answer = await ask_to_read(call, shard, "RANDOMKEY")
        answer.check()
        key = cast("bytes | None", answer.reply)
        if key is not None and await keys_shown(call, shard, [key]):
            return key
        if key is not None and strays < STRAYS:
            strays += 1
            continue
        found = await any_owned(call, shard) if key is not None else None
        if found is not None:
            return found
        sizes[chosen] = 0  # emptied meanwhile, or with nothing of its own
    return None


HANDLERS: Mapping[str, Handler] = {
    "dbsize": dbsize,
    "flushall": everywhere(all_alike),
    "flushdb": everywhere(all_alike),
    "keys": keys,
    "randomkey": randomkey,
    "scan": scan,
}
