"""What a controller has seen of a shard, as far as it matters after the primary has fallen ill. Pure.

A replica that lost its primary long before everybody else did has old data: to promote it would undo what was
acknowledged meanwhile. What must outlive the controller is put on record from here: the floor, and who
vouches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from shardproxy.failover.adoption import Healths
from shardproxy.model import Address
from shardproxy.model.health import NodeHealth, NodeState
from shardproxy.model.replication import Role
from shardproxy.store.record import ShardRecord

LEFT_BEHIND = 10.0  # seconds out of sync after which a replica is not promoted any more
SAMPLE = 1.0  # seconds between two offsets of the primary that are remembered


@dataclass(frozen=True, slots=True)
class Memory:
    """Times are trio's."""

    unwell_since: float | None = None  # the primary; None = it is well
    apart_since: Mapping[Address, float] = field(default_factory=dict)  # replicas out of sync with it
    named: tuple[int, str] | None = None  # the epoch, and how replicas linked to its primary call its history
    trail: tuple[tuple[float, int], ...] = ()  # the primary's offsets of late, the oldest first
    of: tuple[int, Address | None] = (0, None)  # the epoch and primary that all this is about
    processes: Mapping[Address, tuple[str, float]] = field(default_factory=dict)  # seen since when

    def noted(self, record: ShardRecord, healths: Healths, now: float) -> Memory:
        """Add what is seen now. Once the primary is unwell, who lost it when says nothing any more."""
        memory = self if self.of == (record.epoch, record.primary) else self._anew(record)
        memory = replace(memory, processes=_processes(memory.processes, healths, now))
        primary = healths.get(record.primary) if record.primary is not None else None
        if primary is None:
            return memory
        named = next(_names(record, healths), None)
        if named is not None:
            memory = replace(memory, named=(record.epoch, named))
        if primary.replication is None:
            return memory
        is_well = primary.verdict.state in (NodeState.UP, NodeState.BUSY) and primary.verdict.is_answering
        if not is_well:
            return memory if memory.unwell_since is not None else replace(memory, unwell_since=now)
        apart = {
            node: memory.apart_since.get(node, now)
            for node in record.nodes
            if node != record.primary and not is_current(healths.get(node))
        }
        memory = replace(memory, unwell_since=None, apart_since=apart)
        return memory._sampled(primary, now)

    def _anew(self, record: ShardRecord) -> Memory:
        """Another primary: what is known of the one before matters as long as it is being replaced."""
        if record.primary is None:
            return self
        return Memory(of=(record.epoch, record.primary), processes=self.processes)

    def _sampled(self, primary: NodeHealth, now: float) -> Memory:
        seen = primary.replication
        if seen is None or seen.role is not Role.PRIMARY or (self.trail and now - self.trail[-1][0] < SAMPLE):
            return self
        kept = [sample for sample in self.trail if now - sample[0] <= 2 * LEFT_BEHIND]
        return replace(self, trail=(*kept, (now, seen.offset)))

    def floor(self, now: float) -> int:
        """An offset the primary had passed long before it fell ill, or before now; 0 = not known."""
        until = (self.unwell_since if self.unwell_since is not None else now) - LEFT_BEHIND
        return max((offset for at, offset in self.trail if at <= until), default=0)

    def is_left_behind(self, node: Address, now: float) -> bool:
        """Whether it had been out of sync for too long when the primary fell ill, or is by now."""
        since = self.apart_since.get(node)
        at = self.unwell_since if self.unwell_since is not None else now
        return since is not None and at - since > LEFT_BEHIND

    def has_caught_up(self, node: Address, health: NodeHealth) -> bool:
        """Whether it has all that the process before it can have had."""
        run_id, since = self.processes.get(node, ("", 0.0))
        is_same = health.server is not None and health.server.run_id == run_id
        return is_same and health.synced_at is not None and health.synced_at > since

    def other_name(self, record: ShardRecord) -> str:
        """How else than on record the primary's history is called since this epoch, or nothing.

        A primary gives its history a new name when its first replica comes; if it dies before it was asked,
        the replica knows.
        """
        if self.named is None or record.lineage is None or self.named[0] != record.epoch:
            return ""
        return "" if self.named[1] == record.lineage.replid else self.named[1]


def _processes(
    known: Mapping[Address, tuple[str, float]], healths: Healths, now: float
) -> Mapping[Address, tuple[str, float]]:
    """Which process each node was last, and since when."""
    new = {
        node: (health.server.run_id, now)
        for node, health in healths.items()
        if health.server is not None and known.get(node, ("",))[0] != health.server.run_id
    }
    return {**known, **new} if new else known


def is_current(health: NodeHealth | None) -> bool:
    """Whether it is a replica that has what its primary had a moment ago."""
    return health is not None and health.is_current


def _names(record: ShardRecord, healths: Healths) -> Iterator[str]:
    """What replicas call the history that they are getting from the primary."""
    for node, health in healths.items():
        seen = health.replication
        if node in record.joined and seen is not None and seen.is_link_up and seen.follows == record.primary:
            yield seen.lineage.replid
