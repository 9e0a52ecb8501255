"""While slots move, whole-keyspace commands show each key where it is owned, and only there."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio

from shardproxy.commands import mixed
from shardproxy.fleet import Fleet, RedisNode
from shardproxy.wire.resp import Reader
from tests.fixtures.offload import CLUSTER, Desk, open_desk, topology_of


def node(fleet: Fleet, shard: int) -> RedisNode:
    primary = fleet.shards[shard].primary
    assert isinstance(primary, RedisNode)
    return primary


@asynccontextmanager
async def copied(
    fleet: Fleet, count: int, *, is_mixed: bool = True
) -> AsyncIterator[tuple[Desk, list[set[bytes]]]]:
    """Keys, each where it is owned; half of the first shard's are on the second as well, being copied.

    A third of each shard's expire.
    """
    shards = topology_of(fleet).shards
    marked = tuple(replace(shard, is_mixed=is_mixed and shard.index < 2) for shard in shards)
    async with open_desk(replace(topology_of(fleet), shards=marked)) as desk:
        keys = [b"key:%d" % number for number in range(count)]
        own: list[set[bytes]] = []
        for shard in shards:
            own.append(set(await desk.owned(CLUSTER, shard.slots, keys)))
            put(node(fleet, shard.index), sorted(own[-1]))
        put(node(fleet, 1), sorted(own[0])[::2])
        yield desk, own


def put(target: RedisNode, keys: list[bytes]) -> None:
    for at in range(0, len(keys), 500):
        some = keys[at : at + 500]
        target.ask("MSET", *(word for key in some for word in (key, b"x")))
        for key in some[::3]:
            target.ask("EXPIRE", key, 1000)


def read(raw: bytes) -> Any:
    reader = Reader()
    reader.feed(raw)
    return reader.next()


async def test_each_key_is_listed_once(fleet: Fleet) -> None:
    async with copied(fleet, 3000) as (desk, own):
        listed: list[bytes] = read(await desk.ask("KEYS", "*"))
        assert sorted(listed) == sorted(set().union(*own))
        assert sorted(read(await desk.ask("KEYS", "key:1?"))) == [b"key:1%d" % n for n in range(10)]
        cursor, found = b"0", list[bytes]()
        while True:
            cursor, some = read(await desk.ask("SCAN", cursor, "COUNT", 100))
            found += some
            if cursor == b"0":
                break
    assert sorted(found) == sorted(listed), "and none twice: the tables stand still"


async def test_a_small_shards_keys_are_counted(fleet: Fleet) -> None:
    async with copied(fleet, 3000) as (desk, own):
        assert await desk.ask("DBSIZE") == b":3000\r\n"
        info = read(await desk.ask("INFO", "keyspace", "shards")).decode()
        lines = dict(line.partition(":")[::2] for line in info.splitlines())
        counts = dict(part.split("=") for part in lines["db0"].split(","))
        assert counts["keys"] == "3000"
        assert abs(int(counts["expires"]) - 1000) < 30, "in proportion"
        for number, keys in enumerate(own):
            assert f"keys={len(keys)}," in lines[f"shard{number}"]


async def test_a_large_shards_keys_are_estimated(fleet: Fleet, monkeypatch: Any) -> None:
    monkeypatch.setattr(mixed, "COUNTED", 1000)
    async with copied(fleet, 12_000) as (desk, _):
        size = int((await desk.ask("DBSIZE"))[1:])
    assert abs(size - 12_000) < 600
    assert size != 14_000


async def test_clients_that_ask_at_once_have_it_found_out_once(fleet: Fleet) -> None:
    async with copied(fleet, 3000) as (desk, _):
        before = [node(fleet, shard).info("commandstats") for shard in (0, 1)]
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(desk.ask, "DBSIZE")
        after = [node(fleet, shard).info("commandstats") for shard in (0, 1)]
    for was, now in zip(before, after, strict=True):
        assert scans(now) - scans(was) <= 12


def scans(commands: Mapping[str, Any]) -> int:
    text = str(commands.get("cmdstat_scan", "calls=0,"))
    return int(re.findall(r"calls\D+(\d+)", text)[0])


async def test_a_shard_of_copies_is_not_looked_through_for_a_random_key(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed, "BATCH", 10)
    async with copied(fleet, 6000) as (desk, own):
        second = node(fleet, 1)
        second.ask("DEL", *sorted(own[1]))
        for number in range(2, len(own)):
            node(fleet, number).ask("FLUSHALL")
        was = scans(second.info("commandstats"))
        node(fleet, 0).ask("FLUSHALL")
        assert await desk.ask("RANDOMKEY") == b"$-1\r\n"
        assert 0 < scans(second.info("commandstats")) - was <= mixed.LOOKED
        assert int(second.ask("DBSIZE")) > 10 * mixed.LOOKED, "many more are there"


async def test_names_are_handed_over_in_parts(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed, "CHUNK", 70)
    async with copied(fleet, 3000) as (desk, own):
        assert sorted(read(await desk.ask("KEYS", "*"))) == sorted(set().union(*own))


async def test_a_random_key_is_one_of_its_owners(fleet: Fleet) -> None:
    async with copied(fleet, 300) as (desk, own):
        second = node(fleet, 1)
        second.ask("DEL", *sorted(own[1]))  # only copies are left there
        for number in range(2, len(own)):
            node(fleet, number).ask("FLUSHALL")
        seen = {read(await desk.ask("RANDOMKEY")) for _ in range(60)}
        assert seen <= own[0]
        assert len(seen) > 10
        node(fleet, 0).ask("FLUSHALL")
        assert await desk.ask("RANDOMKEY") == b"$-1\r\n"


async def test_where_nothing_moves_nobody_is_asked_twice(fleet: Fleet) -> None:
    async with copied(fleet, 300, is_mixed=False) as (desk, own):
        copies = len(own[0]) - len(own[0]) // 2
        assert await desk.ask("DBSIZE") == b":%d\r\n" % (300 + copies)
