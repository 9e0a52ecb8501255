"""What is known of a primary's replicas from before it fell ill. Pure.

A replica that lost its primary long before everybody else did has old data: to promote it would undo what was
acknowledged meanwhile, and nobody but an operator may want that. And a primary gives its history a new name
when its first replica comes; if it dies before it was asked, the replica knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from shardproxy.failover.adoption import Healths, follows
from shardproxy.model import Address
from shardproxy.model.health import NodeState
from shardproxy.store.record import ShardRecord


@dataclass(frozen=True, slots=True)
class SyncLog:
    """Times are trio's."""

    unwell_since: float | None = None  # the primary; None = it is well
    apart_since: Mapping[Address, float] = field(default_factory=dict)  # replicas out of sync with it
    named: tuple[int, str] | None = None  # the epoch, and how replicas linked to its primary call its history

    def noted(self, record: ShardRecord, healths: Healths, now: float) -> SyncLog:
        """Add what is seen now. Once the primary is unwell, who lost it when says nothing any more."""
        primary = healths.get(record.primary) if record.primary is not None else None
        if primary is None:
            return self
        named = next(_names(record, healths), None)
        if named is not None:
            return replace(self, named=(record.epoch, named))._noted(record, healths, now)
        return self._noted(record, healths, now)

    def _noted(self, record: ShardRecord, healths: Healths, now: float) -> SyncLog:
        primary = healths[record.primary] if record.primary is not None else None
        if primary is None or primary.replication is None:
            return self
        if primary.verdict.state is not NodeState.UP:
            return self if self.unwell_since is not None else replace(self, unwell_since=now)
        apart = {
            node: self.apart_since.get(node, now)
            for node in record.nodes
            if node != record.primary and not follows(healths.get(node), primary.replication)
        }
        return replace(self, unwell_since=None, apart_since=apart)

    def other_name(self, record: ShardRecord) -> str:
        """How else than on record the primary's history is called since this epoch, or nothing."""
        if self.named is None or record.lineage is None or self.named[0] != record.epoch:
            return ""
        return "" if self.named[1] == record.lineage.replid else self.named[1]

    def left_behind(self, limit: float) -> frozenset[Address]:
        """The replicas that had been out of sync for more than `limit` seconds when the primary fell ill."""
        if self.unwell_since is None:
            return frozenset()
        at = self.unwell_since
        return frozenset(node for node, since in self.apart_since.items() if at - since > limit)


def _names(record: ShardRecord, healths: Healths) -> Iterator[str]:
    """What replicas call the history that they are getting from the primary."""
    for node, health in healths.items():
        seen = health.replication
        if node in record.joined and seen is not None and seen.is_link_up and seen.follows == record.primary:
            yield seen.lineage.replid
