"""What a config says of slots that is not so: they are where they are on record. Pure but for the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import structlog

from shardproxy.failover.setup import ShardSetup
from shardproxy.failover.slotmap import slots_shared
from shardproxy.model.replication import ShardKey
from shardproxy.model.slots import slots_each
from shardproxy.topology.assign import Records, Slots
from shardproxy.topology.taking import shard_title

log = structlog.get_logger()


def slots_differ(setups: Iterable[ShardSetup], records: Records) -> Iterator[tuple[str, str]]:
    """Of each cluster that proxies decide about: its name, and what the config has otherwise; what to do."""
    by_cluster: dict[str, list[ShardSetup]] = {}
    for setup in setups:
        if setup.decider is None:
            by_cluster.setdefault(setup.key.cluster, []).append(setup)
    for cluster, ours in by_cluster.items():
        stored = [record for key, record in records.items() if key.cluster == cluster]
        shared = slots_shared(ours, stored)
        for text in (_otherwise(ours, shared), _without(cluster, ours, records, shared)):
            if text:
                yield cluster, text


def _otherwise(ours: list[ShardSetup], shared: Mapping[ShardKey, Slots]) -> str:
    """Slots that the config gives to a shard, and that are another's."""
    said = []
    for setup in ours:
        given = set(slots_each(setup.slots_given)) if setup.slots_given is not None else None
        if given is not None and given != set(slots_each(shared[setup.key])):
            has = ",".join(map(str, shared[setup.key])) or "none"
            wants = ",".join(map(str, setup.slots_given or ())) or "none"
            said.append(f"{shard_title(setup.key, setup.name)} has {has}, and the config says {wants}")
    if not said:
        return ""
    return f"{'; '.join(said)}: slots stay where they are on record, shardproxy reshard moves them"


def _without(cluster: str, ours: list[ShardSetup], records: Records, shared: Mapping[ShardKey, Slots]) -> str:
    """Shards that are new, and were to have slots, but all of them have an owner."""
    new = [
        shard_title(setup.key, setup.name)
        for setup in ours
        if setup.slots_given is None and not shared[setup.key] and setup.key not in records
    ]
    if not new:
        return ""
    has, it = ("has", "it") if len(new) == 1 else ("have", "them")
    return (
        f"{', '.join(new)} {has} no slots, as all of them have an owner: shardproxy scale {cluster} --shards"
        f" {len(ours)} gives {it} some"
    )


def warn_of_slots(setups: Iterable[ShardSetup], records: Records) -> None:
    """Log what a config that was just taken has otherwise."""
    for cluster, text in slots_differ(setups, records):
        log.warning("slots are not as configured", cluster=cluster, why=text)
