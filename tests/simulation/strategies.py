"""Plans of faults for Hypothesis to choose from. The simplest plan has none."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.simulation.faults import (
    OTHER,
    PRIMARY,
    At,
    Crash,
    Cut,
    Fault,
    FillDisk,
    Freeze,
    HealNetwork,
    Kill,
    Lag,
    Restart,
    Stop,
    StoreDown,
    Stray,
    SwitchOver,
    ThawAll,
)
from tests.simulation.simulation import Plan

NODES = st.sampled_from([PRIMARY, OTHER, 0, 1, 2])

FAULTS: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Kill, NODES),
    st.builds(Freeze, NODES),
    st.just(ThawAll()),
    st.builds(Stray, NODES),
    st.builds(Restart, NODES, st.sampled_from([True, False])),
    st.builds(Cut, NODES, st.one_of(st.none(), NODES)),
    st.just(HealNetwork()),
    st.builds(Lag, NODES, st.booleans()),
    st.builds(FillDisk, NODES, st.booleans()),
    st.builds(StoreDown, st.booleans()),
    st.just(Crash()),
    st.builds(Stop, st.sampled_from([0.5, 4.0, 10.0])),
    st.just(SwitchOver()),
)

# At least one by the clock, so that there is a failover whose awaits can be hit.
BY_TIME = st.builds(At, FAULTS, seconds=st.integers(0, 40).map(lambda tenths: tenths / 10))
BY_AWAIT = st.builds(At, FAULTS, awaits=st.integers(1, 60))

PLANS = st.builds(
    Plan,
    faults=st.tuples(
        st.lists(BY_TIME, min_size=1, max_size=4),
        st.lists(BY_AWAIT, max_size=4),
    ).map(lambda both: [*both[0], *both[1]]),
    nodes=st.sampled_from([3, 2, 4]),
    wait=st.sampled_from([1, 0, 2]),
    lasts=st.sampled_from([6.0, 12.0]),
    keeps_data=st.sampled_from([True, True, False]),
    standbys=st.sampled_from([0, 1]),
)
