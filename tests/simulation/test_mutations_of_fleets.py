"""Rules of proxies that share a store, each broken on purpose: its check turns red."""

from __future__ import annotations

import pytest

from shardproxy.coordination import fencer
from shardproxy.coordination.votes import VotesOfMembers
from shardproxy.model.replication import ShardKey
from tests.simulation.faults import (
    LEADER,
    At,
    Cut,
    CutFrom,
    CutStore,
    DeafStore,
    HealNetwork,
    StopMember,
)
from tests.simulation.mutation import Mutation, Patch, check, data_plane
from tests.simulation.plan import Plan

ALONE = [At(Cut(0, 1), 0.1), At(Cut(0, 2), 0.1), At(CutFrom(0, 0), 0.1), At(CutFrom(1, 0), 0.1)]
"""The primary is cut from all but the third proxy."""


def hear_no_objection(patch: Patch) -> None:
    patch.setattr(VotesOfMembers, "objection", lambda self, key, primary: None)


def wait_for_nobody_else(patch: Patch) -> None:
    def others(self: fencer.AckFencer, key: ShardKey) -> list[str]:
        return []

    patch.setattr(fencer.AckFencer, "_others", others)


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
        [Plan([At(StopMember(2, 6.0), 0.31), *ALONE, At(HealNetwork(), 7.0)], members=3, wait=0)],
        mutate=data_plane(is_leased=False),
    ),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_a_broken_rule_is_noticed(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    check(mutation, monkeypatch)
