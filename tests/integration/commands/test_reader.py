"""The reader endpoint is a replica: it reads from replicas, changes nothing, and says so."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from shardproxy.commands.info_merge import info_read
from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import Address, EndpointKind
from shardproxy.model.replication import ShardKey
from shardproxy.wire.resp import Reader
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import CLUSTER, Desk, open_desk
from tests.fixtures.proxy import wait_until

READERS = EndpointKind.READER
KEYS = {f"key{number}" for number in range(30)}
READONLY = b"-READONLY You can't write against a read only replica.\r\n"
READS = ("dbsize", "keys", "randomkey", "scan")


@pytest.fixture
def filled(fleet: Fleet) -> Fleet:
    """Ten keys on every shard, replicas included."""
    for number, key in enumerate(sorted(KEYS)):
        fleet.shards[number % 3].primary.ask("SET", key, "x")  # type: ignore[attr-defined]
    for node in fleet.nodes:
        assert isinstance(node, RedisNode)
        wait_until(lambda node=node: node.ask("DBSIZE") == 10, f"{node} has its keys")  # type: ignore[misc]
        node.ask("CONFIG", "RESETSTAT")
    return fleet


def asked(nodes: Any) -> Counter[str]:
    """How often these nodes were asked about their keys."""
    counts: Counter[str] = Counter()
    for node in nodes:
        for line in node.ask("INFO", "commandstats").decode().splitlines():
            name, _, figures = line.removeprefix("cmdstat_").partition(":calls=")
            if name in READS:
                counts[name] += int(figures.split(",")[0])
    return counts


async def value(desk: Desk, *args: str | int) -> Any:
    reader = Reader()
    reader.feed(await desk.ask(*args, endpoint=READERS))
    return reader.next()


async def read_all(desk: Desk) -> None:
    assert await value(desk, "DBSIZE") == 30
    assert {key.decode() for key in await value(desk, "KEYS", "*")} == KEYS
    assert (await value(desk, "RANDOMKEY")).decode() in KEYS
    cursor, found = 0, set()
    while True:
        after, keys = await value(desk, "SCAN", cursor, "COUNT", 3)
        found |= {key.decode() for key in keys}
        cursor = int(after)
        if not cursor:
            break
    assert found == KEYS


async def test_replicas_tell_of_the_keys(filled: Fleet) -> None:
    async with open_desk(filled) as desk:
        await read_all(desk)
    assert not asked(shard.primary for shard in filled.shards)
    assert set(asked(shard.replicas[0] for shard in filled.shards)) == set(READS)


async def test_a_primary_tells_where_no_replica_is_fit(filled: Fleet) -> None:
    async with open_desk(filled) as desk:
        desk.readable[ShardKey(CLUSTER, 1)] = frozenset()
        await read_all(desk)
    assert set(asked([filled.shards[1].primary])) >= {"dbsize", "keys", "scan"}
    assert not asked([filled.shards[1].replicas[0]])


async def test_a_primary_tells_where_no_replica_is_up(start_fleet: StartFleet) -> None:
    fleet: Fleet = start_fleet(shards=1, replicas=1)
    fleet.shards[0].primary.ask("SET", "a", 1)  # type: ignore[attr-defined]
    fleet.kill(fleet.shards[0].replicas[0])
    async with open_desk(fleet) as desk:
        assert await value(desk, "DBSIZE") == 1


@pytest.mark.parametrize(
    "line",
    ["SCRIPT FLUSH", "CONFIG SET hz 10", "CONFIG RESETSTAT", "ACL SETUSER alice", "BGSAVE", "DEBUG SLEEP 0"],
)
async def test_what_changes_nodes_is_refused(fleet: Fleet, line: str) -> None:
    async with open_desk(fleet) as desk:
        assert await desk.ask(*line.split(), endpoint=READERS) == READONLY


@pytest.mark.parametrize(
    ("primary", "told"),
    [
        (None, ("127.0.0.1", 7000)),
        (Address("10.0.0.9", 7001), ("10.0.0.9", 7001)),
        (Address("0.0.0.0", 7001), ("127.0.0.1", 7001)),
    ],
)
async def test_it_is_a_replica_of_the_endpoint_for_writes(
    fleet: Fleet, primary: Address | None, told: tuple[str, int]
) -> None:
    async with open_desk(fleet) as desk:
        desk.settings = type(desk.settings)(primary=primary)
        host, port = told
        assert await value(desk, "ROLE") == [b"slave", host.encode(), port, b"connected", 0]
        info = info_read((await value(desk, "INFO", "replication")).decode())["replication"].fields
        assert info["role"] == "slave"
        assert (info["master_host"], info["master_port"]) == (host, str(port))
        assert info["master_link_status"] == "up"
