"""Asks the primaries of a cluster how full and how busy they are, twice, some seconds apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import trio

from shardproxy.dataplane.statistics import ClusterStatistics
from shardproxy.insight.figures import (
    ClusterFigures,
    Rates,
    Reading,
    ShardFigures,
    Weights,
    rates_between,
    reading,
)
from shardproxy.model import Address, Engine, Shard, Topology
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks
from shardproxy.reshard.sample import ScanError, sample
from shardproxy.wire.info import InfoError, read_fields

TIMEOUT = 2.0  # seconds of one exchange
AT_ONCE = 16  # nodes that are asked
WEIGHED = 0.2  # of the keys that are looked at, their memory is asked for

Counted = Callable[[], ClusterStatistics | None]


@dataclass(frozen=True, slots=True)
class _Asked:
    before: Reading | None = None
    now: Reading | None = None
    weights: Weights = field(default_factory=Weights)
    why_not: str | None = None


async def observe(
    topology: Topology,
    links: NodeLinks,
    counted: Counted,
    slot_of: Callable[[bytes], int],
    *,
    seconds: float,
    keys: int = 0,
    zone: str | None = None,
) -> ClusterFigures:
    """The figures of one cluster over so many seconds; with `keys` so many of each shard are looked at."""
    counts, began = counted(), trio.current_time()
    asked: dict[int, _Asked] = {}
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def ask(shard: Shard) -> None:
        async with limiter:
            asked[shard.index] = await _ask(shard, links)

    async def ask_again(shard: Shard) -> None:
        first = asked[shard.index]
        async with limiter:
            again = await _ask(shard, links)
            weights = await _weigh(shard, links, slot_of, keys) if keys and again.before else Weights()
        asked[shard.index] = replace(
            again, before=first.before, now=again.before, weights=weights, why_not=again.why_not
        )

    is_redis = topology.engine is Engine.REDIS
    for ask_each in (ask, ask_again):
        if is_redis:
            async with trio.open_nursery() as nursery:
                for shard in topology.shards:
                    nursery.start_soon(ask_each, shard)
        if ask_each is ask:
            await trio.sleep(max(0.0, seconds - (trio.current_time() - began)))
            more, passed = counted(), trio.current_time() - began
    shards = tuple(
        _figures(shard, asked.get(shard.index, _Asked()), _sent(shard, counts, more, passed))
        for shard in topology.shards
    )
    return ClusterFigures(
        topology.cluster,
        topology.engine.value,
        round(passed, 3),
        shards,
        clients=more.clients if more else 0,
        accepted_rate=_rate(_accepted(counts), _accepted(more), passed),
        requests_rate=_rate(_answered(counts), _answered(more), passed),
        zone=zone,
    )


async def _ask(shard: Shard, links: NodeLinks) -> _Asked:
    if shard.primary is None:
        return _Asked(why_not="it has no primary")
    try:
        reply = await links.request(shard.primary.address, "INFO", timeout=TIMEOUT)
        return _Asked(before=reading(read_fields(reply), trio.current_time()))
    except (NodeFailure, NodeError, InfoError) as error:
        return _Asked(why_not=str(error))


async def _weigh(shard: Shard, links: NodeLinks, slot_of: Callable[[bytes], int], keys: int) -> Weights:
    assert shard.primary is not None
    try:
        found = await sample(
            links, shard.primary.address, slot_of, keys=keys, weighed=max(100, int(keys * WEIGHED))
        )
    except (NodeFailure, NodeError, ScanError):
        return Weights()
    return Weights(found.keys, found.per_slot, found.bytes_per_slot)


def _figures(shard: Shard, asked: _Asked, requests_rate: float) -> ShardFigures:
    zones = tuple(node.zone for node in shard.nodes)
    figures = ShardFigures(
        shard.number, shard.label, shard.slots, zones, asked.why_not, requests_rate=requests_rate
    )
    now = asked.now
    if now is None:
        return figures
    rates = rates_between(asked.before, now) if asked.before is not None else Rates()
    return replace(
        figures,
        keys=now.keys,
        used=now.used,
        startup=now.startup,
        maxmemory=now.maxmemory,
        policy=now.policy,
        evicted=now.evicted,
        weights=asked.weights,
        commands_rate=rates.commands,
        evicted_rate=rates.evicted,
        bytes_rate=rates.bytes,
        cpu=rates.cpu,
    )


def _sent(
    shard: Shard, before: ClusterStatistics | None, now: ClusterStatistics | None, seconds: float
) -> float:
    addresses = [node.address for node in shard.nodes]
    return _rate(_requests(before, addresses), _requests(now, addresses), seconds)


def _requests(counts: ClusterStatistics | None, addresses: list[Address]) -> int:
    nodes: Mapping[str, object] = counts.nodes if counts is not None else {}
    found = [counts.nodes[str(one)].requests for one in addresses if counts and str(one) in nodes]
    return sum(found)


def _accepted(counts: ClusterStatistics | None) -> int:
    return counts.accepted if counts is not None else 0


def _answered(counts: ClusterStatistics | None) -> int:
    commands = counts.commands.values() if counts is not None else ()
    return sum(one.ok + one.error for one in commands)


def _rate(before: int, now: int, seconds: float) -> float:
    return max(0, now - before) / seconds if seconds > 0 else 0.0
