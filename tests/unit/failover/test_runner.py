"""Walks of the machine over engines and a store that are dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from shardproxy.failover.election import Candidate
from shardproxy.failover.machine import Kind, Run, Step
from shardproxy.failover.runner import Runner
from shardproxy.failover.setup import FailoverSettings
from shardproxy.failover.steps import Primary, StepError
from shardproxy.model import Address
from shardproxy.model.replication import Lineage, ShardKey
from shardproxy.store.cas import record_replace
from shardproxy.store.interface import Leadership
from shardproxy.store.record import ShardRecord, ShardState
from tests.unit.failover.make import B, C, X, frozen, record, setup

OWN = Lineage("new", X.replid, 601)


@dataclass
class FakeStore:
    """One record, and all that it ever was."""

    record: ShardRecord
    history: list[ShardRecord] = field(default_factory=list)

    async def put(self, record: ShardRecord, leadership: Leadership) -> ShardRecord:
        self.record = record_replace(self.record, record, self.record.revision + 1)
        self.history.append(self.record)
        return self.record


@dataclass
class FakeSteps:
    """Engines that are frozen as the tables say; the others do not answer."""

    candidates: dict[Address, Candidate]
    promoted: list[Address] = field(default_factory=list)
    is_too_slow: bool = False

    async def freeze(self, address: Address, *, zone: str | None, cut_clients: bool) -> Candidate:
        if address not in self.candidates:
            raise StepError(address, "no reply")
        return self.candidates[address]

    async def promote(self, address: Address, run_id: str | None) -> Primary:
        self.promoted.append(address)
        return Primary(OWN, "r")

    async def catch_up(self, address: Address, source: Address, record: ShardRecord) -> None:
        if self.is_too_slow:
            raise StepError(address, "did not catch up in time")
        self.candidates[address] = replace(self.candidates[address], replication=frozen(OWN, 600))
        self.candidates[source] = replace(self.candidates[source], replication=frozen(OWN, 600, priority=0))

    async def follow(self, address: Address, primary: Address, record: ShardRecord) -> None:
        return


class FakeFencer:
    async def wait_served(self, record: ShardRecord) -> None:
        return

    async def wait_everywhere(self, record: ShardRecord, *, within: float) -> None:
        return

    def served(self, key: ShardKey) -> int:
        return 1 << 30


def runner(store: FakeStore, steps: FakeSteps) -> Runner:
    fakes = (store, None, steps, FakeFencer(), FailoverSettings())
    return Runner(setup(), *fakes)  # type: ignore[arg-type]


def lost(**options: int) -> tuple[FakeStore, Run]:
    shard = record(wait=options.pop("wait", 0))
    return FakeStore(shard), Run(Kind.FAILOVER, shard, "it died", 0.0)


def candidates(**offsets: int) -> dict[Address, Candidate]:
    nodes = {"b": B, "c": C}
    return {nodes[n]: Candidate(nodes[n], frozen(X, offset), "r") for n, offset in offsets.items()}


async def test_the_furthest_is_promoted() -> None:
    store, run = lost()
    steps = FakeSteps(candidates(b=500, c=600))
    run = await runner(store, steps).walk(run)
    assert (run.step, store.record.primary, store.record.epoch, steps.promoted) == (Step.DONE, C, 2, [C])


async def test_whom_an_operator_chose_is_waited_for_and_nobody_else_taken_instead() -> None:
    store, run = lost()
    steps = FakeSteps(candidates(c=600))
    run = await runner(store, steps).walk(replace(run, trusted=B))
    assert (run.step, run.setback) == (Step.FENCE, f"{B} does not answer")
    assert steps.promoted == []
    steps.candidates = candidates(b=500, c=600)
    run = await runner(store, steps).walk(run)
    assert (run.step, store.record.primary, store.record.epoch) == (Step.DONE, B, 2)


async def test_a_relay_is_an_epoch_and_gives_the_history_its_new_name() -> None:
    """The target knows no older name, and would never count as having caught up."""
    store, run = lost(wait=1)
    found = candidates(b=500, c=600)
    found[C] = replace(found[C], replication=frozen(X, 600, priority=0))
    steps = FakeSteps(found)
    run = await runner(store, steps).walk(run)
    assert (run.step, store.record.primary, store.record.epoch) == (Step.DONE, B, 3)
    assert steps.promoted == [C, B]
    targets = [(old.epoch, old.target) for old in store.history if old.state is ShardState.PROMOTING]
    assert targets == [(2, C), (2, C), (3, B)]


async def test_a_relay_that_takes_too_long_is_tried_again_and_serves_nobody() -> None:
    store, run = lost(wait=1)
    found = candidates(b=500, c=600)
    found[C] = replace(found[C], replication=frozen(X, 600, priority=0))
    steps = FakeSteps(found, is_too_slow=True)
    run = await runner(store, steps).walk(run)
    assert (run.step, store.record.primary) == (Step.CLAIM, None)
    assert f"has to sync from {C} first" in run.setback
    steps.is_too_slow = False
    run = await runner(store, steps).walk(run)
    assert (run.step, store.record.primary) == (Step.DONE, B)
