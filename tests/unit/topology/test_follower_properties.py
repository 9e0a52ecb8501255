"""Whatever is put on record and configured, and however the data plane takes it.

Epochs never go down, every slot has one owner, the one on record where there is one, and nothing is
acknowledged that is not served by every worker, or of which something that is held is still under way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import trio
import trio.testing
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from shardproxy.dataplane import BoundEndpoint
from shardproxy.dataplane.spec import ClusterSpec, ShardSpec
from shardproxy.failover.slotmap import is_whole
from shardproxy.health.monitor import Boards
from shardproxy.model import SLOT_COUNT, Address, Hold, SlotRange, split_evenly
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.cas import record_replace
from shardproxy.store.memory import MemoryNotes
from shardproxy.store.record import Promise, ShardRecord, ShardState
from shardproxy.topology.follower import LATE, REFUSED, Follower
from shardproxy.topology.project import epochs_of, primary_served
from shardproxy.topology.reload import ServeError
from tests.unit.topology.make import A, B, C, Clusters, D, FakePlane, clusters, memcached, redis

KEYS = tuple(ShardKey("main", number) for number in range(3))
NODES = (A, B, C, D)
CONFIGS: tuple[Clusters, ...] = (
    clusters(main=redis((A, B))),
    clusters(main=redis((A, B), (C, D))),
    clusters(main=redis((A,), (B,), (C,))),
    clusters(main=redis((C, A), (D, B), writes={"wait": 1})),
    clusters(main=redis((A, B), port=7001)),
    clusters(other=redis((A, B))),
    clusters(main=memcached(A, B)),
    clusters(main=memcached(A), other=redis((C, D), port=7001)),
)


Recorded = Callable[[str, int], dict[ShardKey, ShardRecord]]  # a cluster's records as of an epoch


class CheckingPlane(FakePlane):
    """Knows what all its workers serve."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__()
        self.recorded = recorded
        self.confirmed: dict[str, ClusterSpec] = {}
        self.highest: dict[str, int] = {}  # the epoch of each Redis cluster, also while it was not served

    async def apply(self, spec: ClusterSpec) -> tuple[BoundEndpoint, ...]:
        name = spec["name"]
        if spec["engine"] == "redis":
            check_owners(spec, self.recorded(name, spec["epoch"]))
            assert spec["epoch"] >= self.highest.get(name, 0), "an epoch went down"
        endpoints = await super().apply(spec)
        self.confirmed[name] = spec
        return endpoints

    def _check(self, spec: ClusterSpec) -> None:
        super()._check(spec)
        self.confirmed.pop(spec["name"], None)  # until every worker has it
        if spec["engine"] == "redis":
            self.highest[spec["name"]] = spec["epoch"]

    def remove(self, cluster: str) -> None:
        super().remove(cluster)
        self.confirmed.pop(cluster, None)


def check_owners(spec: ClusterSpec, records: Mapping[ShardKey, ShardRecord]) -> None:
    """Every slot has one owner: who has it on record, once all slots are."""
    ranges = sorted(piece for shard in spec["shards"] for piece in shard["slots"])
    assert all(after[0] > before[1] for before, after in pairwise(ranges)), "a slot has two owners"
    assert sum(last - first + 1 for first, last in ranges) == SLOT_COUNT, "a slot is nobody's"
    recorded = {str(key.index): record.slots for key, record in records.items() if record.slots}
    if is_whole(recorded.values()):
        assert owners_of(spec) == {
            label: [(piece.first, piece.last) for piece in slots] for label, slots in recorded.items()
        }, "slots are not where they are on record"


def owners_of(spec: ClusterSpec) -> dict[str, list[tuple[int, int]]]:
    """The slots of each shard that has any."""
    return {shard["label"]: shard["slots"] for shard in spec["shards"] if shard["slots"]}


def shard_of(spec: ClusterSpec, key: ShardKey) -> ShardSpec | None:
    return next((shard for shard in spec["shards"] if shard["label"] == str(key.index)), None)


