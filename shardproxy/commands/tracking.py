"""CLIENT TRACKING and what belongs to it: off, as on an engine where nobody turned it on.

Connections to nodes are shared, so a node cannot tell whose keys changed, and ON is an error that says why. A
client library that is told to cache fails at it, as it must: else it would serve what is no longer true.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shardproxy.commands.call import SYNTAX_ERROR, Call, CommandError, Handler
from shardproxy.commands.table import lower
from shardproxy.wire.reply import OK, Reply, SetOf

OPTIONS = ("bcast", "optin", "optout", "noloop")
WITH_VALUE = ("redirect", "prefix")
NOT_TRACKING = (
    "ERR CLIENT CACHING can be called only when the client is in tracking mode "
    "with OPTIN or OPTOUT mode enabled"
)


def client_tracking(call: Call) -> Reply:
    words = iter(call.args[3:])
    for word in words:
        _check(lower(word), words)
    switch = lower(call.args[2])
    if switch == "off":
        return OK
    if switch != "on":
        raise CommandError(SYNTAX_ERROR)
    command = call.table.get("client|tracking")
    raise CommandError(f"ERR CLIENT TRACKING is refused by this proxy: {command.note if command else None}")


def _check(option: str, values: Iterator[bytes]) -> None:
    is_known = option in OPTIONS or (option in WITH_VALUE and next(values, None) is not None)
    if not is_known:
        raise CommandError(SYNTAX_ERROR)


def client_trackinginfo(call: Call) -> Reply:
    no_prefixes: list[Reply] = []
    info: dict[str, Reply] = {"flags": SetOf(("off",)), "redirect": -1, "prefixes": no_prefixes}
    return info


def client_getredir(call: Call) -> Reply:
    return -1


def client_caching(call: Call) -> Reply:
    raise CommandError(NOT_TRACKING)


HANDLERS: Mapping[str, Handler] = {
    "client|caching": client_caching,
    "client|getredir": client_getredir,
    "client|tracking": client_tracking,
    "client|trackinginfo": client_trackinginfo,
}
