"""SCRIPT and FUNCTION: to every shard, so that they run wherever keys are; and the cure where one is missing.

A node that was restarted, promoted or added may lack scripts (engines do not replicate them) or functions.
The data plane hands EVALSHA and FCALL over when a node says so; we load what is missing and run the command.
Scripts go to replicas too, which run EVALSHA_RO; functions get there by replication.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import trio

from shardproxy.commands.call import Call, CommandError, Handler, text
from shardproxy.commands.joins import all_alike, one_succeeded
from shardproxy.commands.shards import (
    Answer,
    ask_all,
    ask_every,
    ask_nodes,
    ask_replicas,
    ask_shard,
    pass_any,
    replicas_of,
)
from shardproxy.commands.table import lower
from shardproxy.model import Shard
from shardproxy.wire.reply import Raw, Reply

REPLICA_TIMEOUT = 0.5  # seconds; a replica that is slower gets its scripts when it lacks them


async def script_load(call: Call) -> Reply:
    answers = await _at_all_nodes(call)
    digest = next((answer.reply for answer in answers if answer.is_ok), None)
    if digest is not None:
        call.scripts.keep(call.topology.cluster, text(cast("bytes", digest)), call.args[2])
    return all_alike(answers)


async def script_flush(call: Call) -> Reply:
    reply = all_alike(await _at_all_nodes(call))
    await call.scripts.forget_all(call.topology.cluster)
    return reply


async def script_exists(call: Call) -> Reply:
    """1 for a script that EVALSHA runs wherever its keys are.

    EVAL leaves it at one shard, and others get it when they need it: so it does where one of them has it and
    the proxy remembers it, and where a client loaded it through the proxy.
    """
    rows = [cast("list[int]", answer.reply) for answer in await ask_all(call, *call.args)]
    columns = zip(*rows, strict=True)
    return [int(_exists(call, digest, column)) for digest, column in zip(call.args[2:], columns, strict=True)]


def _exists(call: Call, digest: bytes, at_shards: Sequence[int]) -> bool:
    if all(at_shards) or call.scripts.get(call.topology.cluster, text(digest).lower()) is not None:
        return True
    return any(at_shards) and _body_of(call, digest) is not None


def _body_of(call: Call, digest: bytes) -> bytes | None:
    """The script, if a client has loaded it or run it by EVAL."""
    cluster, name = call.topology.cluster, text(digest).lower()
    return call.scripts.get(cluster, name) or call.dataplane.script(cluster, digest)


async def _at_all_nodes(call: Call) -> list[Answer]:
    """The primaries' answers. Replicas are told too, for the scripts they run, but nobody depends on it."""
    answers: list[Answer] = []

    async def ask_primaries() -> None:
        answers.extend(await ask_every(call, *call.args))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_primaries)
        await ask_replicas(call, call.topology.shards, *call.args, timeout=REPLICA_TIMEOUT)
    return answers


async def kill(call: Call) -> Reply:
    """SCRIPT KILL and FUNCTION KILL: a replica may be the one that runs a script, a read-only one."""
    primaries = len(call.topology.shards)
    answers = await ask_nodes(call, *call.args)
    return one_succeeded([*answers[:primaries], *(a for a in answers[primaries:] if a.is_ok)])


async def evalsha(call: Call) -> Reply:
    """EVALSHA and EVALSHA_RO where the script is missing: load it there first, if a client had it before."""
    shard = _shard_of(call)
    body = _body_of(call, call.args[1])
    if body is not None:
        call.scripts.keep(call.topology.cluster, text(call.args[1]).lower(), body)  # others may be asked next
        await ask_replicas(call, [shard], "SCRIPT", "LOAD", body, timeout=REPLICA_TIMEOUT)
        await ask_shard(call, shard, "SCRIPT", "LOAD", body)
    return await _run(call, shard)


async def fcall(call: Call) -> Reply:
    """FCALL and FCALL_RO where the function is missing: bring the libraries of a shard that has it.

    When none does, all have come back empty, and get what clients have loaded.
    """
    shard = _shard_of(call)
    answers = await ask_every(call, "FUNCTION", "LIST")
    for other in answers:
        if (
            other.is_ok
            and other.shard.index != shard.index
            and call.args[1] in flags_of_functions(other.reply)
        ):
            dump = await ask_shard(call, other.shard, "FUNCTION", "DUMP")
            dump.check()
            (
                await ask_shard(call, shard, "FUNCTION", "RESTORE", cast("bytes", dump.reply), "REPLACE")
            ).check()
            break
    else:
        await _load_kept(call, next(answer for answer in answers if answer.shard.index == shard.index))
    return await _run(call, shard)


