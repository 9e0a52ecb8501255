"""CONFIG GET shows the nodes' settings, but no secret, and nothing the proxy is not."""

from __future__ import annotations

import pytest

from shardproxy.fleet import Fleet
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import open_desk


@pytest.mark.parametrize("name", ["requirepass", "masterauth", "*auth", "*pass"])
async def test_secrets_are_not_told(start_fleet: StartFleet, name: str) -> None:
    fleet: Fleet = start_fleet(
        shards=1, replicas=0, args=["--masterauth", "hush", "--tls-key-file-pass", "hush"]
    )
    async with open_desk(fleet) as desk:
        reply = await desk.ask("CONFIG", "GET", name)
    assert b"hush" not in reply
    assert b"$0\r\n\r\n" in reply


async def test_one_database_and_the_memory_of_each_shard(fleet: Fleet) -> None:
    for shard in fleet.shards:
        shard.primary.ask("CONFIG", "SET", "maxmemory", "1mb")  # type: ignore[attr-defined]
    try:
        async with open_desk(fleet) as desk:
            reply = await desk.ask("CONFIG", "GET", "databases", "maxmemory", resp=3)
    finally:
        for shard in fleet.shards:
            shard.primary.ask("CONFIG", "SET", "maxmemory", "0")  # type: ignore[attr-defined]
    assert reply.startswith(b"%2\r\n")
    assert b"$9\r\ndatabases\r\n$1\r\n1\r\n" in reply
    assert b"$9\r\nmaxmemory\r\n$7\r\n1048576\r\n" in reply
