"""PUBSUB: what the proxy's own clients of the cluster are subscribed to."""

from __future__ import annotations

from collections.abc import Mapping

from shardproxy.commands.call import Call, Handler
from shardproxy.commands.glob import matches
from shardproxy.wire.reply import Reply


def _counts(call: Call, kind: str) -> dict[bytes, int]:
    topics = call.dataplane.subscriptions(call.topology.cluster)
    return {name: clients for its_kind, name, clients in topics if its_kind == kind}


def _names(call: Call, kind: str) -> Reply:
    names = sorted(_counts(call, kind))
    if len(call.args) > 2:
        pattern = call.args[2]
        names = [name for name in names if matches(pattern, name)]
    return list(names)


def _numbers(call: Call, kind: str) -> Reply:
    counts = _counts(call, kind)
    reply: list[Reply] = []
    for name in call.args[2:]:
        reply += [name, counts.get(name, 0)]
    return reply


HANDLERS: Mapping[str, Handler] = {
    "pubsub|channels": lambda call: _names(call, "channel"),
    "pubsub|numsub": lambda call: _numbers(call, "channel"),
    "pubsub|numpat": lambda call: len(_counts(call, "pattern")),
    "pubsub|shardchannels": lambda call: _names(call, "shard"),
    "pubsub|shardnumsub": lambda call: _numbers(call, "shard"),
}
