"""Which commands nodes get from the proxy itself: what they count and log of these is not applications'.

They come from the watch over nodes, from connections that log in, and from what all shards are asked at once;
when an application says one of them, the proxy answers it.
"""

from __future__ import annotations

from shardproxy.commands import admin
from shardproxy.commands.table import Command

# Said by the proxy though applications' own may come to nodes, too: they come mixed with the proxy's.
BESIDES = frozenset({"config|set", "config|rewrite", "unwatch", "wait"})
TO_CHANNELS = frozenset(
    {"publish", "spublish"}
)  # the proxy subscribes for all; what is published is passed on
OF_DATA = frozenset({"readonly", "write"})


def is_own(command: Command) -> bool:
    """Whether nodes know it from the proxy alone."""
    if command.name in BESIDES:
        return True
    match command.route:
        case "local":
            return True
        case "offload":
            return OF_DATA.isdisjoint(command.flags)
        case "pubsub":
            return command.name not in TO_CHANNELS
        case "refused":
            return command.name not in admin.HANDLERS
    return False
