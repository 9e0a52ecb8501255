"""Whether a replica gets its primary's writes, in a word and with the reason. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from shardproxy.model.health import NodeHealth
from shardproxy.model.replication import Role


class Sync(enum.Enum):
    STREAMING = "streaming"  # gets every write
    SYNCING = "syncing"  # gets the whole data first
    NO_LINK = "no link"  # gets nothing
    ASTRAY = "astray"  # gets the writes of another than its shard's primary


@dataclass(frozen=True, slots=True)
class ReplicaSync:
    sync: Sync
    reason: str = ""  # of what is not as it should be


def sync_of(replica: NodeHealth | None, primary: NodeHealth | None) -> ReplicaSync | None:
    """Judge a replica beside its shard's primary; None where nobody can tell, as it does not answer."""
    if replica is None or replica.replication is None or not replica.verdict.is_answering:
        return None
    seen = replica.replication
    if seen.role is Role.PRIMARY:
        return ReplicaSync(Sync.ASTRAY, "it says it is a primary")
    if seen.is_frozen:
        return ReplicaSync(Sync.NO_LINK, "it is frozen until its shard has a primary")
    if seen.is_syncing:
        return ReplicaSync(Sync.SYNCING, f"it gets the whole data from {seen.follows}")
    if not seen.is_link_up:
        return ReplicaSync(Sync.NO_LINK, f"its link to {seen.follows} is down")
    known = primary.replication if primary is not None and primary.verdict.is_answering else None
    if known is not None and known.lineage.replid != seen.lineage.replid:
        return ReplicaSync(Sync.ASTRAY, f"it follows {seen.follows} and has other data than its primary")
    return ReplicaSync(Sync.STREAMING)