class CheckedAcks(Board[ShardKey, int]):
    """Every ack is held against what the data plane serves at that moment."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def show(self, key: ShardKey, value: int) -> None:
        assert value >= self.get(key, 0), "an ack went back"
        self._world.check_ack(key, value)
        super().show(key, value)


@dataclass
class World:
    """The store's side, and all that was ever on record."""

    records: Board[ShardKey, ShardRecord] = field(default_factory=Board)
    history: dict[ShardKey, list[ShardRecord]] = field(default_factory=dict)
    revision: int = 0
    config: Clusters = field(default_factory=dict)  # that was accepted last

    def __post_init__(self) -> None:
        self.plane = CheckingPlane(self.recorded)
        self.follower = Follower(self.plane, self.records, MemoryNotes(), Boards(), applied=CheckedAcks(self))

    def put(self, *records: ShardRecord) -> None:
        """In one write."""
        self.revision += 1
        for record in records:
            stored = record_replace(self.records.get(record.key), record, self.revision)
            self.history.setdefault(record.key, []).append(stored)
            self.records.show(record.key, stored)

    def record_of(self, key: ShardKey) -> ShardRecord:
        return self.records.get(key) or ShardRecord(key, 0, ShardState.NEW, None, NODES[:2])

    def recorded(self, cluster: str, epoch: int) -> dict[ShardKey, ShardRecord]:
        """What was on record at an epoch."""
        found = {}
        for key, records in self.history.items():
            then = [record for record in records if record.changed <= epoch]
            if key.cluster == cluster and then:
                found[key] = then[-1]
        return found

    def check_ack(self, key: ShardKey, changed: int) -> None:
        """Every worker serves the record of that change, or a later one, or nothing of the shard."""
        spec = self.plane.confirmed.get(key.cluster)
        if spec is None:
            assert key.cluster not in self.plane.specs, f"{key} is not served by all workers"
            return
        if spec["engine"] != "redis":
            return
        assert spec["epoch"] >= changed, "what is served is older than what is acknowledged"
        shard = shard_of(spec, key)
        if shard is None:
            return
        served = self.recorded(key.cluster, spec["epoch"])[key]
        if served.changed == changed and served.hold is not None and served.state is ShardState.OK:
            assert key.cluster not in self.plane.under_way, "what is held is under way"
        primary = shard["nodes"][shard["primary"]]["address"] if shard["primary"] is not None else None
        setups = {setup.key: setup for setup in self.follower.clusters[key.cluster].setups}
        if key not in setups:
            assert primary is None, "nobody knows its nodes here"
        elif served.state is not ShardState.NEW and set(setups[key].addresses) & set(served.nodes):
            expected = primary_served(served)
            assert primary == (str(expected) if expected is not None else None)
            assert shard.get("hold") == hold_spec(served.hold)


def hold_spec(hold: Hold | None) -> dict[str, Any] | None:
    if hold is None:
        return None
    return {"slots": [(piece.first, piece.last) for piece in hold.slots], "only_writes": hold.only_writes}


@dataclass(frozen=True)
class Put:
    """One more record of a shard."""

    key: ShardKey
    change: Callable[[ShardRecord], ShardRecord]


@dataclass(frozen=True)
class Deal:
    """Slots move, in one write: a piece of equal size to the owner of each place."""

    owners: tuple[ShardKey, ...]


@dataclass(frozen=True)
class Held:
    """A shard with a primary is held, and something of it has no reply yet."""

    key: ShardKey
    primary: Address
    hold: Hold


@dataclass(frozen=True)
class Drained:
    """All has."""


@dataclass(frozen=True)
class Reload:
    config: Clusters


@dataclass(frozen=True)
class Trouble:
    """The data plane refuses, or a worker is slow."""

    refusals: int
    late: float


@dataclass(frozen=True)
class Pass:
    seconds: float


Event = Put | Deal | Held | Drained | Reload | Trouble | Pass


def changed_to(state: ShardState, node: Address, **fields: Any) -> Callable[[ShardRecord], ShardRecord]:
    def change(record: ShardRecord) -> ShardRecord:
        nodes = tuple(dict.fromkeys((*record.nodes, node)))
        if state is ShardState.OK:
            settled = replace(record.fenced(), nodes=nodes).settled(node, None, str(node))
            return replace(settled, **fields)
        return replace(record.fenced(state), nodes=nodes, **fields)

    return change


def slots_of(pieces: int, mine: int) -> tuple[SlotRange, ...]:
    return (split_evenly(pieces)[mine % pieces],)


