"""Which shard of a config is which shard on record. Pure.

    config (a list, names, addresses)  ─┐
    records (numbers, names, nodes)    ─┴─> setups, each under the number that the shard has for good

The place in the list says nothing: lists are sorted, and shards leave them. What says most is where the data
is, so a shard is the one on record whose nodes it has; its name tells where no node does, or several could.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shardproxy.config import Fencing, Mode, RedisCluster, Replication
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, Node, SlotRange
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord

Records = Mapping[ShardKey, ShardRecord]
Slots = tuple[SlotRange, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A shard as the config has it."""

    name: str | None
    nodes: tuple[Node, ...]
    slots: Slots  # as dealt in the order of the list
    is_dealt: bool  # the config itself gives it none

    @property
    def addresses(self) -> frozenset[Address]:
        return frozenset(node.address for node in self.nodes)


def shards_assign(cluster: str, config: RedisCluster, records: Records) -> tuple[ShardSetup, ...]:
    """Give every configured shard the number it has on record, or one that none ever had; in their order.

    A shard that left the config keeps its number, and has it again when it returns.
    """
    known = sorted((r for r in records.values() if r.key.cluster == cluster), key=lambda record: record.key)
    wanted = [
        Wanted(given.name, shard.nodes, shard.slots, given.slots is None)
        for given, shard in zip(config.shards, config.topology(cluster).shards, strict=True)
    ]
    found = dict(
        sorted((number, one) for one, number in zip(wanted, wanted_number(wanted, known), strict=True))
    )
    configuration = config.endpoints.configuration
    slots = slots_deal(found, {record.key.index: record.slots for record in known})
    return tuple(
        ShardSetup(
            ShardKey(cluster, number),
            one.nodes,
            name=one.name,
            slots=slots[number],
            slots_given=None if one.is_dealt else one.slots,
            is_bypassed=configuration is not None and configuration.mode is Mode.DIRECT,
            wait=config.writes.wait,
            is_managed=config.replication is Replication.MANAGED,
            is_automatic=config.failover.enabled,
            is_strict=config.failover.fencing is Fencing.STRICT,
            min_replicas=config.writes.min_replicas,
            persistence=tuple(config.persistence.settings.items()) if config.persistence is not None else (),
        )
        for number, one in found.items()
    )


def is_misplaced(setups: Sequence[ShardSetup], records: Records) -> bool:
    """Whether a shard on record has nodes of one that was given another number, before that was known."""
    by_key = {setup.key: frozenset(setup.addresses) for setup in setups}
    clusters = {key.cluster for key in by_key}
    owners = {(setup.key.cluster, node): setup.key for setup in setups for node in setup.addresses}
    for key, record in records.items():
        if key.cluster not in clusters or by_key.get(key, frozenset()) & set(record.nodes):
            continue
        if any(owners.get((key.cluster, node), key) != key for node in record.nodes):
            return True
    return False


def wanted_number(wanted: Sequence[Wanted], known: Sequence[ShardRecord]) -> list[int]:
    """A number for each shard, in the order of the list."""
    found: dict[int, int] = {}  # by place in the list
    for place, record in [*_by_nodes(wanted, known), *_by_name(wanted, known)]:
        if place not in found and record.key.index not in found.values():
            found[place] = record.key.index
    fresh = max((record.key.index for record in known), default=-1) + 1
    for place in range(len(wanted)):
        if place not in found:
            found[place] = fresh
            fresh += 1
    return [found[place] for place in range(len(wanted))]


def _by_nodes(wanted: Sequence[Wanted], known: Sequence[ShardRecord]) -> list[tuple[int, ShardRecord]]:
    """Which shard may be which on record, as they have nodes in common; the best first."""
    pairs = []
    for place, one in enumerate(wanted):
        for record in known:
            common = one.addresses & set(record.nodes)
            if common:
                has_data = bool(common & {record.primary, record.last, record.target})
                is_called_so = one.name is not None and one.name == record.name
                rank = (-has_data, -is_called_so, -len(common), record.key.index, place)
                pairs.append((rank, place, record))
    return [(place, record) for _, place, record in sorted(pairs, key=lambda pair: pair[0])]


def _by_name(wanted: Sequence[Wanted], known: Sequence[ShardRecord]) -> list[tuple[int, ShardRecord]]:
    """The same by name; of several that ever had it the one that was changed last."""
    return [
        (place, record)
        for place, one in enumerate(wanted)
        for record in sorted(known, key=lambda record: -record.revision)
        if one.name is not None and one.name == record.name
    ]


def slots_deal(wanted: Mapping[int, Wanted], on_record: Mapping[int, Slots]) -> dict[int, Slots]:
    """The slots of each shard, by number: the shares that the config makes, each to whom it belongs.

    Whose share is on record keeps it, wherever in the list it is now; the rest goes by number.
    """
    shares = [one.slots for one in wanted.values() if one.is_dealt]
    dealt = {number: one.slots for number, one in wanted.items() if not one.is_dealt}
    takers = [number for number, one in wanted.items() if one.is_dealt]
    for number in takers:
        if (own := on_record.get(number)) in shares:
            dealt[number] = own
            shares.remove(own)
    shares.sort()
    for number in takers:
        if number not in dealt:
            dealt[number] = shares.pop(0)
    return dealt
