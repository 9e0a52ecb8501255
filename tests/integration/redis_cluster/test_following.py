"""A proxy in front of a real Redis Cluster: what applications meet there, and what it says of it."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from tests.fixtures.proxy import wait_until
from tests.fixtures.redis_cluster import shard_slots, tag_in
from tests.integration.redis_cluster.conftest import ClusterSite

TAGS = [tag_in(shard_slots(shard)) for shard in range(3)]


def shards_of(site: ClusterSite) -> list[dict[str, Any]]:
    return list(json.loads(site.proxy.get("/api/status")[1])["clusters"]["main"]["shards"])


def primary_served(site: ClusterSite, port: int) -> bool:
    return any(
        node["role"] == "primary" and node["address"].endswith(f":{port}")
        for shard in shards_of(site)
        for node in shard["nodes"]
    )


def test_all_shards_and_replicas_are_found(site: ClusterSite) -> None:
    shards = shards_of(site)
    assert [len(shard["nodes"]) for shard in shards] == [2, 2, 2]
    ports = {int(node["address"].rpartition(":")[2]) for shard in shards for node in shard["nodes"]}
    assert ports == {node.port for node in site.cluster.nodes}
    decider = json.loads(site.proxy.get("/api/status")[1])["clusters"]["main"]["decider"]
    assert (decider["from"], decider["trouble"]) == ("redis-cluster", None)


def test_keys_of_all_slots_are_written_and_read(site: ClusterSite) -> None:
    client = site.client
    client.flushall()
    values = {f"key:{number}": str(number).encode() for number in range(100)}
    assert client.mset(values)
    assert client.mget(list(values)) == list(values.values())
    assert client.dbsize() == 100
    assert {bytes(key).decode() for key in client.scan_iter(count=7)} == set(values)
    assert client.delete(*values) == 100
    with pytest.raises(redis.ResponseError, match="hash to the same slot"):
        client.sinter([f"{{{tag}}}:set" for tag in TAGS])
    with pytest.raises(redis.ResponseError, match="not allowed in cluster mode"):
        client.select(1)


def test_transactions_and_watched_keys(site: ClusterSite) -> None:
    client, key = site.client, f"{{{TAGS[1]}}}:count"
    client.set(key, 1)

    def add(pipe: redis.client.Pipeline) -> None:
        count = int(pipe.get(key))  # type: ignore[arg-type]
        pipe.multi()
        pipe.set(key, count + 1)

    assert client.transaction(add, key) == [True]
    assert client.get(key) == b"2"
    with client.pipeline() as pipe:
        pipe.set(key, 5)
        pipe.incr(key)
        pipe.get(key)
        assert pipe.execute() == [True, 6, b"6"]


def test_scripts_and_who_waits(site: ClusterSite) -> None:
    client, key = site.client, f"{{{TAGS[2]}}}:list"
    script = client.register_script("return redis.call('rpush', KEYS[1], ARGV[1])")
    with site.client as waiting:
        threading.Timer(0.2, lambda: script(keys=[key], args=["x"])).start()
        assert waiting.blpop([key], timeout=10) == (key.encode(), b"x")


def test_a_script_is_brought_to_where_its_keys_go(site: ClusterSite) -> None:
    client, cluster, tag = site.client, site.cluster, tag_in(range(5400, 5461))
    slot, key = key_slot(tag.encode()), f"{{{tag}}}:counter"
    digest = client.script_load("return redis.call('incr', KEYS[1])")
    for node in cluster.nodes:
        node.ask("SCRIPT", "FLUSH")
    source = cluster.owner_of_slot(slot)
    target = next(node for node in cluster.nodes[:3] if node is not source)
    assert client.evalsha(digest, 1, key) == 1
    cluster.migrate(slot, target)
    assert client.evalsha(digest, 1, key) == 2
    cluster.migrate(slot, source)
    assert client.evalsha(digest, 1, key) == 3
    cluster.wait_whole()


def test_a_message_is_heard_once(site: ClusterSite) -> None:
    client = site.client
    heard = client.pubsub()
    heard.subscribe("news")
    heard.psubscribe("ne*")
    heard.ssubscribe(f"{{{TAGS[1]}}}:shard")
    wait_until(lambda: len(heard.channels) + len(heard.patterns) == 2, "subscribed")
    for _ in range(3):
        assert heard.get_message(timeout=5) is not None
    assert client.publish("news", "1") == 2
    assert client.spublish(f"{{{TAGS[1]}}}:shard", "2") == 1
    found = [heard.get_message(timeout=2) for _ in range(3)]
    assert sorted(str(message["type"]) for message in found if message) == ["message", "pmessage", "smessage"]
    assert heard.get_message(timeout=0.3) is None
    # what others publish, at any node
    for node in site.cluster.nodes[:3]:
        node.ask("PUBLISH", "news", "3")
    found = [heard.get_message(timeout=2) for _ in range(6)]
    assert None not in found
    assert heard.get_message(timeout=0.3) is None
    heard.close()


def test_reads_from_replicas(site: ClusterSite) -> None:
    client, key = site.client, f"{{{TAGS[0]}}}:read"
    client.set(key, "value")
    reader = site.proxy.address("reader")
    with redis.Redis(reader.host, reader.port) as replicas:
        wait_until(lambda: replicas.get(key) == b"value", "it is on a replica")
        node = site.cluster.replicas_of(site.cluster.owner(key))[0]
        node.ask("CONFIG", "RESETSTAT")
        # what was just written is read from the primary for a while
        wait_until(
            lambda: replicas.get(key) == b"value" and "cmdstat_get" in node.info("commandstats"),
            "the replica is read from",
        )
        with pytest.raises(redis.exceptions.ReadOnlyError):
            replicas.set(key, "other")


def test_a_cluster_client_works_through_the_endpoint(site: ClusterSite) -> None:
    with redis.RedisCluster(host=site.proxy.host, port=site.proxy.port) as client:
        for number in range(50):
            assert client.set(f"c:{number}", number)
            assert client.get(f"c:{number}") == str(number).encode()
        pipe = client.pipeline()
        for number in range(50):
            pipe.get(f"c:{number}")
        assert pipe.execute() == [str(number).encode() for number in range(50)]


def test_keys_that_have_left_are_found_and_a_slot_that_moved_is_followed(site: ClusterSite) -> None:
    client, cluster, tag = site.client, site.cluster, tag_in(range(100, 5000))
    slot = key_slot(tag.encode())
    source = cluster.owner_of_slot(slot)
    target = next(node for node in cluster.nodes[:3] if node is not source)
    keys = [f"{{{tag}}}:{number}" for number in range(20)]
    for key in keys:
        client.set(key, key)
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
    source.ask("MIGRATE", target.address.host, target.port, "", 0, 5000, "KEYS", *keys[:10])
    # half of the keys are there, half here: the slot is the source's still
    for key in keys:
        assert client.get(key) == key.encode()
        assert client.append(key, "!") == len(key) + 1
    assert client.mget(keys[:10]) == [f"{key}!".encode() for key in keys[:10]]
    with client.pipeline() as pipe:
        pipe.get(keys[0])
        pipe.set(keys[1], "new")
        assert pipe.execute() == [f"{keys[0]}!".encode(), True]
    assert client.set(f"{{{tag}}}:new", "1"), "a new key is made where the slot goes to"
    # keys at both nodes: nobody can do that before the slot has moved
    with site.client as both:
        mover = threading.Timer(0.3, lambda: cluster.migrate(slot, target))
        mover.start()
        assert both.mget([keys[0], keys[19]]) == [f"{keys[0]}!".encode(), f"{keys[19]}!".encode()]
    mover.join()
    assert client.get(f"{{{tag}}}:new") == b"1"
    cluster.migrate(slot, source)
    assert client.get(keys[3]) == f"{keys[3]}!".encode()
    cluster.wait_whole()


def test_who_waits_for_a_key_is_served_where_its_slot_goes(site: ClusterSite) -> None:
    client, cluster, tag = site.client, site.cluster, tag_in(range(5000, 5400))
    slot, key = key_slot(tag.encode()), f"{{{tag}}}:queue"
    source = cluster.owner_of_slot(slot)
    target = next(node for node in cluster.nodes[:3] if node is not source)
    found: list[Any] = []
    with site.client as waiting:
        thread = threading.Thread(target=lambda: found.append(waiting.blpop([key], timeout=20)))
        thread.start()
        time.sleep(0.2)  # it waits by then; if not yet, it is none the worse
        cluster.migrate(slot, target)
        client.rpush(key, "x")
        thread.join()
    assert found == [(key.encode(), b"x")]
    cluster.migrate(slot, source)
    cluster.wait_whole()


def test_a_failover_that_is_asked_for_is_the_cluster_s(site: ClusterSite) -> None:
    primary = site.cluster.owner(f"{{{TAGS[0]}}}")
    replica = site.cluster.replicas_of(primary)[0]
    numbers = [shard["shard"] for shard in shards_of(site)]
    from tests.failover.site import Site

    why = Site(None, site.proxy).post("/api/switchover", shard=0)  # type: ignore[arg-type]
    assert why is None
    assert replica.role == "master"
    wait_until(lambda: primary_served(site, replica.port), "the other one serves")
    assert [shard["shard"] for shard in shards_of(site)] == numbers
    assert site.client.set(f"{{{TAGS[0]}}}:after", "1")
    site.cluster.wait_whole()
    refused = Site(None, site.proxy).post("/api/pause")  # type: ignore[arg-type]
    assert refused is not None
    assert "the Redis Cluster fails over" in refused
