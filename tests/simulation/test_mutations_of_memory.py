"""Rules on who vouches, what is remembered, who a node is and who may act, each broken on purpose."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from shardproxy.failover import decide, election, memory, quorum, runner, steps, voting
from shardproxy.failover.decide import Situation
from shardproxy.failover.election import Candidate, Choice
from shardproxy.failover.gate import Seen, why_not_follow
from shardproxy.failover.shard import asked, heal, task
from shardproxy.model import Address
from shardproxy.model.health import NodeHealth
from shardproxy.store.record import Promise, ShardRecord
from tests.simulation.faults import (
    At,
    CrashAll,
    Cut,
    Deafen,
    FillDisk,
    HealNetwork,
    Kill,
    Replace,
    Restart,
    Stop,
    StoreDown,
)
from tests.simulation.meddling import AGAIN, Pause, PromoteByHand, Reload, SwitchOver
from tests.simulation.mutation import STUCK, Mutation, Patch, at_awaits, check, data_plane
from tests.simulation.plan import Plan
from tests.simulation.store import SimLease


def trust_any_lease(patch: Patch) -> None:
    patch.setattr(SimLease, "covers", lambda self, seconds: True)


def leave_the_relay_out(patch: Patch) -> None:
    real = election.choose

    def choose(candidates: list[Candidate], record: ShardRecord, zone: str | None) -> Choice:
        return replace(real(candidates, record, zone), source=None)

    patch.setattr(runner, "choose", choose)


def forget_older_promises(patch: Patch) -> None:
    real = quorum.why_not_enough

    def why_not_enough(record: ShardRecord, sound: frozenset[Address]) -> str | None:
        return real(replace(record, pending=()), sound)

    patch.setattr(quorum, "why_not_enough", why_not_enough)


def finish_at_once(patch: Patch) -> None:
    def caught_up(situation: Situation) -> frozenset[Address]:
        known = situation.healths.items()
        return frozenset(node for node, health in known if health.synced_at is not None)

    patch.setattr(decide, "_caught_up", caught_up)


def promote_whatever_the_priority(patch: Patch) -> None:
    real = election.why_not_electable

    def why_not(candidate: Candidate, record: ShardRecord) -> str | None:
        seen = replace(candidate.replication, priority=max(1, candidate.replication.priority))
        return real(replace(candidate, replication=seen), record)

    patch.setattr(election, "why_not_electable", why_not)


def let_the_unfit_vouch(patch: Patch) -> None:
    patch.setattr(voting, "_is_fit", lambda healths, node: True)


def judge_sync_by_the_link(patch: Patch) -> None:
    def is_current(health: NodeHealth | None) -> bool:
        seen = health.replication if health is not None else None
        return seen is not None and seen.is_link_up

    patch.setattr(memory, "is_current", is_current)
    patch.setattr(voting, "is_current", is_current)


def keep_nothing_on_record(patch: Patch) -> None:
    async def note_no_floor(shard: object, until: float | None) -> float:
        return math.inf if until is None else until

    def everybody(situation: object, record: ShardRecord, *_: object) -> Promise:
        return Promise(frozenset(record.nodes) - {record.primary or Address()}, record.wait)

    patch.setattr(task, "_note_floor", note_no_floor)
    patch.setattr(decide, "promise_wanted", everybody)


def ignore_pauses(patch: Patch) -> None:
    real = Situation.why_not_act

    def why_not_act(self: Situation) -> str | None:
        return real.fget(replace(self, is_paused=False))  # type: ignore[attr-defined, no-any-return]

    patch.setattr(Situation, "why_not_act", property(why_not_act))
    patch.setattr(heal, "is_paused", lambda notes, cluster: False)


def take_names_for_nodes(patch: Patch) -> None:
    def why_not(node: Seen, primary: Seen, record: ShardRecord) -> str | None:
        return why_not_follow(replace(node, run_id=f"of {node.address}"), primary, record)

    patch.setattr(steps, "why_not_follow", why_not)


def leave_the_gate_open(patch: Patch) -> None:
    patch.setattr(steps, "why_not_follow", lambda node, primary, record: None)


def promote_whoever_answers(patch: Patch) -> None:
    patch.setattr(runner, "_run_id_of", lambda run, node: None)


def keep_requests(patch: Patch) -> None:
    patch.setattr(asked, "is_waited_for", lambda request, members: True)


MUTATIONS = [
    Mutation(
        "a command needs a lease that outlasts it",
        "LEASE",
        at_awaits(Stop(4.0), At(Kill(0), 0.0), awaits=(2, 12), standbys=1, lasts=10.0),
        trust_any_lease,
    ),
    Mutation(
        "who is promoted syncs from who has more",
        "I4",  # one that vouched cannot save to disk any more, and has what the other one lacks
        [Plan([At(Cut(0, 2), 0.0), At(FillDisk(1), 1.0), At(Kill(0), 1.0)])],
        leave_the_relay_out,
    ),
    Mutation(
        "an older promise counts until it is finished",
        "I4",
        [
            Plan(
                [
                    At(Cut(0, 2), 0.0),
                    At(FillDisk(1), 0.5),
                    At(Kill(0), 3.0),
                    At(Cut(1, None), 3.0),
                    At(HealNetwork(), 6.0),
                ],
                lasts=8.0,
            )
        ],
        forget_older_promises,
    ),
    Mutation(
        "a promise is finished once all proxies serve it",
        "I4",
        [
            Plan(
                [
                    At(Deafen(1, 3.2), 0.0),
                    At(FillDisk(1), 0.2),
                    At(Cut(0, 2), 2.0),
                    At(Kill(0), 3.0),
                    At(Cut(1, None), 3.0),
                    At(HealNetwork(), 6.0),
                ],
                lasts=8.0,
                proxies=2,
            )
        ],
        finish_at_once,
    ),
    Mutation(
        "a stranger's word is not waited for",
        "I4",
        [Plan([At(Cut(0, 1), 0.0), At(Cut(0, 2), 0.0), At(Kill(0), 1.0)], strangers=1)],
        mutate=data_plane(is_counting_strangers=True),
    ),
    Mutation(
        "priority 0 is never promoted",
        "FIT",
        [Plan([At(Kill(0), 0.0)], priorities=(100, 0))],
        promote_whatever_the_priority,
    ),
    Mutation(
        "who may not be promoted does not vouch",
        STUCK,  # nobody needs it, and so its death keeps nobody
        [Plan([At(Kill(2), 0.0), At(Kill(0), 0.0)], priorities=(100, 100, 0))],
        let_the_unfit_vouch,
    ),
    Mutation(
        "sync is judged by offsets",
        "OLD",
        [Plan([At(Cut(0, 1), 0.0)], wait=0, lasts=30.0)],
        judge_sync_by_the_link,
    ),
    Mutation(
        "who lost sync is on record",
        "OLD",
        [Plan([At(Cut(0, 1), 0.0), At(Cut(0, 2), 0.0), At(CrashAll(0.5, True), 32.0)], wait=0, lasts=38.0)],
        keep_nothing_on_record,
    ),
    Mutation(
        "paused is paused",
        "QUIET",
        [Plan([At(Kill(1), 0.0), At(Pause(), 0.0), At(Restart(1, True), 6.0)], lasts=9.0)],
        ignore_pauses,
    ),
    Mutation(
        "a node is its process",
        "DATA",
        [Plan([At(Reload((0, 1, AGAIN + 1, 2)), 0.0), At(Kill(0), 3.0)])],
        take_names_for_nodes,
    ),
    Mutation("both are compared first", "DATA", [Plan([At(PromoteByHand(1), 0.0)])], leave_the_gate_open),
    Mutation(
        "the process that was frozen is promoted",
        "I4",
        at_awaits(Replace(1), At(Kill(0), 0.0), awaits=(8, 10), nodes=2),
        promote_whoever_answers,
    ),
    Mutation(
        "what nobody waits for is not done",
        "LATE",
        [
            Plan(
                [
                    At(CrashAll(), 0.0),  # nobody leads for a while
                    At(SwitchOver(), 1.0),
                    At(CrashAll(), 1.5),  # who was asked is gone
                    At(StoreDown(), 2.0),
                    At(StoreDown(False), 40.0),
                ],
                lasts=42.0,
            )
        ],
        keep_requests,
    ),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_a_broken_rule_is_noticed(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    check(mutation, monkeypatch)
