"""What is found of real engines: who is the primary, whom to read from, and which slots are whose."""

from __future__ import annotations

import pytest
import redis

from shardproxy.importing.access import Access
from shardproxy.importing.errors import ForeignError
from shardproxy.importing.find import find
from shardproxy.importing.found import Found, Kind
from shardproxy.importing.url import Foreign
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, wait_until
from tests.fixtures.redis_cluster import open_cluster
from tests.fixtures.sentinel import StartSentinels


async def find_at(url: str) -> Found:
    foreign = Foreign.parse(url)
    return await find(foreign, Access.read(foreign))


async def test_a_primary_is_read_through_its_replicas(start_fleet: StartFleet) -> None:
    fleet = start_fleet(shards=1, replicas=2)
    (shard,) = fleet.shards
    with redis.Redis(port=shard.primary.address.port) as primary:
        wait_until(lambda: primary.info("replication")["connected_slaves"] == 2, "both follow")
        wait_until(lambda: str(primary.info("replication")).count("'online'") == 2, "both are online")
    for node in shard.nodes:  # whichever is named
        found = await find_at(f"redis://{node.address}")
        assert found.kind is Kind.STANDALONE
        assert found.shards[0].primary == shard.primary.address
        assert set(found.shards[0].replicas) == {replica.address for replica in shard.replicas}
        assert found.shards[0].nodes[-1] == shard.primary.address
    shard.replicas[0].kill()
    found = await find_at(f"redis://{shard.primary.address}")
    assert found.shards[0].replicas == (shard.replicas[1].address,)


async def test_a_replica_without_its_primary_is_refused(start_fleet: StartFleet) -> None:
    fleet = start_fleet(shards=1, replicas=1)
    fleet.shards[0].primary.kill()
    with pytest.raises(ForeignError, match="its primary cannot be asked"):
        await find_at(f"redis://{fleet.shards[0].replicas[0].address}")


async def test_sentinels_name_the_primary_also_after_a_failover(start_sentinels: StartSentinels) -> None:
    sentinels = start_sentinels(replicas=2)
    where = ",".join(str(sentinel.address) for sentinel in sentinels.sentinels)
    before = sentinels.primary()
    found = await find_at(f"sentinel://{where}/{sentinels.names[0]}")
    assert (found.kind, found.shards[0].primary) == (Kind.SENTINEL, before.address)
    assert len(found.shards[0].replicas) == 2
    sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", sentinels.names[0])
    wait_until(lambda: sentinels.primary() is not before, "another primary is named", timeout=20)
    wait_until(lambda: sentinels.primary().info("replication")["role"] == "master", "it is one", timeout=20)
    found = await find_at(f"sentinel://{where}/{sentinels.names[0]}")
    assert found.shards[0].primary == sentinels.primary().address
    with pytest.raises(ForeignError, match="does not know nobody"):
        await find_at(f"sentinel://{where}/nobody")
    with pytest.raises(ForeignError, match=r"is a Sentinel: write sentinel://"):
        await find_at(f"redis://{sentinels.sentinels[0].address}")


async def test_any_node_of_a_redis_cluster_tells_of_all_its_shards() -> None:
    with open_cluster(3, 1) as cluster:
        with redis.Redis(cluster.nodes[0].address.host, cluster.nodes[0].port) as client:
            client.set("b", 1)  # slot 3300 is the first's
        for node in (cluster.nodes[0], cluster.nodes[5]):
            cluster.wait_whole()  # a busy machine has replicas lose their primary for a moment
            found = await find_at(f"redis://{node.address}")
            assert found.kind is Kind.REDIS_CLUSTER
            assert [shard.primary for shard in found.shards] == [node.address for node in cluster.nodes[:3]]
            assert [len(shard.replicas) for shard in found.shards] == [1, 1, 1]
            assert sum(len(slots) for shard in found.shards for slots in shard.slots) == 16384
            assert found.keys == {0: 1}
        with pytest.raises(ForeignError, match="database 0 alone"):
            await find_at(f"redis://{cluster.nodes[0].address}/3")


async def test_a_proxy_of_ours_is_one_redis(proxy: Proxy) -> None:
    found = await find_at(f"redis://{proxy.address()}")
    assert (found.kind, len(found.shards)) == (Kind.PROXY, 1)


async def test_who_does_not_answer_is_named() -> None:
    with pytest.raises(ForeignError, match=r"127\.0\.0\.1:1: connection refused"):
        await find_at("redis://127.0.0.1:1")
