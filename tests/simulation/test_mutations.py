"""Each rule, broken on purpose: its check turns red. And the same plan is green with the rule in place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.failover import election, machine, places, runner
from shardproxy.failover.decide import Decision, FailOver, Situation, decide
from shardproxy.failover.machine import NobodyElectable, PromotionFailed, Step, TooFew
from shardproxy.failover.shard import task
from shardproxy.health import detector
from shardproxy.health.history import History
from shardproxy.model.replication import Lineage, Replication
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.record import ShardRecord, ShardState
from tests.simulation import store as sim_store
from tests.simulation.faults import (
    PRIMARY,
    At,
    Cut,
    Freeze,
    HealNetwork,
    Kill,
    Lag,
    Restart,
    Stop,
    StoreDown,
    Stray,
    ThawAll,
    Work,
)
from tests.simulation.mutation import Mutation, Patch, at_awaits, check, data_plane
from tests.simulation.plan import Plan
from tests.simulation.process import Process
from tests.simulation.simulation import Simulation


def promote_another_in_the_same_epoch(patch: Patch) -> None:
    patch.setitem(machine.TRANSITIONS, (Step.PROMOTE, PromotionFailed), Step.FENCE)
    patch.setattr(runner, "SETBACKS", (TooFew, NobodyElectable))
    patch.setattr(
        ShardRecord,
        "promoting",
        lambda self, target: replace(self, state=ShardState.PROMOTING, target=target),
    )
    accept_any_write(patch)


def let_epochs_go_down(patch: Patch) -> None:
    patch.setattr(
        ShardRecord,
        "fenced",
        lambda self, state=ShardState.FENCING: replace(
            self,
            epoch=1 if self.primary is None else 0,
            state=state,
            primary=None,
            last=self.primary or self.last,
            target=None,
        ),
    )
    accept_any_write(patch)


def promote_with_too_few(patch: Patch) -> None:
    patch.setattr(runner, "why_too_few", lambda record, candidates: None)


def promote_any_history(patch: Patch) -> None:
    patch.setattr(election, "place_of", lambda seen, lineage: seen.offset)


def promote_the_oldest(patch: Patch) -> None:
    real = places.place_of

    def reversed_place(seen: Replication, lineage: Lineage) -> int | None:
        place = real(seen, lineage)
        return None if place is None else -place

    patch.setattr(election, "place_of", reversed_place)


def go_on_without_the_store(patch: Patch) -> None:
    real = Process.put

    async def put(self: Process, record: ShardRecord, leadership: object) -> ShardRecord:
        try:
            return await real(self, record, leadership)  # type: ignore[arg-type]
        except StoreUnavailableError:
            return record

    patch.setattr(Process, "put", put)


def fail_back(patch: Patch) -> None:
    def decide_anew(situation: Situation) -> Decision:
        first, record = situation.setup.addresses[0], situation.record
        health = situation.healths.get(first)
        is_back = health is not None and health.replication is not None and health.replication.is_link_up
        if record.state is ShardState.OK and record.primary != first and is_back:
            return FailOver("the first node is back", is_resumed=True)
        return decide(situation)

    patch.setattr(task, "decide", decide_anew)


def trust_restarted_primaries(patch: Patch) -> None:
    patch.setattr(History, "is_restarted", property(lambda self: False))


def accept_any_write(patch: Patch) -> None:
    def put(stored: ShardRecord | None, record: ShardRecord, revision: int) -> ShardRecord:
        return replace(record, revision=revision, changed=revision)

    patch.setattr(sim_store, "record_replace", put)


def stop_checking_leaders(sim: Simulation) -> None:
    sim.store.is_checking_leader = False


def take_the_busy_for_dead(patch: Patch) -> None:
    patch.setattr(detector, "explanation", lambda standing, history, ask_interval: None)


KILL = [Plan([At(Kill(PRIMARY), 0.0)])]
FREEZE = [Plan([At(Freeze(PRIMARY), 0.0), At(ThawAll(), 1.6)], wait=0)]

MUTATIONS = [
    Mutation(
        "an epoch promotes one node",
        "I1",  # the target hangs right when it is told; another one is chosen; it wakes up
        at_awaits(Freeze(1), At(Kill(0), 0.0), At(ThawAll(), 5.0), awaits=(8, 12), wait=2),
        promote_another_in_the_same_epoch,
    ),
    Mutation("old replies are dropped", "I2", FREEZE, mutate=data_plane(is_dropping_old=False)),
    Mutation(
        "a primary's process is verified before anything is sent to it",
        "I2",
        [Plan([At(Stop(2.0), 0.0), At(Kill(0), 0.1), At(Restart(0, is_safe=False), 0.1)], nodes=1, wait=0)],
        mutate=data_plane(is_verifying=False),
    ),
    Mutation("epochs grow", "I3", KILL, let_epochs_go_down),
    Mutation(
        "only the leader acts",
        "I3",  # it is stopped in the middle of a failover, and another one finishes it
        at_awaits(Stop(10.0), At(Kill(0), 0.0), awaits=(8, 14), standbys=1, lasts=14.0),
        accept_any_write,
        stop_checking_leaders,
    ),
    Mutation(
        "acknowledged writes are on enough of the frozen",
        "I4",
        [Plan([At(Lag(2), 0.0), At(Cut(1, None), 1.0), At(Kill(0), 1.0), At(HealNetwork(), 4.0)])],
        promote_with_too_few,
    ),
    Mutation("the newest data wins", "I4", [Plan([At(Lag(2), 0.0), At(Kill(0), 1.0)])], promote_the_oldest),
    Mutation(
        "another history is not promoted",
        "I5",  # a replica is replaced by a stranger while we look away
        [Plan([At(Stop(0.2), 0.0), At(Stray(2), 0.1), At(Kill(0), 0.1), At(Freeze(1), 0.1)], wait=0)],
        promote_any_history,
    ),
    Mutation(
        "what may have been carried out is not sent again", "I6", FREEZE, mutate=data_plane(is_resending=True)
    ),
    Mutation(
        "the store comes first",
        "I7",
        [Plan([At(StoreDown(), 0.0), At(Kill(PRIMARY), 0.5)])],
        go_on_without_the_store,
    ),
    Mutation(
        "nobody fails back", "I8", [Plan([At(Kill(0), 0.0), At(Restart(0), 1.0)], lasts=3.0)], fail_back
    ),
    Mutation("who is busy is not dead", "I8", [Plan([At(Work(PRIMARY, 4.0), 0.0)])], take_the_busy_for_dead),
    Mutation(
        "a restarted primary is not trusted",
        "I9",
        [Plan([At(Kill(0), 0.0), At(Restart(0, is_safe=False), 0.0)])],
        trust_restarted_primaries,
    ),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_a_broken_rule_is_noticed(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    check(mutation, monkeypatch)
