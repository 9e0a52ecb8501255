"""The costume: what a cluster client learns on each endpoint and in each mode."""

from __future__ import annotations

from typing import Any

import pytest
from redis._parsers import helpers

from shardproxy.config import ConfigurationEndpoint
from shardproxy.fleet import Fleet
from shardproxy.model import EndpointKind
from shardproxy.wire.resp import Reader
from tests.fixtures.offload import Desk, open_desk, topology_at

parse_nodes: Any = helpers.parse_cluster_nodes


async def value(desk: Desk, *args: str, **options: Any) -> Any:
    reader = Reader()
    reader.feed(await desk.ask(*args, **options))
    return reader.next()


async def test_proxy_has_every_slot_at_the_address_the_client_used() -> None:
    async with open_desk(topology_at("10.0.0.1:1", "10.0.0.2:2")) as desk:
        [[first, last, [host, port, node_id, metadata]]] = await value(
            desk, "CLUSTER", "SLOTS", local_address="192.0.2.7:7000"
        )
        assert (first, last, host, port, metadata) == (0, 16383, b"192.0.2.7", 7000, [])
        assert await value(desk, "CLUSTER", "MYID", local_address="192.0.2.7:7000") == node_id
        nodes = await desk.ask("CLUSTER", "NODES", local_address="[2001:db8::1]:7000", resp=3)
        assert nodes.startswith(b"=")
        assert b" 2001:db8::1:7000@17000 myself,master - 0 0 1 connected 0-16383\n" in nodes


async def test_proxy_tells_the_address_it_advertises() -> None:
    configuration = ConfigurationEndpoint.model_validate(
        {"address": "127.0.0.1:7000", "advertise": "cache.example:6379"}
    )
    async with open_desk(topology_at("10.0.0.1:1"), configuration=configuration) as desk:
        assert b"$13\r\ncache.example\r\n:6379\r\n" in await desk.ask("CLUSTER", "SLOTS")
        assert b"cache.example:6379@16379 myself" in await desk.ask("CLUSTER", "NODES")


@pytest.mark.parametrize(
    ("addresses", "told"),
    [
        (["unix:/run/x.sock", "0.0.0.0:1", "192.0.2.7:7000"], b"192.0.2.7"),
        (["unix:/run/x.sock", "0.0.0.0:1"], None),
    ],
)
async def test_a_unix_socket_tells_an_address_clients_can_connect_to(
    addresses: list[str], told: bytes | None
) -> None:
    configuration = ConfigurationEndpoint.model_validate({"address": addresses})
    async with open_desk(topology_at("10.0.0.1:1"), configuration=configuration) as desk:
        for command in (("CLUSTER", "SLOTS"), ("CLUSTER", "NODES"), ("CLUSTER", "SHARDS")):
            reply = await desk.ask(*command, local_address="unix:/run/x.sock")
            if told:
                assert told in reply
            else:
                assert reply.startswith(b"-ERR a unix socket has no address to tell cluster clients")


@pytest.mark.parametrize("resp", [2, 3])
async def test_direct_mode_tells_the_nodes(fleet: Fleet, resp: int) -> None:
    configuration = ConfigurationEndpoint.model_validate({"address": "127.0.0.1:7000", "mode": "direct"})
    async with open_desk(fleet, configuration=configuration) as desk:
        text = await value(desk, "CLUSTER", "NODES", resp=resp)
        nodes = parse_nodes(text)
        assert len(nodes) == 6
        primaries = {address: node for address, node in nodes.items() if "master" in node["flags"]}
        assert set(primaries) == {str(shard.primary.address) for shard in fleet.shards}
        assert [node["slots"] for node in primaries.values()] == [
            [["0", "5460"]],
            [["5461", "10921"]],
            [["10922", "16383"]],
        ]
        for shard in fleet.shards:
            replica = nodes[str(shard.replicas[0].address)]
            assert replica["flags"] == "slave"
            assert replica["master_id"] == primaries[str(shard.primary.address)]["node_id"]
            [line] = await value(desk, "CLUSTER", "REPLICAS", replica["master_id"], resp=resp)
            assert line.startswith(replica["node_id"].encode())
            assert (
                await desk.ask("CLUSTER", "REPLICAS", replica["node_id"])
                == b"-ERR The specified node is not a master\r\n"
            )
        shards = await value(desk, "CLUSTER", "SHARDS", resp=3)
        assert [shard[b"slots"] for shard in shards] == [[0, 5460], [5461, 10921], [10922, 16383]]
        assert [[node[b"role"] for node in s[b"nodes"]] for s in shards] == [[b"master", b"replica"]] * 3
        slots = await value(desk, "CLUSTER", "SLOTS", resp=resp)
        assert [len(entry) for entry in slots] == [4, 4, 4]
        info = await value(desk, "CLUSTER", "INFO", resp=resp)
        assert b"cluster_known_nodes:6\r\ncluster_size:3\r\ncluster_current_epoch:7\r\n" in info


@pytest.mark.parametrize("endpoint", [EndpointKind.PRIMARY, EndpointKind.READER])
async def test_other_endpoints_play_a_plain_server(endpoint: EndpointKind) -> None:
    async with open_desk(topology_at("10.0.0.1:1")) as desk:
        for sub in ("SLOTS", "NODES", "INFO", "MYID", "SHARDS", "LINKS"):
            reply = await desk.ask("CLUSTER", sub, endpoint=endpoint)
            assert reply == b"-ERR This instance has cluster support disabled\r\n"


async def test_nodes_without_an_index_of_slots_refuse_clearly(fleet: Fleet) -> None:
    async with open_desk(fleet) as desk:
        reply = await desk.ask("CLUSTER", "COUNTKEYSINSLOT", "1")
        assert reply == b"-ERR CLUSTER COUNTKEYSINSLOT is not supported: the nodes keep no index of slots\r\n"
