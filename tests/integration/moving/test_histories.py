"""Numbers of other histories, and other processes at known addresses: neither is taken for what is copied."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trio

from shardproxy.fleet import EngineNode, Fleet
from shardproxy.model import Address
from shardproxy.nodes import NodeLinks
from shardproxy.replication.copier import EngineCopier
from shardproxy.replication.interface import CopyError, CopyFault, CopyPhase, CopyPlan, End, Target
from shardproxy.reshard.fence import Fence, FenceSettings, NotFencedError, identity_of
from shardproxy.reshard.flushes import flushes_of
from shardproxy.reshard.layout import Move
from shardproxy.reshard.parts import primary_of
from shardproxy.store.record import Promise
from tests.fixtures.engines import StartFleet
from tests.fixtures.replicated import wait_replicated
from tests.integration.moving.engines import (
    HALF,
    contents,
    differences,
    end,
    place,
    plan,
    reached,
    redis,
    until,
)
from tests.unit.reshard.world import FakeDesk, World, key_of, slot_of

SOON = 0.3  # seconds: long enough to hear of what there is, and it is no failure to hear of nothing
LONG = 30.0
# a ping is of a primary's history too: who hears one after another has been promoted has gone another way
SILENT = ["--repl-ping-replica-period", "3600"]


@asynccontextmanager
async def copying(copy: CopyPlan) -> AsyncIterator[EngineCopier]:
    copier = EngineCopier.start(copy)
    try:
        yield copier
    finally:
        await copier.stop()


@pytest.fixture
def shards(start_fleet: StartFleet) -> Fleet:
    """A source with two replicas; the primary of the other shard is the target."""
    return start_fleet(shards=2, replicas=2, args=["--repl-diskless-sync-delay", "0", "--save", "", *SILENT])


def fill(node: EngineNode, name: str, count: int = 2000) -> None:
    script = "for n = 1, ARGV[2] do redis.call('SET', ARGV[1] .. n, string.rep('x', n % 100)) end"
    redis(node).ask("EVAL", script, 0, name, count)


def run_id(node: EngineNode) -> str:
    return str(redis(node).info("server")["run_id"])


def exact(node: EngineNode) -> End:
    return replace(end(node), process=run_id(node))


def assert_same(source: EngineNode, target: EngineNode) -> None:
    assert contents(source, HALF)
    assert differences(contents(source, HALF), contents(target, HALF)) == []


async def refused(copier: EngineCopier, at: tuple[int, str], within: float = SOON) -> str:
    with pytest.raises(CopyError) as error:
        await copier.reach(*at, within=within)
    assert error.value.fault is CopyFault.LATE
    return str(error.value)


async def promoted(old: EngineNode, new: EngineNode, others: Iterable[EngineNode] = ()) -> None:
    """The new one leads; the old one goes on alone, as one that is cut off."""
    wait_replicated(old, new, *others)
    redis(new).ask("REPLICAOF", "NO", "ONE")
    for other in others:
        redis(other).ask("REPLICAOF", new.address.host, new.address.port)


async def test_a_number_of_the_former_history_is_not_reached(shards: Fleet) -> None:
    source, target = shards.shards
    old, new = source.primary, source.replicas[0]
    fill(old, "both:")
    async with copying(plan([new], (HALF, target.primary))) as copier:
        await copier.wait_close()
        await promoted(old, new)
        shared = await place(old)
        fill(old, "lost:", 100)
        fill(new, "kept:")
        former, now = await place(old), await place(new)
        assert shared[1] == former[1] != now[1]
        assert shared[0] < former[0] < now[0], "its number is one that the copy has passed"
        await copier.reach(*now, within=LONG)
        assert "another history" in await refused(copier, former)
        await copier.reach(*shared, within=LONG)  # up to there both are the same
        assert copier.status.replid == now[1]
        assert copier.status.passes == 1
    assert_same(new, target.primary)


async def test_what_is_read_of_a_replica_is_of_its_new_primarys_history_soon(shards: Fleet) -> None:
    source, target = shards.shards
    new, other = source.replicas
    fill(source.primary, "both:")
    async with copying(plan([other], (HALF, target.primary))) as copier:
        await copier.wait_close()
        await promoted(source.primary, new, [other])
        fill(new, "kept:")
        now = await place(new)
        await copier.reach(*now, within=LONG)
        assert copier.status.replid == now[1]
        assert copier.status.passes == 1, "it is the same history, by another name"
    assert_same(new, target.primary)


@dataclass(frozen=True)
class Engines:
    nodes: NodeLinks
    families: tuple[tuple[str, str], ...] = ()

    def end_of(self, address: Address) -> End:
        return End(address)

    def slot_of(self, key: bytes) -> int:
        return slot_of(key)


def recorded(world: World, shard: int, primary: EngineNode, epoch: int = 1) -> None:
    """Who the primary is, on record; no replica has to confirm."""
    record = world.records[key_of(shard)]
    world.records[key_of(shard)] = replace(
        record, primary=primary.address, run_id=run_id(primary), epoch=epoch, promise=Promise(frozenset())
    )


async def test_a_fence_does_not_take_the_number_of_who_led_before(shards: Fleet) -> None:
    """Who is still on record is cut off, while the copy has passed its number in the new history."""
    source, target = shards.shards
    old, new = source.primary, source.replicas[0]
    fill(old, "both:")
    world = World(2)
    recorded(world, 0, old)
    recorded(world, 1, target.primary)
    desk = FakeDesk(world)
    move = Move(key_of(0), key_of(1), (HALF,))
    async with NodeLinks() as links, copying(plan([new], (HALF, target.primary))) as copier:
        taker = world.records[key_of(1)]
        assert taker.primary is not None
        flushes = await flushes_of(links, taker.primary, taker.run_id, within=LONG)
        await copier.wait_close()
        await promoted(old, new)
        fill(old, "lost:", 100)
        fill(new, "kept:")
        await copier.reach(*await place(new), within=LONG)
        settings = FenceSettings(within=2.0)
        fence = Fence(desk, Engines(links), move, copier, identity_of(taker), flushes, settings)
        with pytest.raises(NotFencedError, match=r"another history|not within"):
            await fence.attempt()
        assert world.owner_of(HALF.first) == 0
        copier.go_on()
        recorded(world, 0, new, epoch=2)
        await copier.wait_close()
        fence = replace(fence, settings=FenceSettings(within=LONG))
        await fence.attempt()
        assert world.owner_of(HALF.first) == 1
    assert_same(new, target.primary)


async def test_nothing_is_given_to_another_process_at_the_targets_address(shards: Fleet) -> None:
    """On record is the one that was copied to."""
    source, target = shards.shards
    fill(source.primary, "both:")
    world = World(2)
    recorded(world, 0, source.primary)
    recorded(world, 1, target.primary)
    taker = world.records[key_of(1)]
    assert taker.primary is not None
    move = Move(key_of(0), key_of(1), (HALF,))
    async with NodeLinks() as links:
        engines = Engines(links)
        flushes = await flushes_of(links, taker.primary, taker.run_id, within=LONG)
        copy = replace(plan(source.replicas), targets=(Target((HALF,), primary_of(taker, engines)),))
        async with copying(copy) as copier:
            await copier.wait_close()
            target.primary.kill()
            target.primary.restart()
            settings = FenceSettings(within=2.0)
            fence = Fence(FakeDesk(world), engines, move, copier, identity_of(taker), flushes, settings)
            with pytest.raises(NotFencedError):
                await fence.attempt()
        assert world.owner_of(HALF.first) == 0
        assert not fence.is_held()
    assert redis(target.primary).ask("DBSIZE") == 0


async def test_who_rests_reaches_nothing(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary, "both:")
    async with copying(plan(source.replicas, (HALF, target.primary))) as copier:
        await copier.wait_close()
        await reached(copier, source.primary)
        await copier.rest(within=LONG)
        fill(source.primary, "meanwhile:")
        with trio.fail_after(LONG):
            assert "it rests" in await refused(copier, await place(source.primary), within=2 * LONG)
        copier.go_on()
        await reached(copier, source.primary)
        await copier.verify(within=LONG)
    assert_same(source.primary, target.primary)


async def test_another_process_at_the_targets_address_gets_nothing(shards: Fleet) -> None:
    """What was copied is gone, and whoever is there now may be anybody's."""
    source, target = shards.shards
    fill(source.primary, "both:")
    copy = replace(plan(source.replicas), targets=(Target((HALF,), exact(target.primary)),))
    async with copying(copy) as copier:
        await copier.wait_close()
        await reached(copier, source.primary)
        assert_same(source.primary, target.primary)
        for replica in target.replicas:
            replica.kill()
        target.primary.kill()
        target.primary.restart()
        await until(copier, lambda status: "another process" in status.why)
        fill(source.primary, "more:")
        await refused(copier, await place(source.primary))
        assert copier.status.phase is not CopyPhase.FAILED
    assert redis(target.primary).ask("DBSIZE") == 0


