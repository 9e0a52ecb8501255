"""How often an engine was emptied, or made room: who had copies put there sees whether they are whole.

A FLUSHALL through the proxy is carried out by each shard when it gets to it. What it wipes at the source the
copier sees; what it wipes at the target, perhaps later, nobody tells it.
"""

from __future__ import annotations

from dataclasses import dataclass

from shardproxy.failover.interfaces import Nodes
from shardproxy.model import Address
from shardproxy.wire.info import read_fields
from shardproxy.wire.reply import Reply

EMPTYING = ("cmdstat_flushall", "cmdstat_flushdb")


@dataclass(frozen=True, slots=True)
class Flushes:
    """Another number also where an operator had the counts begun anew."""

    calls: tuple[str, ...]  # of each that empties
    evicted: int  # keys


async def flushes_of(nodes: Nodes, address: Address, run_id: str, *, within: float) -> Flushes:
    """Of this very process; raise NodeFailure, NodeError or InfoError."""
    asked = [("INFO", "commandstats"), ("INFO", "stats")]
    calls, stats = await nodes.request_many(address, asked, timeout=within, run_id=run_id)
    return flushes_read(calls, stats)


def flushes_read(calls: Reply, stats: Reply) -> Flushes:
    """INFO commandstats and stats; raise InfoError."""
    fields, evicted = read_fields(calls), read_fields(stats).get("evicted_keys", "0")
    named = tuple(fields.get(name, "").partition(",")[0] for name in EMPTYING)
    return Flushes(named, int(evicted) if evicted.isdigit() else 0)


def why_evicted(address: Address, before: Flushes, now: Flushes) -> str | None:
    """Why an engine keeps nothing that is copied to it; None where it does."""
    if now.evicted <= before.evicted:
        return None
    return (
        f"{address} evicts keys ({now.evicted - before.evicted} since it is copied to): give it more memory,"
        " or move less"
    )
