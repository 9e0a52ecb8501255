"""Whole-keyspace commands give what one server with all the keys would."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from shardproxy.commands.keyspace import cursor_after, cursor_read
from shardproxy.fleet import Fleet, RedisNode
from shardproxy.wire.resp import Reader
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import Desk, ask_engine, open_desk


def fill(fleet: Fleet, count: int) -> set[bytes]:
    """Put keys on the shards in turn; wherever a key is, these commands find it."""
    keys = [b"key:%d" % number for number in range(count)]
    for index, shard in enumerate(fleet.shards):
        mine = keys[index :: len(fleet.shards)]
        assert isinstance(shard.primary, RedisNode)
        for i in range(0, len(mine), 500):
            shard.primary.ask("MSET", *(word for key in mine[i : i + 500] for word in (key, b"x")))
    return set(keys)


async def scan_all(desk: Desk, *options: str | int, max_steps: int = 100_000) -> list[bytes]:
    found: list[bytes] = []
    cursor = b"0"
    for _ in range(max_steps):
        reader = Reader()
        reader.feed(await desk.ask("SCAN", cursor, *options))
        reply: Any = reader.next()
        cursor, keys = reply
        found += keys
        assert int(cursor) < 1 << 53
        if cursor == b"0":
            return found
    raise AssertionError("SCAN does not end")


@pytest.mark.parametrize("options", [(), ("COUNT", 100), ("COUNT", 1000), ("MATCH", "*", "TYPE", "string")])
async def test_scan_finds_every_key(fleet: Fleet, options: tuple[str | int, ...]) -> None:
    keys = fill(fleet, 1500)
    async with open_desk(fleet) as desk:
        found = await scan_all(desk, *options)
    assert set(found) == keys
    assert len(found) == len(keys)


async def test_scan_options_are_the_engines(fleet: Fleet) -> None:
    fill(fleet, 300)
    async with open_desk(fleet) as desk:
        assert sorted(await scan_all(desk, "MATCH", "key:1?")) == [b"key:1%d" % n for n in range(10)]
        assert await scan_all(desk, "TYPE", "list") == []
        for words in ("COUNT", "COUNT 0", "COUNT x", "FOO x", "TYPE"):
            node = fleet.shards[0].primary
            assert isinstance(node, RedisNode)
            assert await desk.ask("SCAN", 0, *words.split()) == await ask_engine(
                node, "SCAN", 0, *words.split()
            )


async def test_scan_is_complete_while_keys_come_and_go(fleet: Fleet) -> None:
    """What is there from beginning to end is found, however the tables grow and shrink meanwhile."""
    keys = fill(fleet, 2000)
    node = fleet.shards[1].primary
    assert isinstance(node, RedisNode)
    async with open_desk(fleet) as desk, trio.open_nursery() as nursery:

        async def churn() -> None:
            for _ in range(1000):
                await trio.to_thread.run_sync(node.ask, "EVAL", CHURN, 0)

        nursery.start_soon(churn)
        found = await scan_all(desk, "COUNT", 5)
        nursery.cancel_scope.cancel()
    assert keys <= set(found)


CHURN = """
for i = 1, 5000 do redis.call('set', 'churn:' .. i, 'x') end
for i = 1, 5000 do redis.call('del', 'churn:' .. i) end
"""


async def test_cursor_of_more_shards_than_there_are_ends(fleet: Fleet) -> None:
    fill(fleet, 10)
    async with open_desk(fleet) as desk:
        assert (await desk.ask("SCAN", 77 << 8 | 200)).startswith(b"*2\r\n$1\r\n0\r\n")
        assert await desk.ask("SCAN", 200, "FOO", "x") == b"-ERR syntax error\r\n"


@pytest.mark.parametrize(
    ("word", "cursor"),
    [
        (b"0", 0),
        (b"", 0),
        (b"+7", 7),
        (b"-1", (1 << 64) - 1),
        (b"007", 7),
        (b"18446744073709551615", (1 << 64) - 1),
    ],
)
def test_cursor_is_read_as_redis_reads_it(word: bytes, cursor: int) -> None:
    assert cursor_read(word) == cursor


@pytest.mark.parametrize("word", ["x", "1x", "18446744073709551616", "1 ", "0x1"])
async def test_other_cursors_are_invalid(fleet: Fleet, word: str) -> None:
    async with open_desk(fleet) as desk:
        assert await desk.ask("SCAN", word) == b"-ERR invalid cursor\r\n"


def test_shards_end_leads_to_the_next_shards_start() -> None:
    assert cursor_after(5, 2, 3) == 5 << 8 | 2
    assert [cursor_after(0, position, 3) for position in range(3)] == [1, 2, 0]


@pytest.mark.parametrize("resp", [2, 3])
async def test_keys_of_all_shards_are_one_array(fleet: Fleet, resp: int) -> None:
    keys = fill(fleet, 100)
    async with open_desk(fleet) as desk:
        reader = Reader()
        reader.feed(await desk.ask("KEYS", "*", resp=resp))
        found = reader.next()
        assert isinstance(found, list)
        assert len(found) == 100
        assert set(found) == keys
        assert await desk.ask("KEYS", "nope*") == b"*0\r\n"


async def test_dbsize_randomkey_flush(fleet: Fleet) -> None:
    keys = fill(fleet, 100)
    async with open_desk(fleet) as desk:
        assert await desk.ask("DBSIZE") == b":100\r\n"
        found = {(await desk.ask("RANDOMKEY")).split(b"\r\n")[1] for _ in range(50)}
        assert found <= keys
        assert len(found) > 10
        assert await desk.ask("FLUSHALL", "nope") == b"-ERR syntax error\r\n"
        assert await desk.ask("FLUSHALL", "ASYNC") == b"+OK\r\n"
        assert await desk.ask("DBSIZE") == b":0\r\n"
        assert await desk.ask("RANDOMKEY") == b"$-1\r\n"
        fill(fleet, 10)
        assert await desk.ask("FLUSHDB") == b"+OK\r\n"
        assert await desk.ask("DBSIZE") == b":0\r\n"


async def test_database_is_the_clients(start_fleet: StartFleet) -> None:
    fleet: Fleet = start_fleet(shards=1, replicas=0)
    fill(fleet, 10)
    async with open_desk(fleet) as desk:
        assert await desk.ask("DBSIZE", db=3) == b":0\r\n"
        assert await desk.ask("FLUSHDB", db=3) == b"+OK\r\n"
        assert await desk.ask("DBSIZE") == b":10\r\n"
        assert await desk.ask("DBSIZE", db=77) == b"-ERR DB index is out of range\r\n"


@pytest.mark.parametrize("command", ["DBSIZE", "KEYS *", "FLUSHALL", "RANDOMKEY", "SCAN 1"])
async def test_shard_that_is_down_is_an_error(start_fleet: StartFleet, command: str) -> None:
    fleet: Fleet = start_fleet(shards=2, replicas=0)
    await trio.to_thread.run_sync(fleet.kill, fleet.shards[1].primary)
    async with open_desk(fleet) as desk:
        down = b"ERR shard 1: node 127.0.0.1:"
        said = b"-ERR INDOUBT executed by 1 of 2 shards: " if command == "FLUSHALL" else b"-"
        assert (await desk.ask(*command.split())).startswith(said + down)


async def test_keys_of_the_proxys_own_are_not_shown(fleet: Fleet) -> None:
    leases = [b"shardproxy:lease:{%d}:row:%d" % (number, number) for number in range(6)]
    for number, lease in enumerate(leases):
        node = fleet.shards[number % 3].primary
        assert isinstance(node, RedisNode)
        node.ask("SET", lease, "l:x")
    async with open_desk(fleet) as desk:
        assert await scan_all(desk) == []
        assert await desk.ask("KEYS", "*") == b"*0\r\n"
        assert await desk.ask("RANDOMKEY") == b"$-1\r\n"
        keys = fill(fleet, 30)
        assert set(await scan_all(desk, "COUNT", 1000)) == keys
        assert set(await scan_all(desk, "MATCH", "*:1*", "COUNT", 1000)) == {k for k in keys if b":1" in k}
        shown = Reader()
        shown.feed(await desk.ask("KEYS", "*"))
        listed: Any = shown.next()
        assert set(listed) == keys
        for _ in range(100):
            assert (await desk.ask("RANDOMKEY")).split(b"\r\n")[1] in keys