async def test_another_process_at_the_sources_address_is_not_read(shards: Fleet) -> None:
    """It is empty: what the target has would be taken back, for nothing."""
    source, target = shards.shards
    for replica in source.replicas:
        replica.kill()
    fill(source.primary, "both:")
    had = contents(source.primary, HALF)
    copy = replace(plan([], (HALF, target.primary)), sources=(exact(source.primary),))
    async with copying(copy) as copier:
        await copier.wait_close()
        before = await place(source.primary)
        source.primary.kill()
        source.primary.restart()
        await until(copier, lambda status: "another process" in status.why)
        await copier.reach(*before, within=LONG)
        await refused(copier, (0, (await place(source.primary))[1]))
        assert copier.status.passes == 1
        assert contents(target.primary, HALF) == had
        await copier.sources([exact(source.primary)])  # so its shard is what that has
        await until(copier, lambda status: status.passes == 2)
        await copier.wait_close()
        await reached(copier, source.primary)
    assert contents(target.primary, HALF) == {}


async def test_a_primary_at_a_replicas_address_is_not_read(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary, "both:")
    stranger, *_ = source.replicas
    redis(stranger).ask("REPLICAOF", "NO", "ONE")
    redis(stranger).ask("FLUSHALL")
    copy = replace(plan([], (HALF, target.primary)), sources=(end(stranger), exact(source.primary)))
    async with copying(copy) as copier:
        await copier.wait_close()
        await reached(copier, source.primary)
        assert copier.status.source == source.primary.address
    assert_same(source.primary, target.primary)
