"""What another number of shards, and other nodes, would make of a cluster as it is now. Pure.

figures of each shard ─> what each slot weighs ─┐
slots as `shardproxy scale` would deal them ────┴─> how full and busy each shard would be ─> warnings, costs

Estimated from means: a command costs as much CPU as now, and a slot of which the sample says nothing has
nothing. Cores are this fleet's: those of another node type may be faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shardproxy.insight.figures import ShardFigures
from shardproxy.insight.prices import HOURS, NodeKind
from shardproxy.model import SLOT_COUNT, SlotRange
from shardproxy.model.replication import ShardKey
from shardproxy.model.slots import Slots, slots_count, slots_each
from shardproxy.reshard.layout import layout_scaled

FULL = 0.8  # of the memory for data
BUSY = 0.7  # of a core, or of the network
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Weight:
    """What a slot has."""

    keys: float = 0.0
    bytes: float = 0.0
    requests: float = 0.0  # a second


@dataclass(frozen=True, slots=True)
class Planned:
    """One shard, as it is or as it would be."""

    label: str
    slots: int
    keys: float
    bytes: float  # of memory, what an engine needs without data included
    requests: float
    cpu: float | None  # part of a core
    network: float  # bytes a second
    full: float | None = None  # parts of the node type's
    hottest: tuple[int, float] | None = (
        None  # a slot whose rate is known, and its part of the shard's requests
    )

    def document(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "slots": self.slots,
            "keys": round(self.keys),
            "bytes": round(self.bytes),
            "requests_per_second": round(self.requests, 1),
            "cpu": None if self.cpu is None else round(self.cpu, 4),
            "bytes_per_second": round(self.network, 1),
            "full": None if self.full is None else round(self.full, 4),
            "hottest_slot": None if self.hottest is None else list(self.hottest),
        }


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for; what is None stays as it is."""

    shards: int | None = None
    replicas: int | None = None
    kind: NodeKind | None = None
    reserved_memory: float = 0.25


@dataclass(frozen=True, slots=True)
class Plan:
    before: tuple[Planned, ...]
    after: tuple[Planned, ...]
    replicas: int
    warnings: tuple[str, ...] = ()
    costs: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def nodes(self) -> int:
        return len(self.after) * (1 + self.replicas)

    def document(self) -> dict[str, Any]:
        return {
            "before": [one.document() for one in self.before],
            "after": [one.document() for one in self.after],
            "replicas": self.replicas,
            "nodes": self.nodes,
            "warnings": list(self.warnings),
            "costs_per_month": dict(self.costs),
        }


def plan(shards: Sequence[ShardFigures], wish: Wish, hot_slots: Mapping[int, float] | None = None) -> Plan:
    """Raise LayoutError. `hot_slots`: requests a second of slots of which that is known."""
    owners = [shard for shard in shards if shard.slots]
    hot = hot_slots or {}
    weights = weights_of(owners, hot)
    startup = max((shard.startup for shard in owners), default=0)
    cost = _cpu_each(owners)
    room = wish.kind.memory * GIB * (1 - wish.reserved_memory) if wish.kind is not None else None
    before = tuple(
        _planned(
            shard.label, shard.slots, weights, hot, startup, cost, _bytes_each(owners), _maxmemory(shard)
        )
        for shard in owners
    )
    count = wish.shards or len(owners)
    after = tuple(
        _planned(
            label, slots, weights, hot, startup, cost, _bytes_each(owners), room or _mean_maxmemory(owners)
        )
        for label, slots in _layout(owners, count)
    )
    replicas = wish.replicas if wish.replicas is not None else max((s.replicas for s in owners), default=0)
    made = Plan(before, after, replicas)
    warnings = tuple(_warnings(made, wish))
    return Plan(before, after, replicas, warnings, _costs(made.nodes, wish.kind))


def weights_of(shards: Sequence[ShardFigures], hot: Mapping[int, float]) -> list[Weight]:
    """What each slot has of its shard's keys, bytes and requests."""
    weights = [Weight()] * SLOT_COUNT
    for shard in shards:
        owned = list(slots_each(shard.slots))
        sampled = shard.weights
        keys = _shares(owned, sampled.per_slot)
        sizes = _shares(owned, sampled.bytes_per_slot) if sampled.bytes_per_slot else keys
        data = max(0, shard.used - shard.startup)
        known = {slot: hot[slot] for slot in owned if slot in hot}
        load = max(shard.requests_rate, shard.commands_rate)
        rest = max(0.0, load - sum(known.values()))
        for slot in owned:
            requests = known.get(slot, 0.0) + rest * keys[slot]
            weights[slot] = Weight(shard.keys * keys[slot], data * sizes[slot], requests)
    return weights


