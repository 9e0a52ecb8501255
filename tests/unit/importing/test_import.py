"""The import job: a copier for each shard of the source, begun anew when a side changes, ended when told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio

from shardproxy.importing.errors import ForeignError
from shardproxy.importing.facts import Facts
from shardproxy.importing.follow import ImportWorker
from shardproxy.importing.follow import worker as module
from shardproxy.importing.found import Found, FoundShard, Kind
from shardproxy.jobs.interface import JobError
from shardproxy.model import Address, SlotRange, split_evenly
from shardproxy.model.replication import Lineage, Replication, Role
from shardproxy.model.slots import slots_common
from shardproxy.replication.interface import CopyFault, CopyPhase
from tests.unit.importing.make import Desk, FakeWork, World, until

OLD, REPLICA, OURS = Address("old", 1), Address("old", 2), Address("10.0.0.1", 7001)
WANTS = {"url": "redis://old:1", "follow": True, "functions": False}


def facts(node: Address = OLD, *, keys: int = 5, **fields: Any) -> Facts:
    primary = Replication(Role.PRIMARY, Lineage("a" * 40), 1)
    made = Facts(node, "7.0.15", "redis", "standalone", False, primary)
    return replace(made, keys={0: keys}, **fields)


def standalone(*replicas: Address, **fields: Any) -> Found:
    return Found(Kind.STANDALONE, (FoundShard(OLD, replicas),), {OLD: facts(**fields)})


def clustered(shards: int = 3) -> Found:
    nodes = [Address("old", 10 + number) for number in range(shards)]
    made = tuple(FoundShard(node, (), (s,)) for node, s in zip(nodes, split_evenly(shards), strict=True))
    return Found(Kind.REDIS_CLUSTER, made, {node: facts(node) for node in nodes})


class Source:
    """What is found whenever somebody asks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: Found | ForeignError = standalone()
        monkeypatch.setattr(module, "find", self._find)

    async def _find(self, *_: Any) -> Found:
        await trio.lowlevel.checkpoint()
        if isinstance(self.found, ForeignError):
            raise self.found
        return self.found


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    async def offsets(*_: Any) -> Facts:
        await trio.lowlevel.checkpoint()
        return facts(replication=Replication(Role.PRIMARY, Lineage("a" * 40), offset=4711))

    monkeypatch.setattr("shardproxy.importing.follow.copies.facts_ask", offsets)
    return Source(monkeypatch)


@pytest.fixture
def world() -> World:
    return World()


class Run:
    """The job, in a task; `result` or `why` when it is over."""

    def __init__(self, world: World, wants: dict[str, Any] | None = None, memo: Any = None) -> None:
        self.desk, self.work, self._world = Desk(), FakeWork({**WANTS, **(wants or {})}, memo), world
        self.result: Any = None
        self.why = ""

    async def __call__(self) -> None:
        try:
            self.result = await ImportWorker(self._world.means).run(self.desk, self.work)
        except JobError as error:
            self.why = str(error)

    @property
    def is_over(self) -> bool:
        return self.result is not None or bool(self.why)


@asynccontextmanager
async def running(world: World, memo: Any = None, *, copiers: int = 1, **wants: Any) -> AsyncIterator[Run]:
    """The job, under way with so many copiers; it has to be over in the end."""
    job = Run(world, wants, memo)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job)
        await until(lambda: len(world.copiers) >= copiers)
        yield job


async def test_it_is_followed_until_it_is_finished(world: World, source: Source, autojump_clock: Any) -> None:
    async with running(world) as job:
        (copier,) = world.copiers
        copier.become(CopyPhase.FOLLOWING, keys=5)
        await trio.sleep(60)
        assert not job.is_over
        job.work.is_finishing = True
    assert job.result["text"] == "5 keys imported, 10 compared and equal"
    assert copier.reached == [4711]
    assert copier.is_stopped


