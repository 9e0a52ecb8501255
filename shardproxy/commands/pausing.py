"""CLIENT PAUSE, UNPAUSE and UNBLOCK: holding clients back, and letting them go."""

from __future__ import annotations

from collections.abc import Mapping

from shardproxy.commands.call import Call, CommandError, Handler, integer
from shardproxy.commands.client import clients_of
from shardproxy.commands.scripting import flags_of_functions
from shardproxy.commands.shards import ask_any
from shardproxy.commands.table import lower
from shardproxy.commands.texts import bad_subcommand
from shardproxy.wire.reply import OK, Reply

ASK_TIMEOUT = 0.5  # seconds; a pause is to begin soon


async def client_pause(call: Call) -> Reply:
    if len(call.args) > 4:
        raise CommandError(bad_subcommand(call.args))
    mode = lower(call.args[3]) if len(call.args) > 3 else "all"
    if mode not in ("all", "write"):
        raise CommandError("ERR CLIENT PAUSE mode must be WRITE or ALL")
    timeout = integer(call.args[2], "ERR timeout is not an integer or out of range")
    if timeout < 0:
        raise CommandError("ERR timeout is negative")
    only_writes = mode == "write"
    functions = await _functions(call) if only_writes and timeout else {}
    call.dataplane.pause(call.topology.cluster, timeout / 1000, only_writes=only_writes, functions=functions)
    return OK


async def _functions(call: Call) -> Mapping[bytes, bool]:
    """Whether functions say that they write nothing: those do not wait. None if no node tells in time.

    They stay as they are while the pause lasts, which holds what would change them.
    """
    try:
        return flags_of_functions(await ask_any(call, "FUNCTION", "LIST", timeout=ASK_TIMEOUT))
    except CommandError:
        return {}


def client_unpause(call: Call) -> Reply:
    call.dataplane.pause(call.topology.cluster, 0, only_writes=False, functions={})
    return OK


async def client_unblock(call: Call) -> Reply:
    if len(call.args) > 4:
        raise CommandError(bad_subcommand(call.args))
    how = lower(call.args[3]) if len(call.args) > 3 else "timeout"
    if how not in ("timeout", "error"):
        raise CommandError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    client, with_error = integer(call.args[2]), how == "error"
    if client <= 0:
        return 0
    if call.followers.unblock(call.topology.cluster, client, with_error=with_error):
        return 1
    if not await clients_of(call, [client]):
        return 0  # another cluster's client is none here
    return int(await call.dataplane.unblock(client, with_error=with_error))


HANDLERS: Mapping[str, Handler] = {
    "client|pause": client_pause,
    "client|unpause": client_unpause,
    "client|unblock": client_unblock,
}
