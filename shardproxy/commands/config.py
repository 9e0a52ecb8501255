"""CONFIG GET: a node's settings, except where the proxy differs from them or must not tell.

What CONFIG SET sets on every node is what CONFIG GET then shows: nothing is summed, as figures in INFO are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from shardproxy.commands.call import Call, Handler
from shardproxy.commands.shards import ask_any
from shardproxy.wire.reply import Reply

# What the proxy uses to log in to the nodes, or what guards their files.
SECRETS = (b"masterauth", b"masteruser", b"requirepass", b"tls-client-key-file-pass", b"tls-key-file-pass")


async def config_get(call: Call) -> Reply:
    flat = cast("list[bytes]", await ask_any(call, *call.args))
    settings = dict(zip(flat[::2], flat[1::2], strict=True))
    for name in SECRETS:
        if name in settings:
            settings[name] = b""
    if b"databases" in settings:
        settings[b"databases"] = b"%d" % call.databases
    return settings


HANDLERS: Mapping[str, Handler] = {"config|get": config_get}
