"""INFO over shards: sums, our own face, and shards that are down."""

from __future__ import annotations

import os

import pytest
import trio

from shardproxy.commands.info_merge import Section, info_read
from shardproxy.dataplane.statistics import ClusterCounts
from shardproxy.fleet import Fleet
from shardproxy.model import EndpointKind
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import CLUSTER, Desk, open_desk, topology_at

WHOLE = (
    "server clients memory persistence stats replication cpu modules errorstats cluster keyspace proxy shards"
)


async def info_of(
    desk: Desk, *sections: str, endpoint: EndpointKind = EndpointKind.CONFIGURATION
) -> dict[str, Section]:
    reply = await desk.ask("INFO", *sections, endpoint=endpoint)
    assert reply.startswith(b"$")
    return info_read(reply.split(b"\r\n", 1)[1].decode())


async def test_shards_look_like_one_server(fleet: Fleet) -> None:
    for number, shard in enumerate(fleet.shards):
        for key in range(number + 1):
            shard.primary.ask("SET", f"key{key}", "x")  # type: ignore[attr-defined]
    async with open_desk(fleet) as desk:
        info = await info_of(desk)
        assert list(info) == WHOLE.split()
        assert info["keyspace"].fields["db0"].startswith("keys=6,expires=0")
        assert info["server"].fields["redis_version"] == "7.0.15"
        assert info["server"].fields["redis_mode"] == "cluster"
        assert info["server"].fields["process_id"] == str(os.getpid())
        assert info["server"].fields["tcp_port"] == "7000"
        assert info["cluster"].fields == {"cluster_enabled": "1"}
        assert info["replication"].fields["connected_slaves"] == "3"
        assert "slave0" not in info["replication"].fields
        assert info["proxy"].fields["proxy_shards_unreachable"] == "0"
        for number, shard in enumerate(fleet.shards):
            line = info["shards"].fields[f"shard{number}"]
            assert (
                f"primary={shard.primary.address},replicas=1,state=ok,keys={number + 1},used_memory=" in line
            )
        plain = await info_of(desk, endpoint=EndpointKind.PRIMARY)
        assert plain["server"].fields["redis_mode"] == "standalone"
        assert plain["cluster"].fields == {"cluster_enabled": "0"}


async def test_sections_are_those_asked_for(fleet: Fleet) -> None:
    async with open_desk(fleet) as desk:
        assert list(await info_of(desk, "replication")) == ["replication"]
        assert list(await info_of(desk, "CPU", "Keyspace", "nope")) == ["cpu", "keyspace"]
        assert list(await info_of(desk, "proxy")) == ["proxy"]
        assert list(await info_of(desk, "shards")) == ["shards"]
        assert "keys=0" in (await info_of(desk, "shards"))["shards"].fields["shard0"]
        assert "commandstats" in await info_of(desk, "everything")
        assert "commandstats" in await info_of(desk, "all", "proxy")
        assert (await desk.ask("INFO", "cluster", resp=3)).startswith(b"=")


async def test_shard_that_is_down_is_named(start_fleet: StartFleet) -> None:
    fleet: Fleet = start_fleet(shards=2, replicas=0)
    await trio.to_thread.run_sync(fleet.kill, fleet.shards[1].primary)
    async with open_desk(fleet) as desk:
        info = await info_of(desk)
    assert "state=ok" in info["shards"].fields["shard0"]
    assert "state=unreachable,why=ERR shard 1: node 127.0.0.1:" in info["shards"].fields["shard1"]
    assert info["proxy"].fields["proxy_shards_unreachable_list"] == "1"
    assert info["server"].fields["redis_version"] == "7.0.15"


async def test_clients_learn_the_version_with_every_shard_down() -> None:
    async with open_desk(topology_at("127.0.0.1:1")) as desk:
        info = await info_of(desk)
    assert info["server"].fields["redis_version"] == "7.0.15"
    assert info["server"].fields["redis_mode"] == "standalone"  # of one shard
    assert info["proxy"].fields["proxy_shards_unreachable"] == "1"


async def test_what_no_shard_tells_is_an_error() -> None:
    async with open_desk(topology_at("127.0.0.1:1", "127.0.0.1:2")) as desk:
        assert (
            await desk.ask("INFO", "replication") == b"-ERR shard 0: node 127.0.0.1:1: connection refused\r\n"
        )
        assert list(await info_of(desk, "server")) == ["server", "proxy"]
        assert list(await info_of(desk, "shards")) == ["proxy", "shards"]


async def test_a_section_that_a_shard_is_missing_from_says_so(start_fleet: StartFleet) -> None:
    fleet: Fleet = start_fleet(shards=2, replicas=0)
    await trio.to_thread.run_sync(fleet.kill, fleet.shards[1].primary)
    async with open_desk(fleet) as desk:
        info = await info_of(desk, "replication")
    assert list(info) == ["replication", "proxy"]
    assert info["proxy"].fields["proxy_shards_unreachable_list"] == "1"


async def test_the_workers_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def counts(desk: Desk, cluster: str | None = None) -> dict[str, ClusterCounts]:
        nonlocal asked
        asked += 1
        assert cluster == CLUSTER, "of one cluster only"
        return {}

    monkeypatch.setattr(Desk, "counts", counts)
    async with open_desk(topology_at("127.0.0.1:1")) as desk:
        await desk.ask("INFO")
    assert asked == 1
