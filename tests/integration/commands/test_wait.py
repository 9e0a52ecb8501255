"""WAIT counts the replicas that have what was written before it, over all shards."""

from __future__ import annotations

import pytest
import trio

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import ask_engine, open_desk


@pytest.mark.parametrize("line", ["WAIT x 0", "WAIT 0 x", "WAIT 0 -1", "WAIT x x"])
async def test_errors_are_the_engines(fleet: Fleet, line: str) -> None:
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    async with open_desk(fleet) as desk:
        assert await desk.ask(*line.split()) == await ask_engine(node, *line.split())


async def test_writes_are_waited_for(fleet: Fleet) -> None:
    async with open_desk(fleet) as desk:
        for number in range(20):
            for shard in fleet.shards:
                shard.primary.ask("SET", "a", number)  # type: ignore[attr-defined]
            assert await desk.ask("WAIT", 1, 5000) == b":1\r\n"
            for shard in fleet.shards:
                replica = shard.replicas[0]
                assert isinstance(replica, RedisNode)
                assert replica.ask("GET", "a") == b"%d" % number
        assert await desk.ask("WAIT", 0, 0) in (b":0\r\n", b":1\r\n")  # as far as they are by now


async def test_replica_that_lags_is_not_counted(start_fleet: StartFleet) -> None:
    fleet: Fleet = start_fleet(shards=2, replicas=1)
    primary, replica = fleet.shards[1].nodes
    replica.freeze()
    primary.ask("SET", "a", "1")  # type: ignore[attr-defined]
    async with open_desk(fleet) as desk:
        assert await desk.ask("WAIT", 1, 200) == b":0\r\n"
        async with trio.open_nursery() as nursery:

            async def thaw() -> None:
                await trio.sleep(0.05)
                replica.thaw()

            nursery.start_soon(thaw)
            assert await desk.ask("WAIT", 1, 0) == b":1\r\n"


async def test_more_replicas_than_there_are_end_by_the_timeout(fleet: Fleet) -> None:
    async with open_desk(fleet) as desk:
        assert await desk.ask("WAIT", 5, 500) == b":1\r\n"