async def test_finishing_too_early_does_not_end_it(world: World, source: Source, autojump_clock: Any) -> None:
    async with running(world) as job:
        (copier,) = world.copiers
        job.work.is_finishing = True
        await until(lambda: job.work.why_kept_on)
        assert "shards: 1 copying" in job.work.why_kept_on
        copier.become(CopyPhase.FOLLOWING)
        copier.differs = "a:1 differs"
        job.work.is_finishing = True
        await until(lambda: "a:1 differs" in job.work.why_kept_on)
        copier.differs = ""
        copier.meanwhile = 3
        job.work.is_finishing = True
        await until(lambda: "3 keys have changed meanwhile" in job.work.why_kept_on)
        assert not job.is_over
        assert not copier.is_stopped
        copier.meanwhile = 0
        copier.become(CopyPhase.FOLLOWING, replid="b" * 40)
        job.work.is_finishing = True
        await until(lambda: "of another history (bbbbbbbb)" in job.work.why_kept_on)
        copier.become(CopyPhase.FOLLOWING, replid="a" * 40)
        copier.become(CopyPhase.FOLLOWING, dirty=3)
        job.work.is_finishing = True
        await until(lambda: "3 keys are still to be copied again" in job.work.why_kept_on)
        copier.become(CopyPhase.FOLLOWING, dirty=0)
        job.work.is_finishing = True
    assert job.result["compared"] == 10


async def test_one_pass_ends_by_itself(world: World, source: Source, autojump_clock: Any) -> None:
    async with running(world, follow=False) as job:
        assert not world.copiers[0].plan.follows
        world.copiers[0].become(CopyPhase.FINISHED, keys=5)
    assert job.result["text"] == "5 keys imported"


async def test_a_copier_has_no_slots_but_those_of_its_source(
    world: World, source: Source, autojump_clock: Any
) -> None:
    source.found = clustered(3)
    async with running(world, copiers=3) as job:
        job.work.is_aborted = True
    parts = [part for copier in world.copiers for target in copier.plan.targets for part in target.slots]
    assert sum(len(part) for part in parts) == 16384
    assert len(slots_common(parts, (SlotRange(0, 16383),))) == 1
    for copier, shard in zip(world.copiers, source.found.shards, strict=True):
        own = [part for target in copier.plan.targets for part in target.slots]
        assert slots_common(own, shard.slots) == slots_common(own, (SlotRange(0, 16383),))
    assert "FLUSHALL empties the cluster" in job.result["text"]


async def test_another_primary_of_a_target_has_all_begin_anew(
    world: World, source: Source, autojump_clock: Any
) -> None:
    async with running(world) as job:
        job.desk.promote(1)
        await until(lambda: len(world.copiers) == 2)
        assert world.copiers[0].is_stopped
        assert [str(target.end.address) for target in world.copiers[1].plan.targets] == [
            "10.0.0.1:7000",
            "10.0.0.2:7001",
        ]
        job.work.is_aborted = True


async def test_another_replica_of_the_source_is_told_to_its_copier(
    world: World, source: Source, autojump_clock: Any
) -> None:
    async with running(world) as job:
        source.found = standalone(REPLICA)
        await until(lambda: world.copiers[0].given)
        assert [end.address for end in world.copiers[0].given[0]] == [REPLICA, OLD]
        source.found = ForeignError("old:1: connection refused")  # for a while
        await trio.sleep(60)
        assert len(world.copiers) == 1
        assert not job.is_over
        job.work.is_aborted = True


async def test_slots_that_move_in_the_source_have_all_begin_anew(
    world: World, source: Source, autojump_clock: Any
) -> None:
    source.found = clustered(3)
    async with running(world, copiers=3) as job:
        source.found = clustered(2)
        await until(lambda: len(world.copiers) == 5)
        assert all(copier.is_stopped for copier in world.copiers[:3])
        job.work.is_aborted = True


async def test_a_copier_that_fails_over_and_over_ends_it(
    world: World, source: Source, autojump_clock: Any
) -> None:
    job = Run(world)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job)
        for number in range(5):
            await until(lambda number=number: len(world.copiers) > number)  # type: ignore[misc]
            world.copiers[number].become(CopyPhase.FAILED, why="unknown write command foo.set")
    assert job.why.startswith("unknown write command foo.set. The old one is untouched")


