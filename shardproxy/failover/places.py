"""How far into a history a node's data goes. Pure."""

from __future__ import annotations

from shardproxy.model.replication import Lineage, Replication


def place_of(seen: Replication, lineage: Lineage) -> int | None:
    """An offset of that history up to which the node has it; None when its data is of another one."""
    own = seen.lineage
    if lineage.has(own.replid, seen.offset):
        return seen.offset
    if own.replid2 and own.replid2 == lineage.replid:
        # Promoted in vain, or a primary restarted with its data: it branched off, and no client wrote since.
        return own.second_offset - 1
    return None
