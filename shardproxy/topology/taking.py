"""What a config would take from whom, so that nobody would find keys any more. Pure.

Where proxies decide, slots are where they are on record: a shard that has some cannot leave the config. Where
something else decides who is primary, and nothing of slots, the config says who has them: those that it would
take from a shard are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from shardproxy.failover.setup import ShardSetup
from shardproxy.failover.slotmap import slots_shared
from shardproxy.model.replication import ShardKey
from shardproxy.model.slots import slots_each, slots_of
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.topology.assign import Records, Slots

GROWN_TEXT = (
    "now keys in several slots get CROSSSLOT, and no database but 0 is served;"
    " before, shardproxy status says which commands that would refuse"
)
RANGES_SHOWN = 3  # of what a shard loses; what it has on record is shown in full, to be copied


@dataclass(frozen=True, slots=True)
class Taken:
    """Slots that a shard on record would lose, by who would get them (None = nobody)."""

    loser: ShardRecord
    slots: Mapping[ShardKey | None, Slots]
    is_gone: bool = False  # the config has the shard no more


def slots_taken(setups: Iterable[ShardSetup], records: Records) -> tuple[Taken, ...]:
    """Find the slots that would leave their shard, in the clusters that there are setups of.

    A slot belongs to the configured shard that has it on record, the newest record first: one that has left,
    or could not be written yet, may still claim what it has given away.
    """
    wanted = {setup.key: setup for setup in setups}
    clusters = {key.cluster for key in wanted}
    takers = {(key.cluster, slot): key for key, setup in wanted.items() for slot in slots_each(setup.slots)}
    stored = [r for r in records.values() if r.key.cluster in clusters and r.state is not ShardState.NEW]
    owned: set[tuple[str, int]] = set()
    found = []
    for record in sorted(stored, key=lambda record: (record.key not in wanted, -record.revision)):
        own = {(record.key.cluster, slot) for slot in slots_each(record.slots)} - owned
        owned |= own
        lost: dict[ShardKey | None, list[int]] = {}
        for place in sorted(own):
            if (taker := takers.get(place)) != record.key:
                lost.setdefault(taker, []).append(place[1])
        if lost:
            slots = {taker: slots_of(numbers) for taker, numbers in lost.items()}
            found.append(Taken(record, slots, is_gone=record.key not in wanted))
    return tuple(sorted(found, key=lambda taken: taken.loser.key))


def shards_left(setups: Iterable[ShardSetup], records: Records) -> tuple[tuple[ShardRecord, Slots], ...]:
    """Find the shards that the config does not have, and the slots that they have, in clusters it has."""
    by_cluster: dict[str, list[ShardSetup]] = {}
    for setup in setups:
        by_cluster.setdefault(setup.key.cluster, []).append(setup)
    left = []
    for cluster, ours in by_cluster.items():
        stored = [record for key, record in sorted(records.items()) if key.cluster == cluster]
        shared = slots_shared(ours, stored)
        known = {setup.key for setup in ours}
        left += [(one, shared[one.key]) for one in stored if one.key not in known and shared[one.key]]
    return tuple(left)


def left_text(left: Sequence[tuple[ShardRecord, Slots]]) -> str:
    """Say which shards cannot leave, and what to do."""
    said = []
    for record, slots in left:
        cluster, nodes = record.key.cluster, ", ".join(map(str, record.nodes))
        title, name = shard_title(record.key, record.name), record.name or record.key.index
        said.append(
            f"cluster {cluster}: {title} ({nodes}), which the config does not have any more, has"
            f" {_slots_text(slots)}: put it back, under its name or with one of its nodes, move its slots to"
            f" the others (shardproxy drain {cluster} {name}), then take it from the config (if only its"
            " addresses change: give it a name, reload, then change them)"
        )
    return "; ".join(said)


def shards_moved(
    setups: Iterable[ShardSetup], records: Records
) -> tuple[tuple[ShardSetup, ShardRecord], ...]:
    """Find the shards that would have none of their nodes any more, only their name."""
    pairs = ((setup, records[setup.key]) for setup in setups if setup.key in records)
    return tuple(
        (setup, record)
        for setup, record in pairs
        if record.state is not ShardState.NEW and not set(setup.addresses) & set(record.nodes)
    )


def keys_text(keys: int | None) -> str:
    """Say how many keys a shard has; None = nobody can tell."""
    if keys is None:
        return "cannot be asked for keys"
    return "has 1 key" if keys == 1 else f"has {keys} keys"


def moved_text(setup: ShardSetup, record: ShardRecord, keys: int) -> str:
    """Say that a shard's keys are not where its nodes would be."""
    before, after = (", ".join(map(str, nodes)) for nodes in (record.nodes, setup.addresses))
    return (
        f"cluster {setup.key.cluster}: {shard_title(setup.key, setup.name)} {keys_text(keys)} on {before},"
        f" and none of the nodes it would have instead ({after}) says that it has any: list them beside the"
        " old ones, which can go when the new ones are in sync"
    )