async def test_what_would_fail_again_is_not_tried_again(
    world: World, source: Source, autojump_clock: Any
) -> None:
    async with running(world) as job:
        world.copiers[0].become(CopyPhase.FAILED, why="it is full", fault=CopyFault.TARGET_REFUSES)
    assert job.why.startswith("it is full. The old one is untouched")
    assert len(world.copiers) == 1


async def test_a_pause_stops_copying_and_it_begins_anew(
    world: World, source: Source, autojump_clock: Any
) -> None:
    async with running(world) as job:
        job.work.is_paused = True
        await until(lambda: world.copiers[0].is_stopped)
        await trio.sleep(60)
        assert len(world.copiers) == 1
        job.work.is_paused = False
        await until(lambda: len(world.copiers) == 2)
        job.work.is_aborted = True


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (standalone(skew=2.0), "the clocks of old:1 and 10.0.0.1:7000 are 2.0 s apart"),
        (standalone(version="7.2.4"), "does not read what redis 7.2.4 writes"),
        (standalone(version="4.0.1"), "before 5.0"),
        (standalone(modules=frozenset({"ReJSON"})), "lacks the module ReJSON"),
        (
            Found(Kind.STANDALONE, (FoundShard(OURS),), {OURS: facts(OURS)}),
            "is a node of the cluster itself",
        ),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_copied(
    world: World, source: Source, found: Found, why: str, autojump_clock: Any
) -> None:
    source.found = found
    job = Run(world)
    await job()
    assert why in job.why
    assert not world.copiers
    with pytest.raises(JobError, match=why):
        await ImportWorker(world.means).plan(Desk(), WANTS)


async def test_a_cluster_with_keys_is_refused_but_not_to_the_next_leader(
    world: World, source: Source, autojump_clock: Any
) -> None:
    world.engines.keys = {7000: 3}
    job = Run(world)
    await job()
    assert "the cluster is not empty" in job.why
    async with running(world, {"began": True}) as job:
        job.work.is_aborted = True


async def test_functions_go_to_every_shard(world: World, source: Source, autojump_clock: Any) -> None:
    class Old:
        async def __aenter__(self) -> Any:
            return world.engines

        async def __aexit__(self, *_: object) -> None:
            return None

    job = Run(world, {"functions": True})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shardproxy.importing.access.Access.links", lambda _: Old())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(job)
            await until(lambda: world.copiers)
            job.work.is_aborted = True
    assert [(str(node), *words[:2]) for node, *words in world.engines.requests] == [
        ("old:1", "FUNCTION", "DUMP"),
        ("10.0.0.1:7000", "FUNCTION", "RESTORE"),
        ("10.0.0.1:7001", "FUNCTION", "RESTORE"),
    ]


async def test_a_password_in_the_url_is_refused_and_not_told(world: World) -> None:
    with pytest.raises(JobError, match="password_file") as refused:
        await ImportWorker(world.means).plan(Desk(), {"url": "redis://eve:hush@old"})
    assert "hush" not in str(refused.value)


async def test_a_plan_says_what_would_be_done(world: World, source: Source) -> None:
    source.found = standalone(REPLICA, keys=7)
    plan = await ImportWorker(world.means).plan(Desk(), WANTS)
    assert plan["lines"][0].startswith("import redis://old:1: standalone of one shard, redis 7.0.15, 7 keys")
    assert "read from old:2" in plan["lines"]
    assert not world.copiers


async def test_the_plan_of_an_import_that_follows_says_what_it_keeps_from_being_made(
    world: World, source: Source
) -> None:
    source.found = standalone(REPLICA, keys=7)
    plan = await ImportWorker(world.means).plan(Desk(), {**WANTS, "follow": True})
    assert "no backup of the cluster is made until then: one job at a time" in plan["lines"]
    plan = await ImportWorker(world.means).plan(Desk(), {**WANTS, "follow": False})
    assert not any("no backup" in line for line in plan["lines"])
