"""Which node of a shard is read: a replica that has all of it, so that nobody waits for the fork. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shardproxy.jobs.interface import JobError
from shardproxy.model import Address, SlotRange
from shardproxy.model.replication import Replication, Role, ShardKey
from shardproxy.store.record import ShardRecord

MAX_LAG = 1 << 20  # bytes of the history that a replica may lack when it is chosen: of a default backlog


@dataclass(frozen=True, slots=True)
class Look:
    """What a node said of itself."""

    replication: Replication
    engine: str  # redis or valkey, and its version
    memory: int  # bytes its data takes
    is_forked: bool = False  # a child saves or rewrites: another one has to wait
    delay: int | None = None  # seconds it waits for more readers before it forks; None = it does not tell
    is_diskless: bool = True
    modules: tuple[str, ...] = ()  # that it has loaded, of those that it tells
    is_checksummed: bool = True  # what it writes


@dataclass(frozen=True, slots=True)
class Source:
    """A shard, and the node that is read."""

    key: ShardKey
    label: str
    slots: tuple[SlotRange, ...]
    primary: Address
    address: Address
    look: Look

    @property
    def role(self) -> Role:
        return self.look.replication.role


def source_of(record: ShardRecord, label: str, looks: Mapping[Address, Look]) -> Source:
    """Choose one; raise JobError where nobody has the shard's data.

    A replica before the primary, one that does not save now before one that does, then the one with most.
    """
    if record.primary is None or not record.is_settled:
        raise JobError(f"shard {label} has no primary now: try again when its failover is over")
    primary = looks.get(record.primary)
    if primary is None or primary.replication.role is not Role.PRIMARY:
        raise JobError(f"the primary of shard {label}, {record.primary}, does not answer as one: try again")
    fit = [
        address
        for address in record.nodes
        if (look := looks.get(address)) is not None and _has_all(look, primary)
    ]
    best = max(
        fit,
        key=lambda one: (not looks[one].is_forked, looks[one].replication.offset, str(one)),
        default=record.primary,
    )
    return Source(record.key, label, record.slots, record.primary, best, looks[best])


def _has_all(look: Look, primary: Look) -> bool:
    """It is a replica of that primary, in sync, and hardly behind."""
    said = look.replication
    return (
        said.role is Role.REPLICA
        and said.follows is not None
        and said.is_link_up
        and not said.is_syncing
        and said.lineage.replid == primary.replication.lineage.replid
        and primary.replication.offset - said.offset <= MAX_LAG
    )
