"""Whether all is as it should be, seen from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import trio

from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord, ShardState
from tests.simulation.engine import Life
from tests.simulation.process import Group, is_asked
from tests.simulation.proxy import SimProxy
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

BEHIND = 20.0  # seconds a voter may stand behind until it must vouch no more: 10, noticed late


def engines_all_run(world: World) -> bool:
    return all(engine.life is Life.RUNNING for engine in world.engines.values())


def is_well(world: World, group: Group, key: ShardKey) -> bool:
    """The shard is served by all proxies of the group, and all its nodes follow the primary."""
    record, setup = group.store.records.get(key), group.setups[key]
    if record is None or record.state is not ShardState.OK or record.primary is None:
        return False
    primary = world.engine_at(record.primary)
    if primary is None or not primary.is_primary or primary.run_id != record.run_id:
        return False
    replicas = [world.engine_at(node.address) for node in setup.nodes]
    return (
        not is_asked(group.store.notes)
        and engines_all_run(world)
        and all(is_served(proxy, record) for proxy in group.proxies)
        and all(
            engine.link_up and world.engine_at(engine.follows) is primary
            for engine in replicas
            if engine is not None and engine is not primary
        )
    )


def is_served(proxy: SimProxy, record: ShardRecord) -> bool:
    serving = proxy.shards.get(record.key)
    is_careful = record.key.cluster in proxy.unsynced
    return serving is not None and serving.primary == record.primary and not (proxy.is_lapsed or is_careful)


def unfit_voters(sim: Simulation, key: ShardKey) -> Iterator[str]:
    """Who vouches although it has long been behind, and others could."""
    now, world, record = trio.current_time(), sim.world, sim.store.records.get(key)
    if record is None:
        return
    primary = world.engine_at(record.primary)
    if (
        record.state is not ShardState.OK
        or len(record.promise.voters) <= record.wait
        or primary is None
        or world.is_unwell(primary)
        or primary.run_id != record.run_id
    ):
        for node in record.nodes:  # offsets of one primary are not those of the next
            sim.behind_since.pop(node, None)
        return
    for voter in record.promise.voters:
        engine = world.engine_at(voter)
        if engine is None:
            continue
        reached = sim.behind_since.get(voter)
        if reached is None or reached[1] <= engine.offset:
            sim.behind_since[voter] = (now, primary.offset)
        elif now - reached[0] > BEHIND:
            yield f"{voter} vouches, but has been behind since {reached[0]:.1f}"