async def _load_kept(call: Call, present: Answer) -> None:
    """Load the libraries that clients have loaded and the shard lacks."""
    if not present.is_ok:
        return
    names = {text(name) for name, _ in _libraries(present.reply)}
    for name, code in call.libraries.all(call.topology.cluster).items():
        if name not in names:
            await ask_shard(call, present.shard, "FUNCTION", "LOAD", code)  # FCALL says if it was in vain


async def function_load(call: Call) -> Reply:
    answers = await ask_every(call, *call.args, resp=call.resp)
    name = next((answer.reply for answer in answers if answer.is_ok), None)
    if name is not None:
        call.libraries.keep(call.topology.cluster, text(cast("bytes", name)), call.args[-1])
    return all_alike(answers)


async def function_delete(call: Call) -> Reply:
    answers = await ask_every(call, *call.args, resp=call.resp)
    if any(answer.is_ok for answer in answers):
        call.libraries.forget(call.topology.cluster, text(call.args[2]))
    return all_alike(answers)


async def function_flush(call: Call) -> Reply:
    answers = await ask_every(call, *call.args, resp=call.resp)
    if any(answer.is_ok for answer in answers):
        call.libraries.forget_all(call.topology.cluster)
    return all_alike(answers)


async def function_restore(call: Call) -> Reply:
    """Its payload is the engine's own, so what there is now is asked for."""
    answers = await ask_every(call, *call.args, resp=call.resp)
    restored = next((answer.shard for answer in answers if answer.is_ok), None)
    if restored is not None:
        listed = await ask_shard(call, restored, "FUNCTION", "LIST", "WITHCODE")
        call.libraries.forget_all(call.topology.cluster)
        for name, code in _libraries(listed.reply) if listed.is_ok else ():
            call.libraries.keep(call.topology.cluster, text(name), code)
    return all_alike(answers)


def _libraries(libraries: Reply) -> Iterator[tuple[bytes, bytes]]:
    """Name and code, if there is any, of the libraries in a reply to FUNCTION LIST (RESP2)."""
    for library in cast("list[list[bytes]]", libraries):
        fields = dict(zip(library[::2], library[1::2], strict=True))
        yield fields[b"library_name"], fields.get(b"library_code", b"")


def flags_of_functions(libraries: Reply) -> dict[bytes, bool]:
    """Whether each function in a reply to FUNCTION LIST (RESP2) says that it writes nothing, by its name."""
    found = {}
    for library in cast("list[list[Reply]]", libraries):
        fields = dict(zip(cast("list[bytes]", library[::2]), library[1::2], strict=True))
        for function in cast("list[list[Reply]]", fields[b"functions"]):
            told = dict(zip(cast("list[bytes]", function[::2]), function[1::2], strict=True))
            found[cast("bytes", told[b"name"])] = b"no-writes" in cast("list[bytes]", told[b"flags"])
    return found


def _shard_of(call: Call) -> Shard:
    """The shard of its first key; the data plane has checked that all have one slot."""
    slot = call.slot_of(call.args[3]) if call.args[2] != b"0" and len(call.args) > 3 else 0
    shard = call.topology.shard_of(slot)
    if shard is None:
        raise CommandError("CLUSTERDOWN Hash slot not served")
    return shard


async def _run(call: Call, shard: Shard) -> Reply:
    """Run what the client asked for where the code is now; a replica does for what only reads."""
    answer = await ask_shard(call, shard, *call.args, resp=call.resp)
    if lower(call.args[0]).endswith("_ro"):
        for place in replicas_of([shard]):
            if answer.why_none is None:
                break
            answer = await ask_shard(call, place, *call.args, resp=call.resp)
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
    "function|delete": function_delete,
    "function|dump": pass_on,
    "function|flush": function_flush,
    "function|kill": kill,
    "function|list": pass_on,
    "function|load": function_load,
    "function|restore": function_restore,
    "function|stats": function_stats,
    "script|exists": script_exists,
    "script|flush": script_flush,
    "script|kill": kill,
    "script|load": script_load,
}

# Served by shards; handed over only when a node lacks what they call.
CURES: Mapping[str, Handler] = {"evalsha": evalsha, "evalsha_ro": evalsha, "fcall": fcall, "fcall_ro": fcall}
