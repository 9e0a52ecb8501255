"""Plans of faults for Hypothesis to choose from. The simplest plan has none."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.simulation.faults import (
    LEADER,
    OTHER,
    PRIMARY,
    STRANGER,
    At,
    Crash,
    CrashAll,
    CrashMember,
    Cut,
    CutFrom,
    CutStore,
    Deafen,
    DeafStore,
    Fault,
    FillDisk,
    Freeze,
    HealNetwork,
    Kill,
    Lag,
    Replace,
    Restart,
    SlowStore,
    Stop,
    StopMember,
    StoreDown,
    Stray,
    ThawAll,
    Work,
    in_shard,
)
from tests.simulation.meddling import AGAIN, Pause, Point, PromoteByHand, Reload, SwitchOver
from tests.simulation.plan import Plan

NODES = st.sampled_from([PRIMARY, OTHER, 0, 1, 2, in_shard(1, PRIMARY), 11])

KEEPS = st.sampled_from([True, True, True, False])

CONFIGS = st.sampled_from(  # the nodes of a shard: in another order, more, fewer, by another name
    [None, (1, 0, 2), (0, 1, 2, 3), (0, 1), (1, 2), (AGAIN, 1, 2), (0, 1 + AGAIN, 2), (AGAIN + 1, 0, 1, 2)]
)

BREAKING: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Kill, NODES),
    st.builds(Freeze, NODES),
    st.just(ThawAll()),
    st.builds(Work, NODES, st.sampled_from([0.5, 3.0, 8.0, 12.0])),
    st.builds(Restart, NODES, KEEPS),
    st.builds(Replace, NODES, KEEPS),
    st.builds(Cut, NODES, st.one_of(st.none(), NODES)),
    st.just(HealNetwork()),
    st.builds(Lag, st.one_of(NODES, st.just(STRANGER)), st.booleans()),
    st.builds(FillDisk, NODES, st.booleans()),
    st.builds(StoreDown, st.booleans()),
    st.builds(Deafen, st.integers(0, 2), st.sampled_from([0.5, 5.0])),
    st.just(Crash()),
    st.builds(CrashAll, st.sampled_from([0.0, 2.0]), st.booleans()),
    st.builds(Stop, st.sampled_from([0.5, 4.0, 10.0])),
)
CHANGING: st.SearchStrategy[Fault] = st.one_of(
    st.builds(SwitchOver, st.integers(0, 1)),
    st.builds(Pause, st.booleans()),
    st.builds(Reload, nodes=CONFIGS, wait=st.sampled_from([None, 0, 1, 2])),
    st.builds(Reload, is_automatic=st.booleans()),
)
BY_HAND: st.SearchStrategy[Fault] = st.one_of(st.builds(PromoteByHand, NODES), st.builds(Point, NODES, NODES))

HARD = st.sampled_from(  # at least one of them strikes: a primary is lost, or handed over
    [
        Kill(PRIMARY),
        Freeze(PRIMARY),
        Replace(PRIMARY, keeps_data=True),
        CrashAll(0.5, with_primary=True),
        SwitchOver(),
        FillDisk(PRIMARY),
        Work(PRIMARY, 3.0),
        Kill(in_shard(1, PRIMARY)),
    ]
)
ALL = st.one_of(BREAKING, BREAKING, CHANGING)
LOSING = st.one_of(BREAKING, CHANGING, st.builds(Stray, NODES), st.builds(Replace, NODES))
MEDDLED = st.one_of(BREAKING, CHANGING, BY_HAND, BY_HAND)
SECONDS = st.one_of(
    st.integers(0, 40).map(lambda tenths: tenths / 10), st.sampled_from([8.0, 13.0, 24.0, 31.0])
)


def plans(faults: st.SearchStrategy[Fault]) -> st.SearchStrategy[Plan]:
    """At least one fault by the clock, so that there is a failover whose awaits can be hit."""
    hard = st.builds(At, HARD, seconds=SECONDS)
    by_time = st.builds(At, faults, seconds=SECONDS)
    by_await = st.builds(At, faults, awaits=st.integers(1, 60))
    return st.builds(
        Plan,
        faults=st.tuples(
            st.lists(hard, min_size=1, max_size=2),
            st.lists(by_time, min_size=1, max_size=5),
            st.lists(by_await, max_size=4),
        ).map(lambda lists: [at for some in lists for at in some]),
        nodes=st.sampled_from([3, 2, 4]),
        wait=st.sampled_from([1, 0, 2]),
        lasts=st.sampled_from([6.0, 12.0, 36.0]),
        keeps_data=st.sampled_from([True] * 9 + [False]),
        standbys=st.sampled_from([0, 1]),
        shards=st.sampled_from([1, 1, 2]),
        proxies=st.sampled_from([1, 2, 3]),
        observers=st.sampled_from([0, 0, 1]),
        spares=st.sampled_from([0, 1]),
        strangers=st.sampled_from([0, 0, 1]),
        priorities=st.sampled_from([(), (100, 0), (100, 50, 0), (0, 100)]),
        starts_frozen=st.sampled_from([False, False, False, True]),
        is_managed=st.sampled_from([True, True, True, True, True, False]),
    )


PLANS = st.one_of(plans(ALL), plans(ALL), plans(LOSING), plans(MEDDLED))

MEMBERS = st.sampled_from([LEADER, LEADER, 0, 1, 2, 3])
OF_MEMBERS: st.SearchStrategy[Fault] = st.one_of(
    st.builds(CutStore, MEMBERS, st.booleans()),
    st.builds(SlowStore, MEMBERS, st.sampled_from([0.0, 0.3, 1.2])),
    st.builds(DeafStore, MEMBERS, st.sampled_from([0.5, 2.0, 10.0])),
    st.builds(StopMember, MEMBERS, st.sampled_from([0.5, 2.5, 4.0, 10.0])),
    st.builds(CrashMember, MEMBERS, st.sampled_from([0.0, 4.0])),
    st.builds(CutFrom, MEMBERS, NODES),
    st.builds(StoreDown, st.booleans()),
)
IN_FLEETS = st.one_of(OF_MEMBERS, OF_MEMBERS, BREAKING, st.builds(SwitchOver, st.just(0)))


def fleets() -> st.SearchStrategy[Plan]:
    """Several proxies that share a store."""
    hard = st.builds(At, HARD, seconds=SECONDS)
    by_time = st.builds(At, IN_FLEETS, seconds=SECONDS)
    by_await = st.builds(At, OF_MEMBERS, awaits=st.integers(1, 40))
    return st.builds(
        Plan,
        faults=st.tuples(
            st.lists(hard, min_size=1, max_size=2),
            st.lists(by_time, min_size=1, max_size=4),
            st.lists(by_await, max_size=3),
        ).map(lambda lists: [at for some in lists for at in some]),
        wait=st.sampled_from([1, 0, 2]),
        lasts=st.sampled_from([6.0, 12.0]),
        members=st.sampled_from([2, 3]),
        followers=st.sampled_from([0, 1]),
        is_strict=st.booleans(),
    )


FLEETS = fleets()
