"""PUBSUB: what the proxy's own clients of the cluster are subscribed to."""

from __future__ import annotations

from collections.abc import Mapping

from shardproxy.commands.call import Call, CommandError, Handler
from shardproxy.wire.reply import Raw, Reply


async def _names(call: Call, kind: str) -> Reply:
    pattern = call.args[2] if len(call.args) > 2 else None
    try:
        return Raw(await call.dataplane.topics(call.topology.cluster, kind, pattern))
    except OverflowError as e:
        raise CommandError(f"ERR {e}") from e


async def _numbers(call: Call, kind: str) -> Reply:
    names = call.args[2:]
    counts = await call.dataplane.subscribers(call.topology.cluster, kind, names)
    return [item for pair in zip(names, counts, strict=True) for item in pair]


async def pubsub_channels(call: Call) -> Reply:
    return await _names(call, "channel")


async def pubsub_shardchannels(call: Call) -> Reply:
    return await _names(call, "shard")


async def pubsub_numsub(call: Call) -> Reply:
    return await _numbers(call, "channel")


async def pubsub_shardnumsub(call: Call) -> Reply:
    return await _numbers(call, "shard")


async def pubsub_numpat(call: Call) -> Reply:
    patterns = await call.dataplane.topics(call.topology.cluster, "pattern")
    return int(patterns[1 : patterns.index(b"\r")])  # an array's head has its length


HANDLERS: Mapping[str, Handler] = {
    "pubsub|channels": pubsub_channels,
    "pubsub|numsub": pubsub_numsub,
    "pubsub|numpat": pubsub_numpat,
    "pubsub|shardchannels": pubsub_shardchannels,
    "pubsub|shardnumsub": pubsub_shardnumsub,
}