def taken_text(
    taken: Sequence[Taken],
    setups: Sequence[ShardSetup],
    records: Records,
    keys: Mapping[ShardKey, str],
) -> str:
    """Say who would lose which slots, and what to do; `keys` says what is known of the keys of each."""
    said = []
    for cluster in dict.fromkeys(one.loser.key.cluster for one in taken):
        losers = [one for one in taken if one.loser.key.cluster == cluster]
        wanted = {setup.key: setup for setup in setups if setup.key.cluster == cluster}
        complaints = "; ".join(_complaint(one, wanted, keys[one.loser.key]) for one in losers)
        whose = "its" if len(losers) == 1 else "their"
        advice = "; ".join(_advice(losers, wanted, records))
        said.append(f"cluster {cluster}: {complaints}. Until {whose} keys are moved or deleted: {advice}")
    return "; ".join(said)


def shard_title(key: ShardKey, name: str | None) -> str:
    """What people call a shard, its cluster being known."""
    return f"shard {name or key.index}"


def _complaint(taken: Taken, wanted: Mapping[ShardKey, ShardSetup], keys: str) -> str:
    record = taken.loser
    who = shard_title(record.key, record.name)
    if taken.is_gone:
        who += f" ({', '.join(map(str, record.nodes))}), which the config does not have any more,"
    losses = " and ".join(
        f"{_slots_text(slots)} to {shard_title(key, wanted[key].name) if key else 'nobody'}"
        for key, slots in taken.slots.items()
    )
    return f"{who} {keys} and would lose {losses}"


def _advice(
    losers: Sequence[Taken], wanted: Mapping[ShardKey, ShardSetup], records: Records
) -> Iterator[str]:
    """What to write so that every shard keeps its slots."""
    for one in losers:
        if one.is_gone:
            yield (
                f"put {shard_title(one.loser.key, one.loser.name)} back, under its name or with one of its"
                " nodes (if only its addresses change: give it a name, reload, then change them)"
            )
    if all(one.is_gone for one in losers):
        return
    fresh = [setup for key, setup in wanted.items() if key not in records]
    if fresh:
        titles = (
            f"{shard_title(setup.key, setup.name)} ({', '.join(map(str, setup.addresses))})"
            for setup in fresh
        )
        yield f"leave out {', '.join(titles)}"
    shares = ", ".join(
        f"{shard_title(key, setup.name)} slots: {','.join(map(str, records[key].slots))}"
        for key, setup in wanted.items()
        if key in records and records[key].slots
    )
    yield f"give each shard the slots that it has on record ({shares})"


def _slots_text(slots: Slots) -> str:
    """`2 slots (7-8)`, of many ranges the first."""
    shown = ", ".join(map(str, slots[:RANGES_SHOWN])) + (", ..." if len(slots) > RANGES_SHOWN else "")
    count = sum(map(len, slots))
    return f"{count} slot{'' if count == 1 else 's'} ({shown})"
