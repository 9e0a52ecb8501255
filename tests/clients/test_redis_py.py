"""redis-py against the proxy: plain and cluster clients, RESP2 and RESP3, TCP and unix sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster

from shardproxy import commands
from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import TIMEOUT, Wire
from tests.fixtures.proxy import Proxy, StartProxy, cluster_of, wait_until

KEYS = 300


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(
    request: pytest.FixtureRequest, proxy: Proxy, redis_client: Callable[..., redis.Redis]
) -> redis.Redis:
    return redis_client(proxy, protocol=request.param, decode_responses=True)


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def cluster_client(request: pytest.FixtureRequest, proxy: Proxy) -> Iterator[RedisCluster]:
    with closing(
        RedisCluster(
            host=proxy.host,
            port=proxy.port,
            protocol=request.param,
            decode_responses=True,
            socket_timeout=TIMEOUT,
        )
    ) as client:
        yield client


def execute(client: redis.Redis, *command: str) -> Any:
    return client.execute_command(*command)


def keys_on_primaries(fleet: Fleet) -> list[int]:
    counts = []
    for shard in fleet.shards:
        assert isinstance(shard.primary, RedisNode)
        counts.append(int(shard.primary.ask("DBSIZE")))
    return counts


def test_keys_live_on_all_shards(client: redis.Redis, fleet: Fleet) -> None:
    for i in range(KEYS):
        assert client.set(f"key:{i}", f"value:{i}")
    assert [client.get(f"key:{i}") for i in range(KEYS)] == [f"value:{i}" for i in range(KEYS)]
    counts = keys_on_primaries(fleet)
    assert sum(counts) == KEYS
    assert min(counts) > KEYS // 6


def test_pipelines_keep_their_order_across_shards(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for i in range(KEYS):
            pipeline.set(f"n:{i}", i)
            pipeline.incr(f"n:{i}")
            pipeline.get(f"n:{i}")
        replies = pipeline.execute()
    assert replies == [x for i in range(KEYS) for x in (True, i + 1, str(i + 1))]


def test_commands_of_many_keys_span_shards(client: redis.Redis, fleet: Fleet) -> None:
    names = [f"m:{i}" for i in range(30)]
    assert client.mset({name: name.upper() for name in names})
    assert min(keys_on_primaries(fleet)) > 0
    assert client.mget([*names, "m:none"]) == [*(name.upper() for name in names), None]
    assert client.exists(*names, "m:0", "m:none") == 31
    assert client.touch(*names) == 30
    assert client.delete(*names[:10]) == 10
    assert client.unlink(*names) == 20
    assert keys_on_primaries(fleet) == [0, 0, 0]


def test_data_types_come_as_from_an_engine(client: redis.Redis, fleet: Fleet) -> None:
    client.hset("hash", mapping={"a": "1", "b": "2"})
    client.rpush("list", "x", "y", "z")
    client.sadd("set", "m", "n")
    client.zadd("zset", {"one": 1, "two": 2.5})
    assert client.hgetall("hash") == {"a": "1", "b": "2"}
    assert client.lrange("list", 0, -1) == ["x", "y", "z"]
    assert client.smembers("set") == {"m", "n"}
    assert [tuple(pair) for pair in client.zrange("zset", 0, -1, withscores=True)] == [
        ("one", 1.0),
        ("two", 2.5),
    ]
    assert client.type("zset") == "zset"
    assert client.eval("return {KEYS[1], ARGV[1]}", 1, "hash", "arg") == ["hash", "arg"]


def test_errors_are_those_of_an_engine(client: redis.Redis) -> None:
    client.set("text", "x")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.lpush("text", "y")
    with pytest.raises(redis.ResponseError, match="wrong number of arguments for 'get' command"):
        execute(client, "GET")
    with pytest.raises(redis.ResponseError, match="hash to the same slot"):
        execute(client, "SINTER", "a", "b")
    with pytest.raises(redis.ResponseError, match="unknown command 'NOPE'"):
        execute(client, "NOPE", "x")
    assert client.get("text") == "x"


def test_what_would_harm_the_cluster_is_refused_with_a_reason(
    proxy: Proxy, wire: Callable[..., Wire]
) -> None:
    table = json.loads((Path(commands.__file__).parent / "table.json").read_text())
    entries = [entry for command in table["commands"] for entry in (command, *command["subcommands"])]
    refused = [entry for entry in entries if entry["route"] == "refused"]
    assert {"shutdown", "replicaof", "debug"} <= {entry["name"] for entry in refused}
    connection = wire(proxy)
    for entry in refused:
        words = entry["name"].split("|")
        reply = connection.ask(*words, *["x"] * (abs(entry["arity"]) - len(words)))
        assert str(reply).startswith(f"ERR {' '.join(words).upper()} is refused by this proxy: ")
    assert connection.ask("PING") == b"PONG"


def test_a_transaction_is_executed_as_one(client: redis.Redis) -> None:
    with client.pipeline(transaction=True) as pipeline:
        pipeline.set("{t}a", 1)
        pipeline.incr("{t}a")
        pipeline.get("{t}a")
        assert pipeline.execute() == [True, 2, "2"]


def test_a_watched_key_that_changes_undoes_the_transaction(client: redis.Redis) -> None:
    client.set("{t}a", 1)
    with client.pipeline() as pipeline:
        pipeline.watch("{t}a")
        client.incr("{t}a")
        pipeline.multi()
        pipeline.set("{t}a", 9)
        with pytest.raises(redis.WatchError):
            pipeline.execute()
    assert client.get("{t}a") == "2"


def test_messages_reach_subscribers_of_channels_and_patterns(client: redis.Redis) -> None:
    with closing(client.pubsub(ignore_subscribe_messages=False)) as subscriber:
        subscriber.subscribe("news")
        subscriber.psubscribe("ne*")
        for _ in range(2):
            assert subscriber.get_message(timeout=TIMEOUT)["type"].endswith("subscribe")
        assert client.publish("news", "hello") == 2
        messages = [subscriber.get_message(timeout=TIMEOUT) for _ in range(2)]
    assert {(message["type"], message["data"]) for message in messages} == {
        ("message", "hello"),
        ("pmessage", "hello"),
    }


def test_a_blocked_client_gets_what_is_pushed(client: redis.Redis) -> None:
    with ThreadPoolExecutor(1) as executor:
        popped = executor.submit(client.blpop, ["queue"], timeout=TIMEOUT / 2)
        wait_until(
            lambda: "cmd=blpop" in str(execute(client, "CLIENT", "LIST")) or popped.done(), "it blocks"
        )
        client.rpush("queue", "job")
        assert [*(popped.result() or ())] == ["queue", "job"]


def test_commands_for_all_shards_see_all_keys(client: redis.Redis) -> None:
    names = {f"s:{i}" for i in range(KEYS)}
    client.mset(dict.fromkeys(names, "x"))
    assert client.dbsize() == KEYS
    assert set(client.scan_iter(count=50)) == names
    assert set(client.keys("s:*")) == names
    assert client.randomkey() in names
    assert client.flushall()
    assert client.dbsize() == 0


def test_large_values_pass_unharmed(client: redis.Redis) -> None:
    value = "0123456789abcdef" * (1 << 18)
    assert client.set("large", value)
    assert client.get("large") == value


def test_a_connection_has_its_name_and_number(client: redis.Redis) -> None:
    assert client.client_setname("me")
    assert client.client_getname() == "me"
    number = client.client_id()
    assert number in {int(entry["id"]) for entry in client.client_list()}
    assert client.echo("hello") == "hello"


def test_the_cluster_client_reads_and_writes(cluster_client: RedisCluster, proxy: Proxy) -> None:
    for i in range(KEYS):
        assert cluster_client.set(f"c:{i}", i)
    assert [cluster_client.get(f"c:{i}") for i in range(KEYS)] == [str(i) for i in range(KEYS)]
    assert cluster_client.mget_nonatomic(["c:1", "c:2", "c:3"]) == ["1", "2", "3"]
    nodes = cluster_client.get_nodes()
    assert {(node.host, node.port) for node in nodes} == {(proxy.host, proxy.port)}


def test_a_unix_socket_is_an_endpoint_too(
    start_proxy: StartProxy, fleet: Fleet, redis_client: Callable[..., redis.Redis], tmp_path: Path
) -> None:
    path = tmp_path / "s"
    endpoints = {"configuration": f"unix:{path}"}
    proxy = start_proxy({"workers": 1, "clusters": {"main": cluster_of(fleet, endpoints=endpoints)}})
    client = redis_client(proxy)
    client.set("k", "v")
    assert client.get("k") == b"v"
    proxy.stop()
    assert not path.exists()
