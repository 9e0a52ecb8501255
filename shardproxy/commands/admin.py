"""Commands that are refused unless the config allows them, as a test fleet may: to every node, as one server.

They reach us only when they are allowed. What concerns one connection, one node's replication or the slots
stays refused, because the nodes are the proxy's to arrange.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from shardproxy.commands.call import Call, CommandError, Handler
from shardproxy.commands.joins import all_alike, everywhere
from shardproxy.commands.shards import ask_all, ask_every, ask_nodes, ask_shard, pass_any
from shardproxy.commands.table import lower
from shardproxy.model import Shard
from shardproxy.wire.reply import Raw, Reply, Simple

# Subcommands of DEBUG by what they are about; all others are sent everywhere.
OF_ONE_KEY = frozenset({"object", "listpack", "ziplist", "quicklist", "sdslen", "htstats-key"})
OF_NO_NODE = frozenset({"protocol", "error", "log", "stringmatch-len", "help", "mallctl", "mallctl-str"})
BESIDE_REPLIES = frozenset({"attrib", "push"})  # what DEBUG PROTOCOL sends before its reply, in RESP3
DEADLY = frozenset({"segfault", "panic", "restart", "crash-and-recover", "assert", "oom"})


async def debug(call: Call) -> Reply:
    sub = lower(call.args[1])
    if sub in DEADLY:
        raise CommandError(f"ERR DEBUG {sub.upper()} is refused by this proxy: it would end every node")
    if sub in OF_ONE_KEY and len(call.args) > 2:
        return await _on_shard(call, call.args[2])
    if sub == "protocol" and len(call.args) > 2 and call.resp == 3 and lower(call.args[2]) in BESIDE_REPLIES:
        kind = lower(call.args[2]).upper()
        raise CommandError(
            f"ERR DEBUG PROTOCOL {kind} is refused by this proxy in RESP3: it is more than a reply"
        )
    if sub in OF_NO_NODE:
        return await pass_any(call, *call.args)
    if sub == "digest":
        return await _digest(call)
    if sub == "digest-value":
        return [await _digest_value(call, key) for key in call.args[2:]]
    return all_alike(await ask_every(call, *call.args, resp=call.resp))


async def _digest(call: Call) -> Reply:
    """A data set's digest is its keys' digests XORed, so the shards' are too."""
    digest = 0
    for answer in await ask_all(call, *call.args):
        digest ^= int(cast("bytes", answer.reply), 16)
    return Simple(f"{digest:040x}")


async def _digest_value(call: Call, key: bytes) -> Reply:
    answer = await ask_shard(call, _shard_of(call, key), "DEBUG", "DIGEST-VALUE", key)
    answer.check()
    (digest,) = cast("list[bytes]", answer.reply)
    return Simple(digest.decode())


async def pfdebug(call: Call) -> Reply:
    return await _on_shard(call, call.args[2])


async def restore_asking(call: Call) -> Reply:
    return await _on_shard(call, call.args[1])


async def _on_shard(call: Call, key: bytes) -> Reply:
    answer = await ask_shard(call, _shard_of(call, key), *call.args, resp=call.resp)
    if answer.why_none is not None:
        raise CommandError(answer.error)
    return Raw(answer.raw)


def _shard_of(call: Call, key: bytes) -> Shard:
    shard = call.topology.shard_of(call.slot_of(key))
    if shard is None:
        raise CommandError("CLUSTERDOWN Hash slot not served")
    return shard


async def every_node(call: Call) -> Reply:
    """What a node keeps for itself: its replicas do not get it from their primary."""
    return all_alike(await ask_nodes(call, *call.args, resp=call.resp))


async def config_resetstat(call: Call) -> Reply:
    """What INFO shows counts anew, the nodes' counters and those of the proxy."""
    reply = await every_node(call)
    call.counters.begin(call.topology.cluster, call.count())
    return reply


HANDLERS: Mapping[str, Handler] = {
    "bgrewriteaof": everywhere(all_alike),
    "bgsave": everywhere(all_alike),
    "config|resetstat": config_resetstat,
    "config|rewrite": every_node,
    "config|set": every_node,
    "debug": debug,
    "module|load": every_node,
    "module|loadex": every_node,
    "module|unload": every_node,
    "pfdebug": pfdebug,
    "restore-asking": restore_asking,
    "save": everywhere(all_alike),
}
