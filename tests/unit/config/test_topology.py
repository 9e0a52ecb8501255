"""Who decides about a cluster's topology, as configured; each mistake says what to write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shardproxy.config import ConfigError, RedisCluster, parse_config
from shardproxy.config.topology import FromConfig, FromRedisCluster, FromSentinel
from shardproxy.model import SlotRange

SENTINELS = ["127.0.0.1:26379", "127.0.0.1:26380"]
SENTINEL: dict[str, Any] = {"from": "sentinel", "sentinels": SENTINELS, "names": ["a", "b"]}
CLUSTER: dict[str, Any] = {"from": "redis-cluster", "seeds": ["127.0.0.1:7101"]}
SHARDS: list[dict[str, Any]] = [{"nodes": ["127.0.0.1:7101"], "slots": "0-99"}, {"nodes": ["127.0.0.1:7102"]}]


def config(**cluster: Any) -> str:
    main = {"engine": "redis", "endpoints": {"configuration": "127.0.0.1:7000"}, **cluster}
    return json.dumps({"clusters": {"main": main}})


def read(**cluster: Any) -> RedisCluster:
    found = parse_config(config(**cluster)).clusters["main"]
    assert isinstance(found, RedisCluster)
    return found


def test_the_config_itself_decides_unless_it_says_who_else() -> None:
    for more in ({}, {"topology": {"from": "config"}}):
        found = read(shards=SHARDS, **more)
        assert isinstance(found.decider, FromConfig)
        assert (found.is_delegated, found.shard_count, found.is_relaxed) == (False, 2, False)


def test_sentinels_name_a_primary_for_each_shard() -> None:
    found = read(topology=SENTINEL)
    assert isinstance(found.decider, FromSentinel)
    assert (found.is_delegated, found.shard_count, found.is_relaxed) == (True, 2, False)
    shards = found.topology("main").shards
    assert [(shard.name, shard.slots, shard.primary) for shard in shards] == [
        ("a", (SlotRange(0, 8191),), None),
        ("b", (SlotRange(8192, 16383),), None),
    ]
    assert read(topology={**SENTINEL, "names": ["a"]}).is_relaxed


def test_shards_add_slots_and_zones_by_their_order_or_their_names() -> None:
    slots = [(SlotRange(0, 99),), (SlotRange(100, 16383),)]
    found = read(topology=SENTINEL, shards=SHARDS).topology("main").shards
    assert [shard.slots for shard in found] == slots
    named = [{**SHARDS[0], "name": "b"}, {**SHARDS[1], "name": "a"}]
    found = read(topology=SENTINEL, shards=named).topology("main").shards
    assert [(shard.name, shard.slots) for shard in found] == [("a", slots[1]), ("b", slots[0])]


def test_names_may_be_given_to_shards() -> None:
    found = read(topology={**SENTINEL, "names": {"first": "1", "second": "2"}})
    assert isinstance(found.decider, FromSentinel)
    assert dict(found.decider.names) == {"first": "1", "second": "2"}


def test_a_redis_cluster_is_known_by_its_nodes() -> None:
    found = read(topology=CLUSTER)
    assert isinstance(found.decider, FromRedisCluster)
    assert (found.is_delegated, found.shard_count, found.is_relaxed) == (True, None, False)


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({}, "shards: is missing", "list the shards"),
    ({"topology": {"from": "config"}}, "shards: is missing", "list the shards"),
    ({"topology": "sentinel"}, "must be a mapping", "{from: sentinel"),
    ({"topology": {"sentinels": SENTINELS}}, "topology.from: is missing", "from: sentinel"),
    ({"topology": {**SENTINEL, "from": "sentinels"}}, "must be config, sentinel", "did you mean sentinel?"),
    ({"topology": {**SENTINEL, "seeds": SENTINELS}}, "is not a known key", ""),
    ({"topology": {**SENTINEL, "sentinels": []}}, "needs at least one entry", "list all of the Sentinels"),
    ({"topology": {**SENTINEL, "sentinels": SENTINELS[:1] * 2}}, "is listed twice", "list each once"),
    ({"topology": {**SENTINEL, "names": []}}, "needs at least one entry", "names: [mymaster]"),
    ({"topology": {**SENTINEL, "names": ["a", "a"]}}, "stands there twice", "list each primary once"),
    ({"topology": {**SENTINEL, "names": ["1"]}}, "is not a name for a shard", "write a mapping"),
    ({"topology": {**SENTINEL, "names": {"x": "a", "y": "a"}}}, "stands for two shards", "its own"),
    ({"topology": {**SENTINEL, "password": "x"}}, "never written in the config", "{file:"),
    ({"topology": {**SENTINEL, "username": "x"}}, "needs its password", "add password"),
    ({"topology": {**CLUSTER, "seeds": []}}, "needs at least one entry", "some nodes"),
    ({"topology": SENTINEL, "replication": "managed"}, "contradict each other", "leave out replication"),
    ({"topology": SENTINEL, "failover": {"enabled": True}}, "contradict each other", "leave out enabled"),
    ({"topology": CLUSTER, "failover": {"enabled": True}}, "contradict each other", "the Redis Cluster"),
    ({"topology": SENTINEL, "failover": {"fencing": "fast"}}, "has no use", "leave it out"),
    ({"topology": SENTINEL, "writes": {"min_replicas": 1}}, "sets nothing there", "min-replicas-to-write"),
    ({"topology": SENTINEL, "shards": SHARDS[:1]}, "has 1 entries", "in the order of the shards"),
    ({"topology": SENTINEL, "shards": [{**s, "name": "x"} for s in SHARDS[:1]]}, "not those of", "a, b"),
    ({"topology": CLUSTER, "shards": SHARDS}, "contradict each other", "leave out slots"),
    ({"topology": CLUSTER, "slots": "relaxed"}, "needs a cluster of one shard", ""),
    ({"topology": CLUSTER, "databases": 2}, "database 0 alone", ""),
    ({"topology": SENTINEL, "sentinels": SENTINELS}, "is not a known key", ""),
]


@pytest.mark.parametrize(("cluster", "message", "hint"), MISTAKES)
def test_a_mistake_says_what_to_write(cluster: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(config(**cluster))
    assert message in str(caught.value)
    assert hint in str(caught.value)


def test_what_contradicts_nothing_is_taken() -> None:
    found = read(topology=SENTINEL, failover={"enabled": False, "down_after": "2s"}, writes={"wait": 2})
    assert found.writes.wait == 2, "who is there is found out"
