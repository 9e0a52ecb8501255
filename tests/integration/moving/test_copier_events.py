"""What happens while keys are copied: nothing of it loses a key, doubles one or leaves one behind."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import redis as client
import trio

from shardproxy.fleet import EngineNode, Fleet
from shardproxy.model import Address, SlotRange
from shardproxy.replication.copier import EngineCopier
from shardproxy.replication.interface import (
    CopyDiffersError,
    CopyError,
    CopyFault,
    CopyPhase,
    CopyPlan,
    End,
    Target,
)
from tests.fixtures.engines import StartFleet
from tests.fixtures.relay import Relay
from tests.fixtures.replicated import wait_replicated
from tests.integration.moving.engines import (
    ALL,
    HALF,
    contents,
    differences,
    plan,
    reached,
    redis,
    until,
)
from tests.integration.moving.forger import Forger
from tests.integration.moving.traffic import writing

NAMES_WITHIN = 120.0  # seconds; in half of it all names are compared too, or none, on a busy machine
FAST = ["--repl-diskless-sync-delay", "0", "--save", ""]


@asynccontextmanager
async def copying(copy: CopyPlan) -> AsyncIterator[EngineCopier]:
    copier = EngineCopier.start(copy)
    try:
        yield copier
    finally:
        await copier.stop()


def fill(node: EngineNode, count: int = 20_000, name: str = "still") -> None:
    """Keys of some size that nobody changes."""
    script = "for n = 1, ARGV[1] do redis.call('SET', ARGV[2] .. ':' .. n, string.rep('x', n % 100)) end"
    redis(node).ask("EVAL", script, 0, count, name)


def check(source: EngineNode, target: EngineNode) -> int:
    """Both have the same of the slots; how many keys."""
    ours, theirs = contents(source, HALF), contents(target, HALF)
    wrong = differences(ours, theirs)
    assert not wrong, [(key, ours.get(key), theirs.get(key)) for key in wrong[:3]]
    return len(ours)


@pytest.fixture
def shards(start_fleet: StartFleet) -> Fleet:
    """A source with a replica, and a target."""
    return start_fleet(shards=2, replicas=1, args=FAST)


async def write_for(seconds: float) -> None:
    await trio.sleep(seconds)


async def test_nothing_is_lost_of_what_is_written_meanwhile(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary)
    wait_replicated(source.primary, *source.replicas)
    big = [word for n in range(100_000) for word in (n, f"member-{n}")]
    redis(source.primary).ask("ZADD", "ranking", *big)  # slot 8064: it is copied
    with writing(source.primary) as traffic:
        async with copying(plan(source.replicas, (HALF, target.primary))) as copier:
            await copier.wait_close()
            await write_for(3)
            await copier.wait_close()
            traffic.stop()
            before = trio.current_time()
            await reached(copier, source.primary)
            pause = trio.current_time() - before
            await copier.verify(within=10)
            status = copier.status
    assert traffic.written > 100
    assert check(source.primary, target.primary) > 5000
    assert status.shipped > 0, "of what is large the commands are sent on"
    assert status.passes == 1
    assert pause < 5


async def test_a_mark_that_is_lost_is_seen(shards: Fleet) -> None:
    """The checks of these tests see what they are for: of the stream one key in 100 is forged."""
    source, target = shards.shards
    fill(source.primary, 1000)
    wait_replicated(source.primary, *source.replicas)
    forger = Forger(redis(source.replicas[0]).port, every=100)
    async with trio.open_nursery() as nursery:
        await nursery.start(forger.run)
        copy = plan([], (HALF, target.primary))
        copy = CopyPlan(sources=(forger.end,), targets=copy.targets)
        with writing(source.primary) as traffic:
            async with copying(copy) as copier:
                await copier.wait_close()
                await write_for(3)
                traffic.stop()
                await reached(copier, source.primary)
        nursery.cancel_scope.cancel()
    assert forger.forged > 10
    assert len(differences(contents(source.primary, HALF), contents(target.primary, HALF))) > 3


async def test_all_is_compared_while_everything_changes(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary)
    wait_replicated(source.primary, *source.replicas)
    with writing(source.primary) as traffic:
        async with copying(plan(source.replicas, (HALF, target.primary))) as copier:
            await copier.wait_close()
            for _ in range(3):
                before = traffic.written
                compared = await copier.compare(within=60)
                assert compared > 8_000
                assert traffic.written > before
            await copier.wait_close()
            traffic.stop()
            await reached(copier, source.primary)
            await copier.verify(within=10)
    assert check(source.primary, target.primary) > 5000


async def test_a_mark_in_300_that_is_lost_is_seen_before_anybody_waits(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary, 1000)
    wait_replicated(source.primary, *source.replicas)
    forger = Forger(redis(source.replicas[0]).port, every=300)
    async with trio.open_nursery() as nursery:
        await nursery.start(forger.run)
        copy = replace(plan([], (HALF, target.primary)), sources=(forger.end,))
        with writing(source.primary):
            async with copying(copy) as copier:
                await copier.wait_close()
                await write_for(1)
                fill(source.primary, 6000, "once")  # no later change makes up for what of these is lost
                wait_replicated(source.primary, *source.replicas)
                with pytest.raises(CopyDiffersError, match="differs between source and target"):
                    await copier.compare(within=30)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (("DEL", "{bar}text"), "whether it is there"),
        (("SET", "{bar}extra", "x"), "only the target has it"),
        (("SET", "{bar}text", "y"), "its value"),
        (("PERSIST", "{bar}ends"), "when it ends"),
        (("HSET", "{bar}hash", "f1", "other"), "its value"),
        (("RPUSH", "{bar}large", "x"), "its size"),
    ],
)
async def test_each_difference_is_found_by_comparing_all(
    shards: Fleet, wrong: tuple[str, ...], what: str
) -> None:
    source, target = shards.shards
    ask = redis(source.primary).ask
    ask("SET", "{bar}text", "x")
    ask("SET", "{bar}ends", "x", "PX", "600000")
    ask("HSET", "{bar}hash", "f1", "1", "f2", "2")
    ask("RPUSH", "{bar}large", *("x" * 100 for _ in range(1000)))
    fill(source.primary, 3000)
    wait_replicated(source.primary, *source.replicas)
    async with copying(plan(source.replicas, (HALF, target.primary))) as copier:
        await copier.wait_close()
        await reached(copier, source.primary)
        assert await copier.compare(within=30) > 1000
        redis(target.primary).ask(*wrong)
        with pytest.raises(CopyDiffersError, match=f"{wrong[1]} differs between source and target: .*{what}"):
            await copier.compare(within=30)


async def test_a_comparison_begins_anew_with_another_source(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary, 30_000)
    wait_replicated(source.primary, *source.replicas)
    compared: list[int] = []
    async with copying(plan(source.nodes[::-1], (HALF, target.primary))) as copier:
        await copier.wait_close()

        async def compare() -> None:
            compared.append(await copier.compare(within=60))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(compare)
            await until(copier, lambda status: status.compared > 100)
            source.replicas[0].kill()
        status = copier.status
    assert compared[0] > 14_000
    assert status.source == source.primary.address


async def test_a_switchover_of_the_source_is_survived(shards: Fleet) -> None:
    source, target = shards.shards
    (replica,) = source.replicas
    fill(source.primary)
    wait_replicated(source.primary, *source.replicas)
    with writing(source.primary) as traffic:
        async with copying(plan(source.nodes[::-1], (HALF, target.primary))) as copier:
            await copier.wait_close()
            redis(source.primary).ask("FAILOVER", "TO", replica.address.host, redis(replica).port)
            with trio.fail_after(20):
                while redis(replica).info("replication")["role"] != "master":  # noqa: ASYNC110
                    await trio.sleep(0.01)
            traffic.primary = replica
            before = traffic.written
            await write_for(2)
            status = await until(copier, lambda status: status.source == source.primary.address)
            traffic.stop()
            await reached(copier, replica)
    assert traffic.written > before + 20
    assert check(replica, target.primary) > 5000
    assert status.resumed >= 1
    assert copier.status.passes == 1


async def test_a_replica_that_dies_is_left_for_the_primary_and_goes_on(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary)
    wait_replicated(source.primary, *source.replicas)
    with writing(source.primary) as traffic:
        async with copying(plan(source.nodes[::-1], (HALF, target.primary), rate=300_000)) as copier:
            await until(copier, lambda status: status.scanned > 300)
            source.replicas[0].kill()
            await until(copier, lambda status: status.source_is_primary)
            await copier.wait_close()
            traffic.stop()
            await reached(copier, source.primary)
            status = copier.status
    assert check(source.primary, target.primary) > 5000
    assert status.resumed == 1
    assert status.passes == 2, "a cursor of another process means nothing"


async def test_a_target_that_lost_all_gets_all_again(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary)
    wait_replicated(source.primary, *source.replicas)
    with writing(source.primary) as traffic:
        async with copying(plan(source.replicas, (HALF, target.primary))) as copier:
            await copier.wait_close()
            target.primary.kill()
            target.primary.restart()
            await until(copier, lambda status: status.passes == 2)
            await copier.wait_close()
            traffic.stop()
            await reached(copier, source.primary)
    assert check(source.primary, target.primary) > 5000


async def test_a_connection_that_breaks_costs_nothing_else(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary)
    wait_replicated(source.primary, *source.replicas)
    relays = [Relay(redis(node).port) for node in (source.replicas[0], target.primary)]
    async with trio.open_nursery() as nursery:
        for relay in relays:
            await nursery.start(relay.run)
        copy = plan(source.replicas, (HALF, target.primary))
        with writing(source.primary) as traffic:
            async with copying(through(copy, relays)) as copier:
                for relay in relays * 3:
                    await until(copier, lambda status: status.keys > 300 and not status.why)
                    relay.cut()
                    await until(copier, lambda status: bool(status.why))
                    relay.heal()
                await copier.wait_close()
                traffic.stop()
                await reached(copier, source.primary)
                status = copier.status
        nursery.cancel_scope.cancel()
    assert check(source.primary, target.primary) > 5000
    assert status.passes == 1
    assert status.resumed >= 3


def through(copy: CopyPlan, relays: list[Relay]) -> CopyPlan:
    source, target = (End(Address("127.0.0.1", relay.port)) for relay in relays)
    return CopyPlan(sources=(source,), targets=(Target(copy.targets[0].slots, target),))


async def test_a_history_that_is_lost_begins_anew(shards: Fleet) -> None:
    source, target = shards.shards
    (replica,) = source.replicas
    redis(replica).ask("CONFIG", "SET", "repl-backlog-size", 16384)
    fill(source.primary, 2000)
    wait_replicated(source.primary, *source.replicas)
    relay = Relay(redis(replica).port)
    async with trio.open_nursery() as nursery:
        await nursery.start(relay.run)
        through_target = Relay(redis(target.primary).port)
        await nursery.start(through_target.run)
        copy = through(plan([replica], (HALF, target.primary)), [relay, through_target])
        async with copying(copy) as copier:
            await copier.wait_close()
            relay.cut()
            await until(copier, lambda status: bool(status.why))
            redis(source.primary).ask("DEL", *(f"still:{n}" for n in range(1, 1000)))
            fill(source.primary, 900)
            redis(source.primary).ask("SET", "filler", "x" * 100_000)
            relay.heal()
            await until(copier, lambda status: status.passes == 2)
            await copier.wait_close()
            await reached(copier, source.primary)
        nursery.cancel_scope.cancel()
    assert check(source.primary, target.primary) > 500


async def test_an_emptied_source_empties_the_slots_of_the_target(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary)
    wait_replicated(source.primary, *source.replicas)
    redis(target.primary).ask("SET", "{foo}own", "stays")
    async with copying(plan(source.replicas, (HALF, target.primary))) as copier:
        await copier.wait_close()
        redis(source.primary).ask("FLUSHALL")
        redis(source.primary).ask("SET", "bar", "after")
        await until(copier, lambda status: status.passes == 2)
        await copier.wait_close()
        await reached(copier, source.primary)
    assert contents(target.primary).keys() == {b"bar", b"{foo}own"}


async def test_a_full_target_ends_it_with_the_reason(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary)
    wait_replicated(source.primary, *source.replicas)
    used = int(redis(target.primary).info("memory")["used_memory"])
    redis(target.primary).ask("CONFIG", "SET", "maxmemory", used + 200_000)  # there are 10,000 keys to come
    async with copying(plan(source.replicas, (HALF, target.primary))) as copier:
        with pytest.raises(CopyError, match=r"it is full.*OOM"):
            await copier.wait_close()
        assert copier.status.phase is CopyPhase.FAILED
        with pytest.raises(CopyError, match="it is full") as error:
            await copier.reach(0, "", within=5)
        assert error.value.fault is copier.status.fault is CopyFault.TARGET_REFUSES


async def test_a_copy_that_died_leaves_nothing_that_the_source_lacks(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary)
    wait_replicated(source.primary, *source.replicas)
    async with copying(plan(source.replicas, (HALF, target.primary))) as copier:
        await until(copier, lambda status: status.keys > 2000)
    redis(source.primary).ask("DEL", *(f"still:{n}" for n in range(1, 5000)))
    async with copying(plan(source.replicas, (HALF, target.primary))) as copier:
        await copier.wait_close()
        await reached(copier, source.primary)
        assert await copier.verify(within=NAMES_WITHIN) > 1000
    assert check(source.primary, target.primary) > 5000


async def test_verify_sees_what_is_wrong(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary, 1000)
    wait_replicated(source.primary, *source.replicas)
    ask = redis(target.primary).ask
    async with copying(plan(source.replicas, (HALF, target.primary))) as copier:
        await copier.wait_close()
        key = next(iter(contents(target.primary, HALF)))
        await copier.verify(within=NAMES_WITHIN)
        ask("DEL", key)
        with pytest.raises(CopyDiffersError, match="differs"):
            await copier.verify(within=NAMES_WITHIN)
        redis(source.primary).ask("APPEND", key, "")  # no change, and told to replicas all the same
        redis(source.primary).ask("APPEND", key, "!")
        await reached(copier, source.primary)
        await copier.verify(within=NAMES_WITHIN)
        ask("SET", "{bar}soon", "x", "PX", "900")  # as one that has ended at the source alone
        await copier.verify(within=NAMES_WITHIN)
        ask("SET", "{bar}more", "x", "PX", "60000")
        with pytest.raises(CopyError, match="only the target has it"):
            await copier.verify(within=NAMES_WITHIN)


async def test_a_reader_vouches_for_nothing(start_fleet: StartFleet) -> None:
    fleet = start_fleet(shards=2, replicas=0, args=FAST)
    source, target = (shard.primary for shard in fleet.shards)
    fill(source, 100)
    async with copying(plan([source], (HALF, target))) as copier:
        await copier.wait_close()  # by an RDB without keys: there was no backlog
        with client.Redis(source.address.host, source.address.port) as asking:
            for n in range(3):
                asking.set(f"key:{n}", "x")
                assert asking.wait(1, 1500) == 0
        info = redis(source).info("replication")
        assert info["slave0"].startswith("ip=shardproxy,port=0,state=online,offset=0,")
        assert copier.status.source_is_primary
        await reached(copier, source)
    assert check(source, target) > 10


async def test_a_primary_that_needs_replicas_is_no_source(start_fleet: StartFleet) -> None:
    fleet = start_fleet(shards=2, replicas=0, args=FAST)
    source, target = (shard.primary for shard in fleet.shards)
    redis(source).ask("CONFIG", "SET", "min-replicas-to-write", 1)
    async with copying(plan([source], (HALF, target))) as copier:
        with pytest.raises(CopyError, match="min-replicas-to-write"):
            await copier.wait_close()


async def test_a_pass_ends_by_itself(shards: Fleet) -> None:
    source, target = shards.shards
    fill(source.primary)
    wait_replicated(source.primary, *source.replicas)
    wait_replicated(source.primary, *source.replicas)  # what is read is the replica
    copy = plan(source.replicas, (ALL, target.primary), follows=False, match="still:1*")
    async with copying(copy) as copier:
        status = await until(copier, lambda status: status.phase is CopyPhase.FINISHED)
    assert status.keys == sum(str(n).startswith("1") for n in range(1, 20_001))
    assert redis(target.primary).ask("DBSIZE") == status.keys


async def test_one_database_of_several_is_copied(shards: Fleet) -> None:
    source, target = shards.shards
    for database in (0, 3):
        with client.Redis(source.primary.address.host, source.primary.address.port, db=database) as asking:
            asking.mset({f"key:{n}": f"{database}-{n}" for n in range(100)})
    async with copying(plan(source.replicas, (ALL, target.primary), database=3)) as copier:
        await copier.wait_close()
        with client.Redis(source.primary.address.host, source.primary.address.port, db=3) as asking:
            asking.mset({f"key:{n}": "changed" for n in range(50)})
            asking.move("key:99", 5)
        redis(source.primary).ask("DEL", "key:70")
        await reached(copier, source.primary)
    assert contents(target.primary, database=3) == contents(source.primary, database=3)
    assert not contents(target.primary)


async def test_keys_are_spread_over_targets(start_fleet: StartFleet) -> None:
    fleet = start_fleet(shards=4, replicas=0, args=FAST)
    source, *targets = (shard.primary for shard in fleet.shards)
    ranges = [SlotRange(0, 4999), SlotRange(5000, 9999), SlotRange(10_000, 16_383)]
    fill(source, 5000)
    with writing(source) as traffic:
        async with copying(plan([source], *zip(ranges, targets, strict=True))) as copier:
            await copier.wait_close()
            await write_for(1)
            traffic.stop()
            await reached(copier, source)
    everything = contents(source)
    for slots, target in zip(ranges, targets, strict=True):
        assert contents(target) == contents(source, slots)
    assert sum(len(contents(target)) for target in targets) == len(everything)


async def test_sliding_sessions_outlive_a_move_that_takes_longer(shards: Fleet) -> None:
    """Their copies would expire by themselves, had only the first value been copied."""
    source, target = shards.shards
    address = source.primary.address
    lasts = 1500  # milliseconds
    with client.Redis(address.host, address.port) as asking:

        def renew(lasts: int) -> None:
            pipe = asking.pipeline(transaction=False)
            for n in range(50):
                pipe.incr(f"session:{n}")
                pipe.pexpire(f"session:{n}", lasts)
            pipe.execute()

        renew(lasts)
        async with copying(plan(source.replicas, (ALL, target.primary))) as copier:
            begun = time.monotonic()
            while time.monotonic() < begun + 2 * lasts / 1000:
                renew(lasts)
                await trio.sleep(0.05)
            renew(60_000)
            await reached(copier, source.primary)
    assert len(contents(target.primary)) == 50
    assert contents(target.primary) == contents(source.primary)
