"""CONFIG GET: the nodes' settings, except where the proxy differs from them or must not tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from shardproxy.commands.call import Call, Handler
from shardproxy.commands.shards import ask_any, ask_every
from shardproxy.wire.reply import Reply

# What the proxy uses to log in to the nodes, or what guards their files.
SECRETS = (b"masterauth", b"masteruser", b"requirepass", b"tls-client-key-file-pass", b"tls-key-file-pass")


async def config_get(call: Call) -> Reply:
    flat = cast("list[bytes]", await ask_any(call, *call.args))
    settings = dict(zip(flat[::2], flat[1::2], strict=True))
    for name in SECRETS:
        if name in settings:
            settings[name] = b""
    if b"databases" in settings and len(call.topology.shards) > 1:
        settings[b"databases"] = b"1"
    if b"maxmemory" in settings:
        settings[b"maxmemory"] = b"%d" % await _maxmemory(call)
    return settings


async def _maxmemory(call: Call) -> int:
    """Of all shards that answer, as INFO sums what is used of it; 0, no limit, when one has none."""
    answers = await ask_every(call, "CONFIG", "GET", "maxmemory")
    limits = [int(cast("list[bytes]", answer.reply)[1]) for answer in answers if answer.is_ok]
    return sum(limits) if all(limits) else 0


HANDLERS: Mapping[str, Handler] = {"config|get": config_get}
