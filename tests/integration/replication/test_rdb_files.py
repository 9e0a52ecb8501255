"""Files that other engines wrote: read whole, and restored where the engine at hand can read their values."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from shardproxy.fleet import RedisNode
from shardproxy.model import SlotRange
from shardproxy.replication.interface import CopyError, End, LoadPlan, Target
from shardproxy.replication.loader import loader
from shardproxy.replication.rdb import rdb_read
from tests.fixtures.contents import held
from tests.fixtures.engines import StartFleet

FILES = Path(__file__).parents[2] / "fixtures" / "rdb"
TYPES = {"string": 7, "list": 3, "set": 3, "zset": 2, "hash": 2, "stream": 1}


@pytest.mark.parametrize(
    ("name", "engine", "version", "functions"),
    [
        ("redis-6.2", "redis 6.2.14", 9, 0),
        ("redis-8.2", "redis 8.2.3", 12, 1),
        ("valkey-9.1", "valkey 9.1.2", 80, 1),
    ],
)
async def test_what_other_engines_wrote_is_read(name: str, engine: str, version: int, functions: int) -> None:
    found = await rdb_read(FILES / f"{name}.rdb")
    assert (found.engine, found.version, found.functions) == (engine, version, functions)
    assert (found.types, found.databases, found.is_checked) == (TYPES, (0, 3), True)
    assert found.keys == sum(TYPES.values()) == sum(found.keys_per_slot.values())
    assert found.expires == 1


def plan_for(name: str, node: RedisNode) -> LoadPlan:
    everything = (SlotRange(0, 16383),)
    return LoadPlan((FILES / f"{name}.rdb",), (Target(everything, End(node.address)),), database=None)


async def test_an_older_engines_file_is_restored(start_fleet: StartFleet) -> None:
    node = start_fleet(shards=1, replicas=0).shards[0].primary
    assert isinstance(node, RedisNode)
    async with loader(plan_for("redis-6.2", node)) as one:
        with trio.fail_after(20):
            assert (await one.wait()).keys == sum(TYPES.values())
    there = held([node])
    assert len(there) + len(held([node], 3)) == sum(TYPES.values())
    assert there[b"int16"][-1] == b"-3000"
    assert there[b"packed"][-1] == b"again and " * 50
    assert there[b"plain nodes"][-1] == [b"y" * 9000, b"z"]
    assert there[b"zset"][-1] == [b"b", b"-inf", b"a", b"1.5"]
    assert len(there[b"large hash"][-1]) == 20
    assert there[b"stream"][-1][b"length"] == 18


async def test_values_of_a_newer_engine_are_refused_by_their_version(
    start_fleet: StartFleet,
) -> None:
    node = start_fleet(shards=1, replicas=0).shards[0].primary
    assert isinstance(node, RedisNode)
    if node.info("server")["redis_version"] >= "8.2" or "valkey_version" in node.info("server"):
        pytest.skip("the engine at hand reads them")
    for name, version in (("redis-8.2", 12), ("valkey-9.1", 80)):
        async with loader(plan_for(name, node)) as one:
            with trio.fail_after(20), pytest.raises(CopyError, match=f"RDB version {version}"):
                await one.wait()
    assert node.ask("DBSIZE") == 0