def _shares(owned: Sequence[int], found: Mapping[int, int]) -> dict[int, float]:
    """Parts of 1: as in the sample, or alike where there is none."""
    total = sum(found.get(slot, 0) for slot in owned)
    if not total:
        return dict.fromkeys(owned, 1 / max(1, len(owned)))
    return {slot: found.get(slot, 0) / total for slot in owned}


def _layout(owners: Sequence[ShardFigures], count: int) -> list[tuple[str, Slots]]:
    """As `shardproxy scale` deals slots out: those that have some keep what they can."""
    keys = {ShardKey("", number): shard.slots for number, shard in enumerate(owners)}
    labels = {ShardKey("", number): shard.label for number, shard in enumerate(owners)}
    for number in range(len(owners), count):
        key = ShardKey("", number)
        keys[key], labels[key] = (), f"new {number - len(owners) + 1}"
    return [(labels[key], slots) for key, slots in layout_scaled(keys, count).items() if slots]


def _planned(
    label: str,
    slots: Sequence[SlotRange],
    weights: Sequence[Weight],
    hot: Mapping[int, float],
    startup: int,
    cpu_each: float | None,
    bytes_each: float,
    room: float | None,
) -> Planned:
    found = [(slot, weights[slot]) for slot in slots_each(tuple(slots))]
    requests = sum(weight.requests for _, weight in found)
    size = startup + sum(weight.bytes for _, weight in found)
    rate, slot = max(((weight.requests, slot) for slot, weight in found if slot in hot), default=(0.0, -1))
    return Planned(
        label,
        slots_count(tuple(slots)),
        sum(weight.keys for _, weight in found),
        size,
        requests,
        None if cpu_each is None else requests * cpu_each,
        requests * bytes_each,
        size / room if room else None,
        (slot, round(rate / requests, 4)) if rate and requests else None,
    )


def _cpu_each(shards: Sequence[ShardFigures]) -> float | None:
    """CPU seconds of a request, in the mean."""
    known = [
        (shard.cpu, max(shard.requests_rate, shard.commands_rate))
        for shard in shards
        if shard.cpu is not None
    ]
    requests = sum(rate for _, rate in known)
    return sum(cpu for cpu, _ in known) / requests if requests else None


def _bytes_each(shards: Sequence[ShardFigures]) -> float:
    requests = sum(max(shard.requests_rate, shard.commands_rate) for shard in shards)
    return sum(shard.bytes_rate for shard in shards) / requests if requests else 0.0


def _maxmemory(shard: ShardFigures) -> float | None:
    return float(shard.maxmemory) if shard.maxmemory else None


def _mean_maxmemory(shards: Sequence[ShardFigures]) -> float | None:
    limits = [shard.maxmemory for shard in shards]
    return sum(limits) / len(limits) if limits and all(limits) else None


def _warnings(made: Plan, wish: Wish) -> Iterator[str]:
    for shard in made.after:
        if shard.full is not None and shard.full > FULL:
            yield f"shard {shard.label} would be {shard.full:.0%} full, and over {FULL:.0%} is too full"
        if shard.cpu is not None and shard.cpu > BUSY:
            yield f"shard {shard.label} would keep a core {shard.cpu:.0%} busy with the requests of now"
        if wish.kind is not None and (used := shard.network * 8 / (wish.kind.network * 1e9)) > BUSY:
            yield f"shard {shard.label} would use {used:.0%} of its network"
    yield from _hot_slots(made)
    if made.replicas == 0:
        yield "without replicas the loss of a node is the loss of its data"


def _hot_slots(made: Plan) -> Iterator[str]:
    """A slot that has more than a shard should have: no number of shards makes it less."""
    share = sum(shard.requests for shard in made.after) / max(1, len(made.after))
    for shard in made.after:
        if shard.hottest is not None and len(made.after) > 1:
            slot, part = shard.hottest
            rate = part * shard.requests
            if rate > share:
                yield (
                    f"slot {slot} has {rate:.0f} requests a second, and a shard's share is {share:.0f}: shard"
                    f" {shard.label} stays busier than the others however many there are"
                )


def _costs(nodes: int, kind: NodeKind | None) -> dict[str, float | None]:
    if kind is None:
        return {}
    priced = {"on_demand": kind.on_demand, "reserved": kind.reserved}
    return {
        name: None if price is None else round(price * HOURS * nodes, 2) for name, price in priced.items()
    }
