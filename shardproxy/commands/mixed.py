"""Keys that a shard's nodes have and another shard owns, while slots move: clients do not see them.

What lists keys leaves them out. What counts keys counts a small shard's one by one, and tells of a large one
how many it has by a sample: about 2 % off at the most, as long as the move lasts. What was found stands for a
second, and for all clients.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import cast

from shardproxy.commands.call import Call
from shardproxy.commands.shards import Answer, ask_to_read
from shardproxy.model import Shard
from shardproxy.model.reserved import RESERVED, without_reserved

COUNTED = 10_000  # keys of a shard that are counted one by one
BATCH = 500  # looked at in one request of ours
SAMPLES = 8  # batches from anywhere that stand for all keys
LOOKED = 64  # batches until a key of the shard's own is come by; it counts as empty then
CHUNK = 10_000  # keys whose owners are found out in one go: some milliseconds, then others have their turn


async def owned(call: Call, answer: Answer) -> Answer:
    """The same answer of KEYS, without keys that are not its shard's, or are the proxy's own."""
    if not answer.is_ok or not (answer.shard.is_mixed or RESERVED in answer.raw):
        return answer
    keys = await keys_shown(call, answer.shard, cast("list[bytes]", answer.reply))
    raw = b"".join((b"*%d\r\n" % len(keys), *(b"$%d\r\n%b\r\n" % (len(key), key) for key in keys)))
    return replace(answer, reply=list(keys), raw=raw)


async def keys_owned(call: Call, shard: Shard, keys: list[bytes]) -> list[bytes]:
    """Those of these keys that the shard owns, whatever its nodes have."""
    found: list[bytes] = []
    for at in range(0, len(keys), CHUNK):
        found += await call.dataplane.owned(call.topology.cluster, shard.slots, keys[at : at + CHUNK])
    return found


async def keys_shown(call: Call, shard: Shard, keys: list[bytes]) -> list[bytes]:
    """Those of these keys of a shard's node that clients are shown."""
    return without_reserved(await keys_owned(call, shard, keys) if shard.is_mixed else keys)


async def count_owned(call: Call, shard: Shard, count: int) -> int:
    """How many of so many keys on the shard's node are its own; raise CommandError when it is silent."""
    if not shard.is_mixed or not count:
        return count
    place = call.topology.key_of(shard), call.db
    return round(count * await call.shares.part(place, shard.slots, lambda: _part(call, shard, count)))


async def _part(call: Call, shard: Shard, count: int) -> float:
    """Which part of so many keys on the shard's node is its own."""
    seen = found = 0
    cursor, batches = b"0", 0
    is_small = count <= COUNTED
    while is_small or batches < SAMPLES:
        start = cursor if is_small else b"%d" % random.getrandbits(48)  # wherever that is in its table
        cursor, keys = await _some(call, shard, start)
        seen += len(keys)
        found += len(await keys_owned(call, shard, keys))
        batches += 1
        if is_small and (cursor == b"0" or batches * BATCH > 4 * COUNTED):
            break
    if not seen:
        return 0.0 if is_small else 1.0
    return found / seen


async def any_owned(call: Call, shard: Shard) -> bytes | None:
    """One of the keys that are shown of the shard, the first one come by; None when it has none, or few."""
    cursor = b"%d" % random.getrandbits(48)  # wherever that is in its table: others look elsewhere
    ends = 0
    async with call.shares.looking:
        for _ in range(LOOKED):
            cursor, keys = await _some(call, shard, cursor)
            if found := await keys_shown(call, shard, keys):
                return random.choice(found)
            ends += cursor == b"0"
            if ends == 2:
                break
    return None


async def _some(call: Call, shard: Shard, cursor: bytes) -> tuple[bytes, list[bytes]]:
    answer = await ask_to_read(call, shard, "SCAN", cursor, "COUNT", BATCH)
    answer.check()
    after, keys = cast("tuple[bytes, list[bytes]]", answer.reply)
    return after, keys
