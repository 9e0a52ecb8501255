"""What is served of a shard as a record, as a controller would have it, and back. Pure."""

from __future__ import annotations

from shardproxy.failover.setup import ShardSetup
from shardproxy.store.record import Promise, ShardRecord, ShardState
from shardproxy.topology.sources.sentinel.decide import Served

FIRST = 1  # a record's epoch 0 says that there was none yet, and config-epoch 0 that nobody has failed over


def record_of(setup: ShardSetup, served: Served) -> ShardRecord:
    nodes = (served.primary, *served.replicas)
    return ShardRecord(
        setup.key,
        served.epoch + FIRST,
        ShardState.FENCING if served.is_parked else ShardState.OK,
        None if served.is_parked else served.primary,
        nodes,
        last=served.primary if served.is_parked else None,
        joined=nodes,
        processes=tuple((served.processes or {}).items()),
        name=setup.name,
        slots=setup.slots,
        promise=promise_of(setup, served),
        lineage=served.lineage,
        run_id=served.run_id,
    )


def promise_of(setup: ShardSetup, served: Served) -> Promise:
    """What an acknowledgement means; where care is due, that no replica was promoted before it.

    Sentinel freezes nobody: one that was promoted confirms no write, and the others may do so for a while.
    """
    if served.is_careful:
        voters = served.voters or frozenset(served.replicas)
        return Promise(voters, max(setup.wait, len(voters)))
    return Promise(served.voters if setup.wait else frozenset(), setup.wait)


def served_of(record: ShardRecord | None) -> Served | None:
    """What a source before this one has shown."""
    primary = (record.primary or record.last) if record is not None else None
    if record is None or primary is None:
        return None
    return Served(
        primary,
        record.epoch - FIRST,
        record.run_id,
        tuple(node for node in record.nodes if node != primary),
        record.lineage,
        record.promise.voters,
        dict(record.processes),
        is_parked=record.primary is None,
    )
