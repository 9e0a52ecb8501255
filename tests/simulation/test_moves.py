"""A slot moves from shard to shard through faults, and no proxy ever sees it with two owners, or with none.

What is acknowledged is at its owner. The rules are broken on purpose, too: each check turns red then.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import structlog.testing
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shardproxy.failover.desk import LeaderDesk
from shardproxy.failover.led import LedRecords
from shardproxy.store.interface import Leadership
from shardproxy.store.record import ShardRecord
from tests.simulation.faults import (
    LEADER,
    OTHER,
    PRIMARY,
    At,
    Crash,
    CrashMember,
    CutStore,
    Deafen,
    DeafStore,
    Fault,
    Freeze,
    Kill,
    Lag,
    SlowStore,
    Stop,
    StopMember,
    StoreDown,
    ThawAll,
    in_shard,
)
from tests.simulation.mutation import Mutation, Patch, check, run
from tests.simulation.plan import Plan
from tests.simulation.simulation import Simulation, simulate
from tests.simulation.store import SimStore

EXAMPLES = max(1, int(os.environ.get("SHARDPROXY_SIMULATIONS", "12")) // 4)


def moving(*faults: At, shards: int = 2, lasts: float = 4.0, **of: int) -> Plan:
    return Plan(faults, shards=shards, lasts=lasts, moves=True, **of)  # type: ignore[arg-type]


def checked(plan: Plan) -> Simulation:
    with structlog.testing.capture_logs():
        sim = simulate(plan)
    assert not sim.checks.complaints, "\n".join(sim.checks.trace[-80:])
    return sim


@pytest.mark.parametrize("first", range(3, 24, 7))
def test_the_leader_may_end_at_any_moment(first: int) -> None:
    """Of a move, as of all else it does: every so many awaits, each time at other ones."""
    ends = [At(Crash(), awaits=number) for number in range(first, 300, 23)]
    sim = checked(moving(At(Crash(), 0.0), *ends, proxies=2, standbys=1))
    assert sim.moving.moves > 3
    assert len(sim.moving.acked) > 20


def test_who_leads_a_fleet_may_end_or_stand_still_again_and_again() -> None:
    ends = [At(CrashMember(LEADER, 0.3), seconds) for seconds in (0.0, 1.1, 2.3)]
    sim = checked(moving(*ends, At(StopMember(LEADER, 4.0), 3.4), members=3, lasts=9.0))
    assert sim.moving.moves > 3


def test_shards_may_fail_over_in_the_middle() -> None:
    kills = [At(Kill(in_shard(shard, PRIMARY)), seconds) for shard, seconds in ((0, 0.0), (1, 1.3))]
    sim = checked(moving(*kills, proxies=2))
    assert sim.moving.moves > 3


FAULTS: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Kill, st.sampled_from([PRIMARY, OTHER, in_shard(1, PRIMARY), 11])),
    st.builds(Freeze, st.sampled_from([PRIMARY, in_shard(1, PRIMARY)])),
    st.just(ThawAll()),
    st.just(Crash()),
    st.builds(Stop, st.sampled_from([0.5, 4.0])),
    st.builds(StoreDown, st.booleans()),
    st.builds(Deafen, st.integers(0, 1), st.sampled_from([0.3, 2.0])),
)
MEMBERS = st.integers(0, 2)
OF_FLEETS: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Kill, st.sampled_from([PRIMARY, in_shard(1, PRIMARY)])),
    st.builds(CutStore, MEMBERS, st.booleans()),
    st.builds(SlowStore, MEMBERS),
    st.builds(DeafStore, MEMBERS),
    st.builds(StopMember, MEMBERS, st.sampled_from([1.0, 6.0])),
    st.builds(CrashMember, MEMBERS, st.sampled_from([0.0, 1.0])),
)


def plans(faults: st.SearchStrategy[Fault], **of: int) -> st.SearchStrategy[Plan]:
    when = st.one_of(
        st.builds(At, faults, st.floats(0.0, 4.0)), st.builds(At, faults, awaits=st.integers(1, 200))
    )
    return st.lists(when, max_size=4).map(lambda chosen: moving(*chosen, lasts=6.0, **of))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(plans(FAULTS, proxies=2, standbys=1))
def test_invariants_hold_while_slots_move(plan: Plan) -> None:
    checked(plan)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(plans(OF_FLEETS, members=3))
def test_invariants_hold_of_fleets_while_slots_move(plan: Plan) -> None:
    checked(plan)


# --- the rules, broken ---


def publish_without_a_fence(patch: Patch) -> None:
    patch.setattr(LeaderDesk, "_why_not_leave", lambda self, key, record, left: None)


def replace_one_by_one(patch: Patch) -> None:
    real = SimStore.put_all

    def put_all(self: SimStore, records: list[ShardRecord], revision: int) -> tuple[ShardRecord, ...]:
        return tuple(real(self, [record], revision)[0] for record in records)

    patch.setattr(SimStore, "put_all", put_all)


def have_tasks_write_the_slots_of_the_config(patch: Patch) -> None:
    async def put(self: LedRecords, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        stored = self.store.records.get(record.key)
        revision = stored.revision if stored is not None else 0
        slots = self.setups[record.key].slots
        return await self.store.put(replace(record, slots=slots, revision=revision), leadership)

    patch.setattr(LedRecords, "put", put)


def movers(**switches: bool) -> object:
    def mutate(sim: Simulation) -> None:
        for process in sim.processes:
            for name, value in switches.items():
                setattr(process.mover, name, value)

    return mutate


def slots_served(**switches: bool) -> object:
    def mutate(sim: Simulation) -> None:
        for proxy in sim.deciding.proxies:
            for name, value in switches.items():
                setattr(proxy.slot, name, value)

    return mutate


LAGGING = [in_shard(1, 1), in_shard(1, 2)]

MUTATIONS = [
    Mutation(
        "what is held is acknowledged when nothing of it is under way",
        "MOVE",
        [moving(proxies=3)],
        mutate=slots_served(is_settling=False),  # type: ignore[arg-type]
    ),
    Mutation(
        "slots leave a shard when every proxy holds them",
        "MOVE",
        [moving(proxies=3)],
        publish_without_a_fence,
        movers(is_fencing=False),  # type: ignore[arg-type]
    ),
    Mutation("records are replaced together", "SLOT", [moving(proxies=1)], replace_one_by_one),
    Mutation(
        "a shard's task leaves its slots alone",
        "SLOT",
        [moving(At(Kill(PRIMARY), seconds), proxies=1) for seconds in (0.5, 3.0, 6.0, 9.0)],
        have_tasks_write_the_slots_of_the_config,
    ),
    Mutation(
        "who is out of touch asks whether slots have left",
        "MOVE",
        [moving(At(CutStore(2), 0.0), members=3, lasts=7.0)],
        mutate=slots_served(is_asking=False),  # type: ignore[arg-type]
    ),
    Mutation(
        "a source tells those who are out of touch that slots leave it",
        "MOVE",
        [moving(At(CutStore(2), 0.0), members=3, lasts=7.0)],
        mutate=movers(is_sealing=False),  # type: ignore[arg-type]
    ),
    Mutation(
        "a copy is confirmed before it counts",
        "MOVE",
        [
            moving(
                *(At(Lag(node), 0.0) for node in LAGGING),
                At(Kill(in_shard(1, PRIMARY)), seconds),
                *(At(Lag(node, lags=False), seconds + 0.1) for node in LAGGING),
                proxies=1,
            )
            for seconds in (1.0, 1.15, 1.3)
        ],
        mutate=movers(is_confirming=False),  # type: ignore[arg-type]
    ),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_a_broken_rule_of_moves_is_noticed(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    check(mutation, monkeypatch)


def test_what_only_follows_the_store_loses_nothing_where_slots_move() -> None:
    sim = run(moving(members=2, followers=1))
    assert not sim.checks.complaints, "\n".join(sim.checks.trace[-80:])
    assert sim.moving.moves > 3
