"""WAIT: until replicas have what was written before, on every shard.

An engine's own WAIT covers the writes of one connection, and a client's writes travel on shared connections.
So the primaries' offsets are taken now, and their replicas waited for: all acknowledged writes are covered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import trio

from shardproxy.commands.call import Call, CommandError, Handler, integer
from shardproxy.commands.shards import ask_every, ask_shard
from shardproxy.model import Shard
from shardproxy.wire.reply import Reply

FOREVER = 3600.0  # seconds; what a timeout of 0 comes to, because nobody tells us that the client has gone
INTERVALS = (0.002, 0.2)  # seconds between looks: the first, doubled up to the last
REPLICA = re.compile(rb"^slave\d+:.*state=online,offset=(\d+)", re.MULTILINE)


async def wait(call: Call) -> Reply:
    """The smallest number of replicas that a shard's writes so far have reached within the timeout."""
    wanted = integer(call.args[1])
    timeout = integer(call.args[2], "ERR timeout is not an integer or out of range") / 1000
    if timeout < 0:
        raise CommandError("ERR timeout is negative")
    offsets: dict[int, int] = {}
    reached: dict[int, int] = {}
    for answer in await ask_every(call, "INFO", "replication"):
        answer.check()
        info = cast("bytes", answer.reply)
        offsets[answer.shard.index] = _offset(info)
        reached[answer.shard.index] = _reached(info, offsets[answer.shard.index])

    async def follow(shard: Shard) -> None:
        """Look once in any case: what the primary knows of its replicas is up to a second old."""
        interval, last = INTERVALS
        is_first = reached[shard.index] < len(shard.replicas)
        while is_first or reached[shard.index] < wanted:
            is_first = False
            await ask_shard(
                call, shard, "WAIT", 1 << 20, 1
            )  # makes the primary ask its replicas how far they are
            await trio.sleep(interval)
            interval = min(interval * 2, last)
            answer = await ask_shard(call, shard, "INFO", "replication")
            if answer.is_ok:
                reached[shard.index] = _reached(cast("bytes", answer.reply), offsets[shard.index])

    with trio.move_on_after(timeout or FOREVER):
        async with trio.open_nursery() as nursery:
            for shard in call.topology.shards:
                nursery.start_soon(follow, shard)
    return min(reached.values())


def _offset(info: bytes) -> int:
    match = re.search(rb"^master_repl_offset:(\d+)", info, re.MULTILINE)
    return int(match[1]) if match else 0


def _reached(info: bytes, offset: int) -> int:
    """How many replicas have the stream up to there."""
    return sum(int(found) >= offset for found in REPLICA.findall(info))


HANDLERS: Mapping[str, Handler] = {"wait": wait}
PATIENT = frozenset(HANDLERS)  # not counted among those running: waiting is all they do
