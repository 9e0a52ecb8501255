"""What a test fleet may do to its nodes through the proxy, as to one server."""

from __future__ import annotations

import pytest

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import CLUSTER, ask_engine, open_desk


@pytest.fixture(scope="module")
def open_fleet(start_fleet_for_module: StartFleet) -> Fleet:
    args = ["--enable-debug-command", "yes", "--enable-module-command", "yes"]
    return start_fleet_for_module(shards=3, replicas=0, args=args)


def nodes(fleet: Fleet) -> list[RedisNode]:
    return [shard.primary for shard in fleet.shards if isinstance(shard.primary, RedisNode)]


async def test_settings_reach_every_node(open_fleet: Fleet) -> None:
    async with open_desk(open_fleet) as desk:
        assert await desk.ask("CONFIG", "SET", "hz", 50) == b"+OK\r\n"
        assert [node.ask("CONFIG", "GET", "hz")[1] for node in nodes(open_fleet)] == [b"50"] * 3
        assert await desk.ask("CONFIG", "RESETSTAT") == b"+OK\r\n"
        assert await desk.ask("CONFIG", "SET", "maxmemory", "100mb") == b"+OK\r\n"
        assert await desk.ask("CONFIG", "GET", "maxmemory") == await ask_engine(
            nodes(open_fleet)[0], "CONFIG", "GET", "maxmemory"
        )
        assert await desk.ask("CONFIG", "SET", "maxmemory", "0") == b"+OK\r\n"
        assert await desk.ask("BGSAVE") == b"+Background saving started\r\n"


async def test_digest_is_that_of_one_server(open_fleet: Fleet, start_fleet: StartFleet) -> None:
    one = nodes(start_fleet(shards=1, replicas=0, args=["--enable-debug-command", "yes"]))[0]
    for number in range(30):
        for node in (one, nodes(open_fleet)[number % 3]):
            node.ask("RPUSH", f"list{number}", number, "x")
    async with open_desk(open_fleet) as desk:
        assert await desk.ask("DEBUG", "DIGEST") == await ask_engine(one, "DEBUG", "DIGEST")
        keys = [f"list{number}" for number in range(4)]
        values = await ask_engine(one, "DEBUG", "DIGEST-VALUE", *keys)
        await desk.ask("FLUSHALL")
        for number, key in enumerate(keys):
            shard = desk.topology.shard_of(desk.slot(CLUSTER, key.encode()))
            assert shard is not None
            nodes(open_fleet)[shard.index].ask("RPUSH", key, number, "x")
        assert await desk.ask("DEBUG", "DIGEST-VALUE", *keys) == values


@pytest.mark.parametrize(
    "line",
    [
        "CONFIG SET hz x",
        "CONFIG SET nope 1",
        "MODULE UNLOAD nope",
        "DEBUG SLEEP 0",
        "DEBUG SET-ACTIVE-EXPIRE 1",
        "DEBUG PROTOCOL verbatim",
        "DEBUG PROTOCOL map",
        "DEBUG STRINGMATCH-LEN 10 aaa",
        "DEBUG FOO",
        "DEBUG HELP",
        "DEBUG DIGEST-VALUE nope",
        "DEBUG OBJECT nope",
        "DEBUG OBJECT",
        "RESTORE-ASKING a 0 x",
        "PFDEBUG GETREG nope",
    ],
)
async def test_reply_is_an_engines(open_fleet: Fleet, line: str) -> None:
    for resp in (2, 3):
        async with open_desk(open_fleet) as desk:
            ours = await desk.ask(*line.split(), resp=resp)
        assert ours == await ask_engine(nodes(open_fleet)[0], *line.split(), resp=resp)


async def test_what_would_end_the_nodes_stays_refused(open_fleet: Fleet) -> None:
    async with open_desk(open_fleet) as desk:
        assert (await desk.ask("DEBUG", "SEGFAULT")).startswith(b"-ERR DEBUG SEGFAULT is refused")
        for kind in ("attrib", "push"):
            reply = await desk.ask("DEBUG", "PROTOCOL", kind, resp=3)
            assert reply.startswith(b"-ERR DEBUG PROTOCOL %b is refused" % kind.upper().encode())
            request = ("DEBUG", "PROTOCOL", kind)
            assert await desk.ask(*request) == await ask_engine(nodes(open_fleet)[0], *request)
    assert all(node.is_running for node in nodes(open_fleet))
