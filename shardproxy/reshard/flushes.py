"""How often an engine was emptied: who had copies put there sees whether they were wiped.

A FLUSHALL through the proxy is carried out by each shard when it gets to it. What it wipes at the source the
copier sees; what it wipes at the target, perhaps later, nobody tells it.
"""

from __future__ import annotations

from shardproxy.failover.interfaces import Nodes
from shardproxy.model import Address
from shardproxy.wire.info import read_fields
from shardproxy.wire.reply import Reply

EMPTYING = ("cmdstat_flushall", "cmdstat_flushdb")

Flushes = tuple[str, ...]  # calls of each; another number also where an operator had the counts begun anew


async def flushes_of(nodes: Nodes, address: Address, run_id: str, *, within: float) -> Flushes:
    """Of this very process; raise NodeFailure, NodeError or InfoError."""
    (reply,) = await nodes.request_many(address, [("INFO", "commandstats")], timeout=within, run_id=run_id)
    return flushes_read(reply)


def flushes_read(reply: Reply) -> Flushes:
    """INFO commandstats; raise InfoError."""
    fields = read_fields(reply)
    return tuple(fields.get(name, "").partition(",")[0] for name in EMPTYING)
