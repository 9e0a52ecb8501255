"""SCRIPT and FUNCTION: to every shard, so that they run wherever keys are; and the cure where one is missing.

A node that was restarted, promoted or added may lack scripts (engines do not replicate them) or functions.
The data plane hands EVALSHA and FCALL over when a node says so; we load what is missing and run the command.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from shardproxy.commands.call import Call, CommandError, Handler, text
from shardproxy.commands.joins import LONG, all_alike, each_and, everywhere, one_succeeded
from shardproxy.commands.shards import Answer, ask_every, ask_shard, pass_any
from shardproxy.model import Shard
from shardproxy.wire.reply import Raw, Reply


async def script_load(call: Call) -> Reply:
    answers = await ask_every(call, *call.args)
    if any(answer.is_ok for answer in answers):
        call.scripts.keep(call.topology.cluster, call.args[2])
    return all_alike(answers)


async def script_flush(call: Call) -> Reply:
    reply = all_alike(await ask_every(call, *call.args, timeout=LONG))
    call.scripts.forget(call.topology.cluster)
    return reply


async def evalsha(call: Call) -> Reply:
    """EVALSHA and EVALSHA_RO where the script is missing: load it there first, if a client ever did."""
    shard = _shard_of(call)
    body = call.scripts.get(call.topology.cluster, text(call.args[1]))
    if body is not None:
        (await ask_shard(call, shard, "SCRIPT", "LOAD", body)).check()
    return _passed(await ask_shard(call, shard, *call.args, resp=call.resp))


async def fcall(call: Call) -> Reply:
    """FCALL and FCALL_RO where the function is missing: bring the libraries of a shard that has it."""
    shard = _shard_of(call)
    for other in await ask_every(call, "FUNCTION", "LIST"):
        if other.is_ok and other.shard.index != shard.index and call.args[1] in _functions(other.reply):
            dump = await ask_shard(call, other.shard, "FUNCTION", "DUMP")
            dump.check()
            (
                await ask_shard(call, shard, "FUNCTION", "RESTORE", cast("bytes", dump.reply), "REPLACE")
            ).check()
            break
    return _passed(await ask_shard(call, shard, *call.args, resp=call.resp))


def _functions(libraries: Reply) -> set[bytes]:
    """The names of all functions in a reply to FUNCTION LIST (RESP2)."""
    names = set()
    for library in cast("list[list[Reply]]", libraries):
        fields = dict(zip(cast("list[bytes]", library[::2]), library[1::2], strict=True))
        for function in cast("list[list[bytes]]", fields[b"functions"]):
            names.add(dict(zip(function[::2], function[1::2], strict=True))[b"name"])
    return names


def _shard_of(call: Call) -> Shard:
    """The shard of its first key; the data plane has checked that all have one slot."""
    slot = call.slot_of(call.args[3]) if call.args[2] != b"0" and len(call.args) > 3 else 0
    shard = call.topology.shard_of(slot)
    if shard is None:
        raise CommandError("CLUSTERDOWN Hash slot not served")
    return shard


def _passed(answer: Answer) -> Reply:
    if answer.why_none is not None:
        raise CommandError(answer.error)
    return Raw(answer.raw)


async def pass_on(call: Call) -> Reply:
    """All shards have the same functions, so any of them tells."""
    return await pass_any(call, *call.args)


async def function_stats(call: Call) -> Reply:
    """Of the shard that runs a script now, if one does; counts are the same everywhere."""
    answers = await ask_every(call, *call.args, resp=call.resp)
    for answer in answers:
        if answer.is_ok and _running(answer.reply) is not None:
            return Raw(answer.raw)
    for answer in answers:
        if answer.is_ok:
            return Raw(answer.raw)
    raise CommandError(answers[0].error)


def _running(stats: Reply) -> Reply:
    if isinstance(stats, dict):
        return cast("dict[bytes, Reply]", stats).get(b"running_script")
    return cast("list[Reply]", stats)[1]


HANDLERS: Mapping[str, Handler] = {
    "function|delete": everywhere(all_alike),
    "function|dump": pass_on,
    "function|flush": everywhere(all_alike, timeout=LONG),
    "function|kill": everywhere(one_succeeded),
    "function|list": pass_on,
    "function|load": everywhere(all_alike),
    "function|restore": everywhere(all_alike),
    "function|stats": function_stats,
    "script|exists": everywhere(each_and),
    "script|flush": script_flush,
    "script|kill": everywhere(one_succeeded),
    "script|load": script_load,
}

# Served by shards; handed over only when a node lacks what they call.
CURES: Mapping[str, Handler] = {"evalsha": evalsha, "evalsha_ro": evalsha, "fcall": fcall, "fcall_ro": fcall}
