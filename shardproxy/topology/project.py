"""What is served, worked out from what is configured, on record, and known of the nodes. Pure.

    settings ─> setups ┐
              records ─┼─> topology, numbered by the records, and what goes with each shard
                  fit ─┘

Every process that sees the same records serves the same topology under the same number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from shardproxy.config import RedisCluster
from shardproxy.dataplane.spec import ClusterSettings, ShardTerms
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import SLOT_COUNT, Address, Engine, Node, Shard, Topology
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.topology.assign import Records, Slots, shards_assign
from shardproxy.topology.fit import NOT_KNOWN, Fit

NEWS_TOLD = 5  # shards in one line of the log


@dataclass(frozen=True, slots=True)
class Configured:
    """A cluster as configured: its settings, and its shards as failover is told of them, by number."""

    settings: ClusterSettings
    setups: tuple[ShardSetup, ...] = ()  # none for an engine without replication


@dataclass(frozen=True, slots=True)
class Projection:
    """What the data plane is to serve of a cluster, and what may be acknowledged once it does."""

    topology: Topology
    terms: Mapping[ShardKey, ShardTerms] = field(default_factory=dict)
    readable: Mapping[ShardKey, frozenset[Address]] = field(default_factory=dict)
    changed: Mapping[ShardKey, int] = field(default_factory=dict)  # of the records it was made of


def shard_setups(cluster: str, settings: ClusterSettings, records: Records) -> tuple[ShardSetup, ...]:
    """The shards of a cluster, ordered by their numbers; none for an engine without replication."""
    config = settings.config
    if not isinstance(config, RedisCluster):
        return ()
    return shards_assign(cluster, config, records)


def epochs_of(records: Records) -> dict[str, int]:
    """Each cluster's epoch: when what proxies act on last changed, also in shards that are gone from it."""
    epochs: dict[str, int] = {}
    for key, record in records.items():
        epochs[key.cluster] = max(epochs.get(key.cluster, 0), record.changed)
    return epochs


def project(
    cluster: str,
    setups: tuple[ShardSetup, ...],
    records: Records,
    epoch: int,
    fits: Mapping[ShardKey, Fit],
) -> Projection:
    """Say what is served of a Redis cluster."""
    found = {setup.key: record_about(setup, records.get(setup.key)) for setup in setups}
    slots = slots_recorded(found) or {setup.key: setup.slots for setup in setups}
    shards = tuple(
        shard_project(place, setup, slots[setup.key], found[setup.key]) for place, setup in enumerate(setups)
    )
    known = {setup.key: fits.get(setup.key, NOT_KNOWN) for setup in setups}
    return Projection(
        Topology(cluster, Engine.REDIS, epoch, shards),
        {
            setup.key: terms_of(shard, setup, found[setup.key], known[setup.key])
            for shard, setup in zip(shards, setups, strict=True)
        },
        {key: fit.readable for key, fit in known.items() if fit.readable is not None},
        {setup.key: records[setup.key].changed for setup in setups if setup.key in records},
    )


def record_about(setup: ShardSetup, record: ShardRecord | None) -> ShardRecord | None:
    """The record, unless it says nothing of these nodes: it is new, or the config has others here."""
    if record is None or record.state is ShardState.NEW:
        return None
    return record if any(node in record.nodes for node in setup.addresses) else None


def slots_recorded(found: Mapping[ShardKey, ShardRecord | None]) -> dict[ShardKey, Slots] | None:
    """The slots on record, if these shards have each slot exactly once between them."""
    slots = {key: record.slots for key, record in found.items() if record is not None}
    return slots if len(slots) == len(found) and is_whole(slots.values()) else None


def is_whole(slots: Iterable[Slots]) -> bool:
    """Whether these are all slots, each once."""
    ranges = sorted(piece for pieces in slots for piece in pieces)
    if not ranges or ranges[0].first != 0 or ranges[-1].last != SLOT_COUNT - 1:
        return False
    return all(after.first == before.last + 1 for before, after in pairwise(ranges))


def shard_project(place: int, setup: ShardSetup, slots: Slots, record: ShardRecord | None) -> Shard:
    """The shard with its primary on record; without a record a node that is alone has to be the primary."""
    nodes = setup.nodes
    if record is None:
        primary = nodes[0] if len(nodes) == 1 else None
    else:
        configured = setup.addresses  # a node may be a member although the config does not name it any more
        nodes += tuple(Node(address) for address in record.nodes if address not in configured)
        served = primary_served(record)
        primary = next((node for node in nodes if node.address == served), None)
    replicas = tuple(node for node in nodes if node is not primary)
    return Shard(place, slots, primary, replicas, setup.name, number=setup.key.index)


def primary_served(record: ShardRecord) -> Address | None:
    """Where requests go: nowhere while nobody may acknowledge writes.

    In a switchover the last primary is asked on: it holds writes back while it hands over, and then refuses
    them unexecuted; what it answers until then counts.
    """
    if record.state is ShardState.OK:
        return record.primary
    return record.last if record.state is ShardState.SWITCHING else None


def terms_of(shard: Shard, setup: ShardSetup, record: ShardRecord | None, fit: Fit) -> ShardTerms:
    """On what the shard's requests may be answered."""
    wait = record.wait if record is not None else setup.wait
    run_id = record.run_id if record is not None and shard.primary is not None else ""
    return ShardTerms(
        label=shard.label, run_id=run_id or None, wait=wait, voters=fit.voters if wait else None
    )


def news_of(before: Projection, now: Projection, records: Records) -> str:
    """What is new on record, for people."""
    said = []
    for shard in now.topology.shards:
        key = now.topology.key_of(shard)
        if key in now.changed and now.changed[key] != before.changed.get(key):
            record = records[key]
            where = f"primary {shard.primary}" if shard.primary is not None else "no primary"
            said.append(f"shard {shard.label} {record.state.value} at epoch {record.epoch}, {where}")
    more = [f"and {len(said) - NEWS_TOLD} more"] if len(said) > NEWS_TOLD else []
    return "; ".join([*said[:NEWS_TOLD], *more]) or "a shard changed that is not configured here"