PROMISES = st.builds(Promise, st.frozensets(st.sampled_from(NODES)), st.integers(0, 2))
HOLDS = st.builds(Hold, st.builds(slots_of, st.integers(1, 3), st.integers(0, 2)), st.booleans())
STATES = st.just(ShardState.OK) | st.sampled_from([one for one in ShardState if one is not ShardState.NEW])
CHANGES = st.one_of(
    st.builds(changed_to, STATES, st.sampled_from(NODES), promise=PROMISES, hold=st.none() | HOLDS),
    st.builds(  # as records of before slots could be moved: they may contradict each other
        changed_to,
        STATES,
        st.sampled_from(NODES),
        promise=PROMISES,
        slots=st.builds(slots_of, st.integers(1, 3), st.integers(0, 2)),
    ),
    st.just(lambda record: replace(record, hold=None)),
    st.just(lambda record: replace(record, floor=record.floor + 1)),
)
EVENTS = st.one_of(
    st.builds(Put, st.sampled_from(KEYS), CHANGES),
    st.builds(Deal, st.tuples(*[st.sampled_from(KEYS)] * 4)),
    st.builds(Held, st.sampled_from(KEYS), st.sampled_from(NODES), HOLDS),
    st.builds(Drained),
    st.builds(Reload, st.sampled_from(CONFIGS)),
    st.builds(Trouble, st.integers(0, 2), st.floats(0.0, 8.0)),
    st.builds(Pass, st.sampled_from([0.0, LATE, REFUSED, 2.0])),
)


@settings(
    max_examples=60,
    deadline=None,
    phases=(
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    ),  # shrinking takes minutes
    print_blob=True,
)
@given(st.lists(EVENTS, max_size=25), st.integers(0, 1 << 30))
def test_epochs_owners_and_acks(events: list[Event], seed: int) -> None:
    random.seed(seed)
    trio.run(live, events, clock=trio.testing.MockClock(autojump_threshold=0))


async def live(events: list[Event]) -> None:
    world = World()
    async with trio.open_nursery() as nursery:
        await nursery.start(world.follower.run)
        await reload(world, CONFIGS[0])
        for event in events:
            await happen(world, event, nursery)
        world.plane.refuses.clear()
        world.plane.late_until = -1.0
        world.plane.under_way.clear()
        await trio.sleep(30.0)  # all is well again
        check_at_rest(world)
        nursery.cancel_scope.cancel()


async def happen(world: World, event: Event, nursery: trio.Nursery) -> None:
    match event:
        case Put(key, change):
            world.put(change(world.record_of(key)))
        case Deal(owners):
            pieces = split_evenly(len(owners))
            slots = {
                key: tuple(p for p, owner in zip(pieces, owners, strict=True) if owner == key) for key in KEYS
            }
            world.put(*(replace(world.record_of(key), slots=slots[key]) for key in KEYS))
        case Held(key, primary, hold):
            world.put(changed_to(ShardState.OK, primary, hold=hold)(world.record_of(key)))
            world.plane.under_way = {key.cluster}
        case Drained():
            world.plane.under_way.clear()
        case Reload(config):
            await reload(world, config)
        case Trouble(refusals, late):
            world.plane.refuses = [OSError(24, "Too many open files")] * refusals
            world.plane.late_until = trio.current_time() + late
        case Pass(seconds):
            await trio.sleep(seconds)


async def reload(world: World, config: Clusters) -> None:
    try:
        await world.follower.serve(config, "reload")
    except ServeError:
        return  # what was served before is, at the latest when all is well again
    world.config = config
    assert settings_of(world) == config


def settings_of(world: World) -> Clusters:
    return {name: configured.settings for name, configured in world.follower.clusters.items()}


def check_at_rest(world: World) -> None:
    follower, plane = world.follower, world.plane
    assert settings_of(world) == world.config
    assert set(plane.confirmed) == set(plane.specs) == set(follower.clusters) == set(follower.topologies)
    assert follower.applied == {key: record.changed for key, record in world.records.items()}
    for name, topology in follower.topologies.items():
        assert topology.epoch == plane.specs[name]["epoch"]
    for name, configured in follower.clusters.items():
        assert configured.found(name, world.records) is configured, "not the shards that are on record"
        if configured.setups:
            assert plane.specs[name]["epoch"] == epochs_of(world.records).get(name, 0), "not the latest"
