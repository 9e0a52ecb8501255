"""RDB files restored into other shards: each key once, as it was, to the millisecond."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio
from redis.crc import key_slot

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import SlotRange
from shardproxy.replication.interface import CopyError, End, LoadPlan, LoadStatus, SnapshotPhase, Target
from shardproxy.replication.loader import EngineLoader, loader
from shardproxy.replication.snapshot import snapshot
from tests.fixtures.contents import LIBRARY, every_type, held, pipeline
from tests.fixtures.engines import StartFleet

SOON = 60.0  # seconds
SLOTS = 16384
SLOT_OF_HELLO = 866


def nodes_of(fleet: Fleet) -> list[RedisNode]:
    return [shard.primary for shard in fleet.shards if isinstance(shard.primary, RedisNode)]


def spread(count: int) -> list[tuple[SlotRange, ...]]:
    """All slots, shared by so many."""
    bounds = [n * SLOTS // count for n in range(count + 1)]
    return [(SlotRange(first, end - 1),) for first, end in itertools.pairwise(bounds)]


def targets(nodes: Sequence[RedisNode]) -> tuple[Target, ...]:
    shares = spread(len(nodes))
    return tuple(Target(slots, End(node.address)) for slots, node in zip(shares, nodes, strict=True))


async def saved(nodes: Sequence[RedisNode], directory: Path) -> tuple[Path, ...]:
    paths = tuple(directory / f"{len(nodes)}-{number}.rdb" for number in range(len(nodes)))
    for node, path in zip(nodes, paths, strict=True):
        async with snapshot(End(node.address), path) as one:
            with trio.fail_after(SOON):
                await one.wait(SnapshotPhase.DONE)
    return paths


async def loaded(plan: LoadPlan) -> LoadStatus:
    async with loader(plan) as one:
        with trio.fail_after(SOON):
            return await one.wait()


async def until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(SOON):
        while not is_so():  # noqa: ASYNC110  # of another process
            await trio.sleep(0.002)


@pytest.fixture
def one(start_fleet: StartFleet) -> RedisNode:
    return nodes_of(start_fleet(shards=1, replicas=0))[0]


async def test_every_type_goes_from_one_shard_to_three_to_two(
    start_fleet: StartFleet, one: RedisNode, tmp_path: Path
) -> None:
    pipeline(one, every_type())
    before = held([one])
    three = nodes_of(start_fleet(shards=3, replicas=0))
    two = nodes_of(start_fleet(shards=2, replicas=0))
    files = await saved([one], tmp_path)
    status = await loaded(LoadPlan(files, targets(three)))
    assert (status.keys, status.functions, status.leftovers, status.expired) == (len(before), 1, 0, 0)
    assert status.bytes == status.total == sum(path.stat().st_size for path in files)
    assert status.position == (1, 0)
    assert held(three) == before
    assert all(LIBRARY in node.ask("FUNCTION", "LIST", "WITHCODE")[0] for node in three)
    assert all(node.ask("DBSIZE") > 0 for node in three)
    files = await saved(three, tmp_path)
    owned = tuple(spread(3))
    status = await loaded(LoadPlan(files, targets(two), owned))
    assert (status.keys, status.functions, status.leftovers) == (len(before), 1, 0)
    assert held(two) == before
    assert two[0].ask("FCALL", "answer", 0) == 42


async def test_leftovers_expired_and_unmatched_keys_are_skipped(
    start_fleet: StartFleet, one: RedisNode, tmp_path: Path
) -> None:
    pipeline(one, [("SET", "foo", 1), ("SET", "a:foo", 1), ("SET", "hello", 1), ("SET", "a:hello", 1)])
    pipeline(one, [("SET", "a:gone", 1, "PX", 1500), ("SET", "a:late", 1, "PX", 3_600_000)])
    expires = one.ask("PEXPIRETIME", "a:late")
    files = await saved([one], tmp_path)
    await until(lambda: not one.ask("EXISTS", "a:gone"))
    target = nodes_of(start_fleet(shards=1, replicas=0))[0]
    owned = ((SlotRange(0, SLOT_OF_HELLO - 1), SlotRange(SLOT_OF_HELLO + 1, SLOTS - 1)),)
    status = await loaded(LoadPlan(files, targets([target]), owned, match="a:*"))
    assert (status.leftovers, status.unmatched, status.expired, status.keys) == (1, 1, 1, 3)
    assert sorted(target.ask("KEYS", "*")) == [b"a:foo", b"a:hello", b"a:late"]
    assert target.ask("PEXPIRETIME", "a:late") == expires


async def test_a_key_that_is_there_ends_it_or_is_replaced(
    start_fleet: StartFleet, one: RedisNode, tmp_path: Path
) -> None:
    pipeline(one, [("SET", "key", "restored"), ("FUNCTION", "LOAD", LIBRARY)])
    files = await saved([one], tmp_path)
    target = nodes_of(start_fleet(shards=1, replicas=0))[0]
    target.ask("SET", "key", "precious")
    plan = LoadPlan(files, targets([target]))
    with pytest.raises(CopyError, match='"key" is there already'):
        await loaded(plan)
    assert target.ask("GET", "key") == b"precious"
    with pytest.raises(CopyError, match="there already"):  # and not its library, which is the same
        await loaded(plan)
    status = await loaded(LoadPlan(files, targets([target]), replaces=True))
    assert (status.keys, target.ask("GET", "key")) == (1, b"restored")
    target.ask("FLUSHALL")
    target.ask("FUNCTION", "LOAD", "REPLACE", LIBRARY.replace(b"42", b"43"))
    with pytest.raises(CopyError, match="it is another"):
        await loaded(plan)
    assert target.ask("DBSIZE") == 0
    status = await loaded(LoadPlan(files, targets([target]), functions=False))
    assert (status.keys, status.functions, target.ask("FCALL", "answer", 0)) == (1, 0, 43)


async def test_one_that_was_interrupted_goes_on(
    start_fleet: StartFleet, one: RedisNode, tmp_path: Path
) -> None:
    count = 60_000
    pipeline(one, [("SET", f"key-{n}", f"value-{n}") for n in range(count)])
    before = held([one])
    two = nodes_of(start_fleet(shards=2, replicas=0))
    files = await saved([one], tmp_path)
    plan = LoadPlan(files, targets(two))
    async with loader(plan) as first:
        await until(lambda: first.status.keys >= count // 10)
        await first.stop()
        status = first.status
    assert status.is_over
    assert 0 < status.positions[0] < status.total
    assert status.position == (0, status.positions[0])
    with pytest.raises(CopyError, match="told to stop"):
        await first.wait()
    older = list(before.keys() - held(two).keys())[:100]
    assert older, "it was through: give it more keys"
    for key in older:
        two[key_slot(key) >= 8192].ask("SET", key.decode(), "older")
    last = await loaded(LoadPlan(files, targets(two), positions=status.positions))
    assert last.keys < count  # it did not begin anew
    assert status.keys + last.keys >= count
    assert held(two) == before


async def test_one_whose_target_died_goes_on(start_fleet: StartFleet, one: RedisNode, tmp_path: Path) -> None:
    count = 60_000
    pipeline(one, [("SET", f"key-{n}", f"value-{n}") for n in range(count)])
    before = held([one])
    files = await saved([one], tmp_path)
    fleet = start_fleet(shards=2, replicas=0, args=("--appendonly", "yes", "--appendfsync", "always"))
    two = nodes_of(fleet)
    async with loader(LoadPlan(files, targets(two))) as first:
        await until(lambda: first.status.keys >= count // 10)
        two[1].kill()
        with trio.fail_after(SOON), pytest.raises(CopyError, match=str(two[1].address)):
            await first.wait()
    two[1].restart()
    last = await loaded(LoadPlan(files, targets(two), positions=first.status.positions))
    assert last.is_over
    assert held(two) == before


async def test_a_full_target_is_named(start_fleet: StartFleet, one: RedisNode, tmp_path: Path) -> None:
    pipeline(one, [("SET", f"key-{n}", os.urandom(1000)) for n in range(5000)])
    files = await saved([one], tmp_path)
    target = nodes_of(start_fleet(shards=1, replicas=0, args=("--maxmemory", "3mb")))[0]
    with pytest.raises(CopyError, match="is full at the key"):
        await loaded(LoadPlan(files, targets([target])))


async def test_databases_go_into_one_shard_only(
    start_fleet: StartFleet, one: RedisNode, tmp_path: Path
) -> None:
    pipeline(one, [("SET", "key", 0), ("SELECT", 3), ("SET", "key", 3), ("SELECT", 9), ("SADD", "set", 1)])
    before = {number: held([one], number) for number in (0, 3, 9)}
    files = await saved([one], tmp_path)
    two = nodes_of(start_fleet(shards=2, replicas=0))
    with pytest.raises(CopyError, match="database 3"):
        await loaded(LoadPlan(files, targets(two)))
    with pytest.raises(CopyError, match="one shard"):
        EngineLoader(LoadPlan(files, targets(two), database=None))
    two[0].ask("FLUSHALL")
    await loaded(LoadPlan(files, targets(two[:1]), database=None))
    assert {number: held(two[:1], number) for number in (0, 3, 9)} == before


async def test_how_lately_a_key_was_used_goes_with_it(start_fleet: StartFleet, tmp_path: Path) -> None:
    policy = ("--maxmemory-policy", "allkeys-lfu", "--maxmemory", "100mb")
    source, target = (nodes_of(start_fleet(shards=1, replicas=0, args=policy))[0] for _ in range(2))
    source.ask("SET", "key", 1)
    pipeline(source, [("GET", "key")] * 1000)
    files = await saved([source], tmp_path)
    await loaded(LoadPlan(files, targets([target])))
    often = source.ask("OBJECT", "FREQ", "key")
    assert often > 5
    assert abs(target.ask("OBJECT", "FREQ", "key") - often) <= 2


async def test_a_large_value_goes_in_one_piece(
    start_fleet: StartFleet, one: RedisNode, tmp_path: Path
) -> None:
    value = os.urandom(1 << 20) * 24
    one.ask("SET", "big", value, timeout=30)
    pipeline(one, [("SET", f"key-{n}", n) for n in range(100)])
    files = await saved([one], tmp_path)
    target = nodes_of(start_fleet(shards=1, replicas=0))[0]
    assert (await loaded(LoadPlan(files, targets([target])))).keys == 101
    assert target.ask("GET", "big", timeout=30) == value
    target.ask("FLUSHALL")
    target.ask("CONFIG", "SET", "proto-max-bulk-len", 20 << 20)
    with pytest.raises(CopyError, match=r'"big" has.*raise its proto-max-bulk-len'):
        await loaded(LoadPlan(files, targets([target])))


async def test_several_files_are_read_at_once_and_one_library_is_loaded_once(
    start_fleet: StartFleet, tmp_path: Path
) -> None:
    five = nodes_of(start_fleet(shards=5, replicas=0))
    shares = spread(5)
    keys = [f"key-{n}" for n in range(5000)]
    for node, (share,) in zip(five, shares, strict=True):
        mine = [key for key in keys if share.first <= slot_of(key) <= share.last]
        pipeline(node, [("FUNCTION", "LOAD", LIBRARY), *(("RPUSH", key, key, 1) for key in mine)])
    before = held(five)
    assert len(before) == len(keys)
    files = await saved(five, tmp_path)
    two = nodes_of(start_fleet(shards=2, replicas=0))
    status = await loaded(LoadPlan(files, targets(two), tuple(shares)))
    assert (status.keys, status.functions, status.position) == (len(keys), 1, (5, 0))
    assert held(two) == before


def slot_of(key: str) -> int:
    crc = 0
    for byte in key.encode():
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc % SLOTS


async def test_a_slot_without_a_target_is_an_error(
    start_fleet: StartFleet, one: RedisNode, tmp_path: Path
) -> None:
    one.ask("SET", "foo", 1)
    files = await saved([one], tmp_path)
    some = (Target((SlotRange(0, 12181),), End(one.address)),)
    with pytest.raises(CopyError, match="no target has the slot 12182"):
        await loaded(LoadPlan(files, some, replaces=True))
    twice = (*some, Target((SlotRange(12181, 12181),), End(one.address)))
    with pytest.raises(CopyError, match="two targets"):
        EngineLoader(LoadPlan(files, twice))


async def test_an_older_engine_is_named(start_fleet: StartFleet, one: RedisNode, tmp_path: Path) -> None:
    """As one refuses the values of a newer one: by their version."""
    one.ask("SET", "key", "value")
    (file,) = await saved([one], tmp_path)
    data = file.read_bytes()
    file.write_bytes(data[:5] + b"0079" + data[9:-8] + bytes(8))  # without a checksum
    with pytest.raises(CopyError, match="RDB version 79"):
        await loaded(LoadPlan((file,), targets([one]), replaces=True))


async def test_values_of_modules_are_not_restored(one: RedisNode, tmp_path: Path) -> None:
    module = bytes([7]) + b"\x03key" + b"\x81" + bytes([0x12] * 8) + b"\x02\x05\x00"
    path = tmp_path / "module.rdb"
    path.write_bytes(b"REDIS0010" + module + b"\xff" + bytes(8))
    with pytest.raises(CopyError, match="module type"):
        await loaded(LoadPlan((path,), targets([one])))
    assert one.ask("DBSIZE") == 0
