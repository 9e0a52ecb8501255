"""WAIT: until replicas have what was written before, on every shard.

An engine's own WAIT covers the writes of one connection, and a client's writes travel on shared connections.
So the primaries' offsets are taken now, and their replicas waited for: all acknowledged writes are covered.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import trio

from shardproxy.commands.call import Call, CommandError, Handler, integer
from shardproxy.commands.patience import Patience
from shardproxy.wire.reply import Reply


async def wait(call: Call) -> Reply:
    """The smallest number of replicas that a shard's writes so far have reached within the timeout."""
    wanted = integer(call.args[1])
    timeout = integer(call.args[2], "ERR timeout is not an integer or out of range") / 1000
    if timeout < 0:
        raise CommandError("ERR timeout is negative")
    with call.followers.waiting(call.topology, call.offload.client_id, wanted) as waiting:
        with trio.move_on_after(timeout or inf):
            await waiting.wait_ended()
        if waiting.error is not None:
            raise CommandError(waiting.error)
        return waiting.reached()


HANDLERS: Mapping[str, Handler] = {"wait": wait}
MOST = 4096
# Not counted among those running: waiting is all they do.
PATIENT: Mapping[str, Patience] = {
    "wait": Patience(MOST, f"ERR {MOST} clients wait already, and no more may")
}
