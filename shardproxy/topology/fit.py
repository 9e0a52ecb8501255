"""Which of a shard's nodes are fit to be read from, and to vouch for writes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shardproxy.model import Address
from shardproxy.model.health import NodeHealth, NodeKey, NodeState
from shardproxy.store.record import ShardRecord, ShardState


@dataclass(frozen=True, slots=True)
class Fit:
    """What health says of a shard's replicas."""

    readable: frozenset[Address] | None = None  # None: nobody knows, and all are
    voters: frozenset[Address] | None = None  # as their primary lists them; None: nobody is asked


NOT_KNOWN = Fit()


def fit_of(
    record: ShardRecord | None,
    reads: frozenset[Address] | None,
    healths: Mapping[NodeKey, NodeHealth],
    before: Fit,
) -> Fit:
    """Judge a shard's replicas. Who is readable is as before until every node was asked in its new role.

    `reads`: those that were found fit; None: nobody looks, as when the process drains.
    """
    if record is None:
        return before
    is_known = reads is not None and is_looked_at(record, healths)
    return Fit(reads if is_known else before.readable, voters_seen(record, healths))


def is_looked_at(record: ShardRecord, healths: Mapping[NodeKey, NodeHealth]) -> bool:
    """Whether every node was asked since the shard got its roles."""
    if record.state is ShardState.NEW:
        return False
    for node in record.nodes:
        health = healths.get((record.key, node))
        if health is None or health.epoch != record.epoch or health.verdict.state is NodeState.UNKNOWN:
            return False
        if health.verdict.is_answering and health.replication is None:
            return False
    return True


def voters_seen(record: ShardRecord, healths: Mapping[NodeKey, NodeHealth]) -> frozenset[Address] | None:
    """How a primary may list the voters: as we call them, or as it was seen to; None where none is asked."""
    if not record.promise.wait:
        return None
    found = (healths.get((record.key, node)) for node in record.promise.voters)
    seen = (health.seen_as for health in found if health is not None)
    return record.promise.voters.union(address for address in seen if address is not None)
