"""ACL as far as a client may look: of the proxy's users, not of those by which it logs in to the nodes.

Where the config lets clients set the nodes' users, these are what they see.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from shardproxy.commands.call import Call, CommandError, Handler, integer, text
from shardproxy.commands.shards import pass_any
from shardproxy.commands.table import lower
from shardproxy.commands.texts import bad_subcommand
from shardproxy.wire.reply import OK, Reply, SetOf

USER = "default"  # whoever connects
RULES = "nopass ~* &* +@all"
DEFAULT_BITS = 256
MAX_BITS = 4096  # as in acl.c
BAD_BITS = (
    "ERR ACL GENPASS argument must be the number of bits for the output password, "
    f"a positive number up to {MAX_BITS}"
)


def has_nodes_users(call: Call) -> bool:
    return call.settings.is_allowed("acl|setuser")


async def acl_users(call: Call) -> Reply:
    return await pass_any(call, *call.args) if has_nodes_users(call) else [USER]


async def acl_list(call: Call) -> Reply:
    return await pass_any(call, *call.args) if has_nodes_users(call) else [f"user {USER} on {RULES}"]


async def acl_getuser(call: Call) -> Reply:
    if has_nodes_users(call):
        return await pass_any(call, *call.args)
    if text(call.args[2]) != USER:
        return None
    nothing: list[Reply] = []
    user: dict[str, Reply] = {
        "flags": SetOf(("on", "nopass")),
        "passwords": nothing,
        "commands": "+@all",
        "keys": "~*",
        "channels": "&*",
        "selectors": nothing,
    }
    return user


def acl_log(call: Call) -> Reply:
    """Nobody is denied anything yet, so the log is empty."""
    if len(call.args) > 2:
        if lower(call.args[2]) == "reset":
            return OK
        integer(call.args[2])
    return []


def acl_genpass(call: Call) -> Reply:
    if len(call.args) > 3:
        raise CommandError(bad_subcommand(call.args))
    bits = integer(call.args[2]) if len(call.args) > 2 else DEFAULT_BITS
    if not 0 < bits <= MAX_BITS:
        raise CommandError(BAD_BITS)
    digits = (bits + 3) // 4
    return secrets.token_hex((digits + 1) // 2)[:digits]


async def acl_dryrun(call: Call) -> Reply:
    """What the proxy's user may do is everything; an engine knows which commands there are."""
    if text(call.args[2]) != USER and not has_nodes_users(call):
        raise CommandError(f"ERR User '{text(call.args[2])}' not found")
    return await pass_any(call, *call.args)


async def acl_cat(call: Call) -> Reply:
    return await pass_any(call, *call.args)


HANDLERS: Mapping[str, Handler] = {
    "acl|cat": acl_cat,
    "acl|dryrun": acl_dryrun,
    "acl|genpass": acl_genpass,
    "acl|getuser": acl_getuser,
    "acl|list": acl_list,
    "acl|log": acl_log,
    "acl|users": acl_users,
}
