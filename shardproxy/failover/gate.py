"""What may be made a replica of what. Pure; every REPLICAOF of ours that gives up data passes here.

A replica that follows takes its primary's dataset and drops its own. So both are asked first, and a node is
never pointed at one that has less of the shard's history, or nothing, or another one, unless what it has was
given up on record.
"""

from __future__ import annotations

from dataclasses import dataclass

from shardproxy.failover.places import place_of
from shardproxy.model import Address
from shardproxy.model.replication import Replication, Role
from shardproxy.store.record import ShardRecord


@dataclass(frozen=True, slots=True)
class Seen:
    """A node, as it has just said."""

    address: Address
    run_id: str
    replication: Replication
    keys: int  # in all its databases


def why_not_follow(node: Seen, primary: Seen, record: ShardRecord) -> str | None:
    """The reason the node must not be made a replica of that primary, or None."""
    if node.run_id == primary.run_id:
        return f"is the same process as {primary.address}, under another name"
    if primary.replication.role is not Role.PRIMARY:
        return f"{primary.address} says it is a replica"
    if record.run_id and primary.run_id != record.run_id:
        return f"{primary.address} restarted"
    if node.keys == 0:
        return None
    if _is_prefix(node.replication, primary.replication):
        return None
    if primary.keys == 0:
        return f"holds keys, and {primary.address} none"
    if node.address not in record.joined:
        return "holds keys of its own: empty it (FLUSHALL) to let it join"
    is_given_up = (node.address, node.run_id) in record.replaced
    is_known = record.has_process(node.address, node.run_id)
    if is_known and not is_given_up and _was_promoted(node.replication, record):
        return (
            "was made a primary by somebody else and holds keys: make it a replica yourself to give them up"
        )
    return None


def _is_prefix(node: Replication, primary: Replication) -> bool:
    """Whether the primary has all that the node has, and nothing else happened on the node."""
    place = place_of(node, primary.lineage)
    return place is not None and place == node.offset and place <= primary.offset


def _was_promoted(node: Replication, record: ShardRecord) -> bool:
    """Whether it is a primary, or was one before we froze it: its history left the shard's then."""
    own = node.lineage
    has_left = not record.is_own_name(own.replid) and record.is_own_name(own.replid2)
    return node.role is Role.PRIMARY or (node.is_frozen and has_left and node.offset >= own.second_offset)
