"""ACL: the proxy's users, those that clients log in as. The nodes know one user, the proxy's own.

What changes users is refused unless the config allows it, as ElastiCache refuses it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

import trio

from shardproxy.access.log import Refused
from shardproxy.commands.call import Call, CommandError, Handler, integer, text
from shardproxy.commands.client import line_of
from shardproxy.commands.table import Table, lower
from shardproxy.commands.texts import bad_subcommand
from shardproxy.config.access import DEFAULT_USER, MAX_NAME
from shardproxy.dataplane.rules import Described, RuleError, Rules
from shardproxy.dataplane.users import NEW_USER, ProxyUser, user_changed, user_line
from shardproxy.topology.user_changes import ByName
from shardproxy.topology.users import UserChangeError
from shardproxy.wire.reply import OK, Reply, SetOf

DEFAULT_BITS = 256
MAX_BITS = 4096  # as in acl.c
LOGGED = 10  # entries that ACL LOG shows unless asked for another number
ORDERED_SINCE = (7, 2)  # since then rules are shown in the order they were given
BAD_BITS = (
    "ERR ACL GENPASS argument must be the number of bits for the output password, "
    f"a positive number up to {MAX_BITS}"
)
BAD_NAME = "ERR Usernames can't contain spaces or null characters"
DENIED = {
    "command": "This user has no permissions to run the '{name}' command",
    "key": "This user has no permissions to access the '{name}' key",
    "channel": "This user has no permissions to access the '{name}' channel",
}


@lru_cache(maxsize=2)  # tables are told apart by identity
def rules_of(table: Table) -> Rules:
    """Redis' rules over that command table."""
    return Rules(table.encode())


def _users(call: Call) -> ByName:
    """By name, in their order."""
    return {user.name: user for user in sorted(call.users.users(call.topology.cluster), key=_name)}


def _name(user: ProxyUser) -> bytes:
    return user.name.encode("utf-8", "surrogateescape")


def _describe(call: Call, user: ProxyUser) -> Described:
    version = tuple(int(part) for part in call.table.version.split(".")[:2])
    return rules_of(call.table).describe(user_line(user), ordered=version >= ORDERED_SINCE)


def acl_users(call: Call) -> Reply:
    return list(_users(call))


async def acl_list(call: Call) -> Reply:
    lines: list[Reply] = []
    for user in _users(call).values():
        lines.append(f"user {user.name} {_describe(call, user).line}")
        await trio.lowlevel.checkpoint()  # to describe one may take a millisecond
    return lines


def acl_getuser(call: Call) -> Reply:
    user = _users(call).get(text(call.args[2]))
    if user is None:
        return None
    found = _describe(call, user)
    shown: dict[str, Reply] = {
        "flags": SetOf(found.flags),
        "passwords": list(found.passwords),
        "commands": found.commands,
        "keys": found.keys,
        "channels": found.channels,
        "selectors": [dict(selector) for selector in found.selectors],
    }
    return shown


def acl_cat(call: Call) -> Reply:
    rules = rules_of(call.table)
    if len(call.args) == 2:
        return rules.categories()
    if len(call.args) > 3:
        raise CommandError(bad_subcommand(call.args))
    commands = rules.commands(lower(call.args[2]))
    if commands is None:
        raise CommandError(f"ERR Unknown category '{text(call.args[2])}'")
    return commands


