"""What a process loads when clients can connect already: rooms that nothing is listened or failed over with.

A thread loads them: a module holds up Python for milliseconds, and between modules health and failover get
their turns. What nobody asks for (caching, backups, sources of topologies) is loaded where it is begun with.
tests/integration/test_start.py names what must not be there earlier.
"""

from __future__ import annotations

from importlib import import_module

import trio

COMMANDS = ("shardproxy.commands.configured", "shardproxy.commands.service")
CACHING = tuple(
    f"shardproxy.caching.{room}"
    for room in ("aging", "behind", "draining", "forgetting", "memcached.service", "service")
)
ADMIN = ("shardproxy.admin.server", "shardproxy.app.showing")


async def rooms_load(rooms: tuple[str, ...]) -> None:
    """Have modules loaded, so that to import them takes no time."""
    await trio.to_thread.run_sync(lambda: [import_module(room) for room in rooms])
