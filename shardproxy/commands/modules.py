"""MODULE LIST: the nodes of a cluster have the same modules, so any of them tells."""

from __future__ import annotations

from collections.abc import Mapping

from shardproxy.commands.call import Call, Handler
from shardproxy.commands.shards import pass_any
from shardproxy.wire.reply import Reply


async def module_list(call: Call) -> Reply:
    return await pass_any(call, *call.args)


HANDLERS: Mapping[str, Handler] = {"module|list": module_list}