def acl_genpass(call: Call) -> Reply:
    if len(call.args) > 3:
        raise CommandError(bad_subcommand(call.args))
    bits = integer(call.args[2]) if len(call.args) > 2 else DEFAULT_BITS
    if not 0 < bits <= MAX_BITS:
        raise CommandError(BAD_BITS)
    digits = (bits + 3) // 4
    return secrets.token_hex((digits + 1) // 2)[:digits]


def acl_dryrun(call: Call) -> Reply:
    user = _users(call).get(text(call.args[2]))
    if user is None:
        raise CommandError(f"ERR User '{text(call.args[2])}' not found")
    try:
        denied = rules_of(call.table).why_denied(user_line(user), call.args[3:])
    except RuleError as error:
        raise CommandError(f"ERR {error}") from error
    return OK if denied is None else DENIED[denied[0]].format(name=text(denied[1]))


async def acl_log(call: Call) -> Reply:
    """Refusals of late; the clients' lines are as they are now, and of those that have gone what is known."""
    log = call.refusals.of(call.topology.cluster)
    count = LOGGED
    if len(call.args) > 3:
        raise CommandError(bad_subcommand(call.args))
    if len(call.args) == 3:
        if lower(call.args[2]) == "reset":
            log.reset()
            return OK
        count = max(0, integer(call.args[2]))
    entries = log.entries[:count]
    wanted = {entry.client_id for entry in entries if entry.client_id}
    there = {client["id"]: client for client in await call.dataplane.clients(wanted)} if wanted else {}
    now = time.time()
    return [_entry(entry, there.get(entry.client_id, {}), now) for entry in entries]


def _entry(entry: Refused, client: Mapping[str, object], now: float) -> Reply:
    line = line_of({**GONE, **client, "id": entry.client_id, "address": entry.address, "user": entry.user})
    shown: dict[str, Reply] = {
        "count": entry.count,
        "reason": entry.reason,
        "context": entry.context,
        "object": entry.what,
        "username": entry.user,
        "age-seconds": round(max(0.0, now - entry.updated), 3),
        "client-info": line,
        "entry-id": entry.id,
        "timestamp-created": int(entry.created * 1000),
        "timestamp-last-updated": int(entry.updated * 1000),
    }
    return shown


GONE = {
    "local_address": "",
    "name": b"",
    "age": 0,
    "idle": 0,
    "db": 0,
    "channels": 0,
    "patterns": 0,
    "shard_channels": 0,
    "queued": None,
    "input": 0,
    "output": 0,
    "memory": 0,
    "command": "",
    "resp": 2,
    "lib_name": b"",
    "lib_version": b"",
    "is_monitor": False,
    "is_blocked": False,
    "is_tracking": False,
    "is_broadcast": False,
    "is_redirect_broken": False,
    "redirect": -1,
    "no_evict": False,
}


# --- what changes users ---


async def acl_setuser(call: Call) -> Reply:
    name = _new_name(call.args[2])
    rules = rules_of(call.table)

    def edit(users: ByName) -> Mapping[str, ProxyUser]:
        before = users.get(name) or replace(NEW_USER, name=name)
        return {name: user_changed(before, call.args[3:], rules)}

    with _refusals():
        await call.users.change(call.topology.cluster, edit, call.user)
    return OK


@contextmanager
def _refusals() -> Iterator[None]:
    """Have the client told why its users are as they were."""
    try:
        yield
    except (UserChangeError, RuleError) as error:
        raise CommandError(f"ERR {error}") from error


def _new_name(word: bytes) -> str:
    if b" " in word or b"\0" in word:
        raise CommandError(BAD_NAME)
    try:
        name = word.decode()
    except UnicodeDecodeError:
        raise CommandError("ERR Usernames must be UTF-8 text") from None
    if not name or len(name) > MAX_NAME or len(name.split()) != 1:
        raise CommandError(f"ERR Usernames have 1 to {MAX_NAME} characters, and no blanks")
    return name


async def acl_deluser(call: Call) -> Reply:
    names = [text(word) for word in call.args[2:]]
    if DEFAULT_USER in names:
        raise CommandError("ERR The 'default' user cannot be removed")
    deleted = 0

    def edit(users: ByName) -> Mapping[str, None]:
        nonlocal deleted
        gone = dict.fromkeys(name for name in names if name in users)
        deleted = len(gone)
        return gone

    with _refusals():
        await call.users.change(call.topology.cluster, edit, call.user)
    return deleted


async def acl_load(call: Call) -> Reply:
    with _refusals():
        await call.users.load(call.topology.cluster, call.user)
    return OK


async def acl_save(call: Call) -> Reply:
    with _refusals():
        await call.users.save(call.topology.cluster, call.user)
    return OK


HANDLERS: Mapping[str, Handler] = {
    "acl|cat": acl_cat,
    "acl|deluser": acl_deluser,
    "acl|dryrun": acl_dryrun,
    "acl|genpass": acl_genpass,
    "acl|getuser": acl_getuser,
    "acl|list": acl_list,
    "acl|load": acl_load,
    "acl|log": acl_log,
    "acl|save": acl_save,
    "acl|setuser": acl_setuser,
    "acl|users": acl_users,
}
CHANGES = frozenset({"acl|deluser", "acl|load", "acl|save", "acl|setuser"})
