"""Whether slots can go from one shard to another, by who owns them on record. Pure.

Copying begins with taking away what the target has of the slots: of slots that are its own that would be what
clients have.
"""

from __future__ import annotations

from collections.abc import Mapping

from shardproxy.config.slots import format_slots
from shardproxy.model.replication import ShardKey
from shardproxy.model.slots import slots_common, slots_removed
from shardproxy.reshard.layout import Move
from shardproxy.store.record import ShardRecord

ANEW = "what was planned is not so any more, so begin a new job"


def why_not_the_sources(records: Mapping[ShardKey, ShardRecord], move: Move) -> str | None:
    """Why the source does not own all that is to move, or the target some of it; None when neither is so."""
    source, target = records.get(move.source), records.get(move.target)
    if source is None or target is None:
        missing = move.source if source is None else move.target
        return f"shard {missing.index} is not on record: {ANEW}"
    if taken := slots_common(target.slots, move.slots):
        return f"the target, shard {move.target.index}, owns slots {format_slots(taken)} already: {ANEW}"
    if lacks := slots_removed(move.slots, source.slots):
        return f"the source, shard {move.source.index}, does not own slots {format_slots(lacks)}: {ANEW}"
    return None
