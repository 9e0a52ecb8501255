"""Rules of proxies that share a store, each broken on purpose: its check turns red."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from shardproxy.coordination import fencer, lease
from shardproxy.coordination.votes import VotesOfMembers
from shardproxy.model import Address
from shardproxy.model.replication import ShardKey
from tests.simulation import store as sim_store
from tests.simulation.faults import (
    LEADER,
    PRIMARY,
    At,
    Cut,
    CutFrom,
    CutStore,
    DeafStore,
    Freeze,
    HealNetwork,
    Kill,
    StopMember,
    ThawAll,
)
from tests.simulation.mutation import Mutation, Patch, check, data_plane
from tests.simulation.plan import Plan
from tests.simulation.store import SimLease

ALONE = [At(Cut(0, 1), 0.1), At(Cut(0, 2), 0.1), At(CutFrom(0, 0), 0.1), At(CutFrom(1, 0), 0.1)]
"""The primary is cut from all but the third proxy."""


def hear_no_objection(patch: Patch) -> None:
    patch.setattr(VotesOfMembers, "objection", lambda self, key, primary: None)


def wait_for_nobody_else(patch: Patch) -> None:
    real = fencer.AckFencer._others

    def others(self: fencer.AckFencer, key: ShardKey) -> list[str]:
        return []

    assert real is not others
    patch.setattr(fencer.AckFencer, "_others", others)


def believe_whoever_is_in_touch(patch: Patch) -> None:
    patch.setattr(lease, "deadline_wanted", lambda standing, armed, now: standing.deadline)


MUTATIONS = [
    Mutation(
        "what most others reach is not failed over",
        "I8",
        [
            Plan(
                [At(Cut(0, 1), 0.0), At(Cut(0, 2), 0.0), At(CutFrom(LEADER, 0), 0.0), At(HealNetwork(), 4.0)],
                members=3,
            )
        ],
        hear_no_objection,
    ),
    Mutation(
        "a promotion waits for all who serve",
        "STRICT",
        [Plan([At(DeafStore(2, 2.0), 0.0), *ALONE, At(HealNetwork(), 5.0)], members=3, wait=0)],
        wait_for_nobody_else,
    ),
    Mutation(
        "who is out of touch has writes confirmed",
        "STRICT",
        [Plan([At(CutStore(2), 0.0), *ALONE, At(HealNetwork(), 7.0)], members=3, wait=0, lasts=8.0)],
        mutate=data_plane(is_careful=False),
    ),
    Mutation(
        "who stood still looks at its lease first",
        "STRICT",
        [Plan([At(StopMember(2, 6.0), 0.3), *ALONE, At(HealNetwork(), 8.0)], members=3, wait=0, lasts=9.0)],
        mutate=data_plane(is_leased=False),
    ),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_a_broken_rule_is_noticed(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    check(mutation, monkeypatch)
