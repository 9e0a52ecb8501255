"""Applications that know one Redis find one behind one shard; and what becomes of them as it grows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
import redis
from redis.cluster import RedisCluster

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until
from tests.fixtures.replicated import wait_replicated

Open = Callable[..., Wire]
Connect = Callable[..., redis.Redis]
ENDPOINTS = ("configuration", "primary", "reader")
CROSSSLOT = "CROSSSLOT Keys in request don't hash to the same slot"


@pytest.fixture(scope="module")
def pair(start_fleet_for_module: StartFleet) -> Fleet:
    """One shard with a replica."""
    return start_fleet_for_module(shards=1, replicas=1)


@pytest.fixture(scope="module")
def shared(pair: Fleet, start_proxy_for_module: StartProxy) -> Proxy:
    return start_proxy_for_module(config_of(pair))


@pytest.fixture
def single(pair: Fleet, shared: Proxy) -> Proxy:
    """The module's proxy, over an empty shard."""
    cast(RedisNode, pair.shards[0].primary).ask("FLUSHALL")
    return shared


def test_pipelines_go_over_keys_and_databases(single: Proxy, redis_client: Connect) -> None:
    for db in (0, 7):
        client = redis_client(single, db=db, decode_responses=True)
        with client.pipeline() as pipe:  # MULTI and EXEC
            pipe.mset({"a": db, "b": db})
            pipe.sunionstore("c", ["d", "e"])
            pipe.rename("a", "f")
            pipe.mget("b", "f")
            assert pipe.execute()[-1] == [str(db), str(db)]
        with client.pipeline() as pipe:
            pipe.watch("b", "f")
            assert pipe.get("b") == str(db)
            pipe.multi()
            pipe.set("b", f"{db}!")
            pipe.set("g", "new")
            assert pipe.execute() == [True, True]
        with client.pipeline(transaction=False) as pipe:
            pipe.get("b")
            pipe.rename("b", "z")
            pipe.get("z")
            pipe.exists("b")
            assert pipe.execute() == [f"{db}!", True, f"{db}!", 0]
        with client.lock("a lock", timeout=5):
            assert client.exists("a lock")
    assert redis_client(single, db=7).move("z", 8)
    assert redis_client(single, db=8).get("z") == b"7!"


def test_a_worker_takes_from_several_queues(single: Proxy, redis_client: Connect) -> None:
    """As Celery's transport does: a queue for each priority, and what is not acknowledged beside them."""
    worker, sender = redis_client(single, db=1), redis_client(single, db=1)
    queues = ["celery", "celery\x06\x163", "celery\x06\x166", "mail"]
    for queue in reversed(queues):
        sender.lpush(queue, f"task of {queue}")
    for queue in queues:
        taken = worker.brpop(queues, timeout=1)
        assert taken == (queue.encode(), f"task of {queue}".encode())
        with worker.pipeline() as pipe:
            pipe.zadd("unacked_index", {queue: 1})
            pipe.hset("unacked", queue, "task")
            assert pipe.execute() == [1, 1]
    assert worker.brpop(queues, timeout=0.01) is None


def test_scripts_use_keys_of_many_slots_and_make_up_more(single: Proxy, redis_client: Connect) -> None:
    """As job queues do: keys by a prefix that is an argument, and some that nobody declared."""
    client = redis_client(single)
    add = client.register_script(
        """
        local id = redis.call('INCR', KEYS[1])
        redis.call('HSET', ARGV[1] .. id, 'data', ARGV[2])
        redis.call('LPUSH', KEYS[2], id)
        redis.call('XADD', KEYS[3], '*', 'event', 'waiting', 'jobId', id)
        return id
        """
    )
    for n in (1, 2):
        assert add(keys=["bull:q:id", "bull:q:wait", "bull:q:events"], args=["bull:q:", f"job {n}"]) == n
    move = client.register_script(
        """
        local id = redis.call('RPOPLPUSH', KEYS[1], KEYS[2])
        return redis.call('HGET', ARGV[1] .. id, 'data')
        """
    )
    assert move(keys=["bull:q:wait", "bull:q:active"], args=["bull:q:"]) == b"job 1"
    assert client.brpoplpush("bull:q:wait", "bull:q:active", 1) == b"2"
    assert client.lrange("bull:q:active", 0, -1) == [b"2", b"1"]


def test_an_engine_with_fewer_databases_is_believed(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    fleet = start_fleet(shards=1, replicas=0, args=["--databases", "4"])
    proxy = start_proxy(config_of(fleet, workers=1))
    client, other = wire(proxy), wire(proxy)
    assert [client.ask("SELECT", 3), client.ask("SET", "k", 3)] == [b"OK", b"OK"]
    assert client.ask("SELECT", 7) == b"OK"  # nobody has asked the engine before
    assert str(client.ask("SET", "k", 7)).startswith("ERR DB index is out of range")
    assert other.ask("SELECT", 7) == "ERR DB index is out of range"
    assert client.ask("MULTI") == b"OK"
    assert [client.ask("SELECT", 3), client.ask("GET", "k")] == [b"QUEUED", b"QUEUED"]
    assert str(client.ask("EXEC")).startswith("ERR DB index is out of range")
    assert [client.ask("SELECT", 3), client.ask("GET", "k")] == [b"OK", b"3"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_endpoint_is_a_standalone_server(endpoint: str, single: Proxy, redis_client: Connect) -> None:
    client = redis_client(single.address(endpoint), protocol=3, decode_responses=True)
    info: Any = client.info()
    assert (info["redis_mode"], info["cluster_enabled"]) == ("standalone", 0)
    hello: Any = client.execute_command("HELLO", 3)
    assert hello["mode"] == "standalone"
    assert client.config_get("databases") == {"databases": "16"}


def test_the_reader_has_all_databases(pair: Fleet, single: Proxy, wire: Open) -> None:
    writer, reader = wire(single.address("primary")), wire(single.address("reader"))
    assert [writer.ask("SELECT", 9), writer.ask("MSET", "a", 1, "b", 2)] == [b"OK", b"OK"]
    wait_replicated(*pair.shards[0].nodes)
    assert reader.ask("SELECT", 9) == b"OK"
    assert reader.ask("MGET", "a", "b") == [b"1", b"2"]
    assert reader.ask("SELECT", 0) == b"OK"
    for words in (("MULTI",), ("SELECT", 9), ("GET", "a"), ("DBSIZE",), ("EXEC",)):
        reader.send_command(*words)
    assert [reader.reply() for _ in range(5)][-1] == [b"OK", b"1", 2]
    assert reader.ask("GET", "b") == b"2"
    assert str(reader.ask("SWAPDB", 0, 9)).startswith("READONLY")
    assert str(reader.ask("MOVE", "a", 3)).startswith("READONLY")


def test_a_cluster_client_is_served_as_before(single: Proxy) -> None:
    client = RedisCluster(host=single.host, port=single.port, decode_responses=True)
    assert client.mset({"{t}a": 1, "{t}b": 2})
    assert client.mget("{t}a", "{t}b") == ["1", "2"]
    client.close()


def test_allowed_commands_work_within_a_transaction(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    fleet = start_fleet(shards=1, replicas=0, args=["--enable-debug-command", "yes"])
    node = cast(RedisNode, fleet.shards[0].primary)
    client = wire(start_proxy(config_of(fleet, commands={"allow": ["config", "debug"]})))
    for words in (
        *(("MULTI",), ("CONFIG", "SET", "lfu-log-factor", 17), ("CONFIG", "GET", "lfu-log-factor")),
        *(("SET", "k", "v"), ("DEBUG", "OBJECT", "k"), ("CONFIG", "RESETSTAT"), ("EXEC",)),
    ):
        client.send_command(*words)
    *_, replies = [client.reply() for _ in range(7)]
    assert replies[:3] == [b"OK", [b"lfu-log-factor", b"17"], b"OK"]
    assert b"encoding:embstr" in replies[3]
    assert replies[4:] == [b"OK"]
    assert node.ask("CONFIG", "GET", "lfu-log-factor") == [b"lfu-log-factor", b"17"]
    client.ask("MULTI")
    assert "DEBUG is not possible inside MULTI: it may end the node" in str(client.ask("DEBUG", "SEGFAULT"))
    assert str(client.ask("EXEC")).startswith("EXECABORT")


def test_what_several_shards_would_refuse_is_told(
    pair: Fleet, start_proxy: StartProxy, redis_client: Connect
) -> None:
    single = start_proxy(config_of(pair))  # it has counted nothing yet
    client = redis_client(single)
    client.set("user:17:name", "x")
    client.rename("user:17:name", "user:18:name")
    client.rename("user:18:name", "user:19:name")
    samples = single.metrics()
    assert samples['shardproxy_relaxed_commands_total{cluster="main",command="rename"}'] == 2
    told = json.loads(single.get("/api/status")[1])["clusters"]["main"]["relaxed"]
    assert told == {"rename": {"count": 2, "example": "RENAME user:#:name user:#:name"}}


@pytest.mark.parametrize("tells", [True, False])
def test_clients_in_the_midst_of_growth_hear_the_truth(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open, tells: bool
) -> None:
    """They wait at the proxy where engines tell what changes, and else at the engine."""
    fleet = start_fleet(shards=2, replicas=0)
    if not tells:
        for node in fleet.nodes:
            cast(RedisNode, node).ask("ACL", "SETUSER", "default", "-client|tracking")
    one, two = config_of(fleet), config_of(fleet)
    one["clusters"]["main"]["shards"] = one["clusters"]["main"]["shards"][:1]
    proxy = start_proxy(one)
    both, other, moved, alone, selected, selecting, watching, writer = (wire(proxy) for _ in range(8))
    assert [selecting.ask("SELECT", 2), watching.ask("WATCH", "a", "b")] == [b"OK", b"OK"]
    assert [watching.ask("MULTI"), watching.ask("SET", "a", 1)] == [b"OK", b"QUEUED"]
    assert selected.ask("SELECT", 2) == b"OK"
    both.send_command("BLPOP", "a", "b", 0)  # with several shards another worker keeps the order of it,
    other.send_command("BLPOP", "b", "a", 0)  # and the same one of this
    moved.send_command("BLMOVE", "b", "a", "LEFT", "LEFT", 0)
    selected.send_command("BLPOP", "a", 0)
    alone.send_command("BLPOP", "a", 0)
    wait_until(lambda: b"blocked_clients:5" in writer.ask("INFO", "clients"), "they wait")
    engine = cast(RedisNode, fleet.shards[0].primary)
    wait_until(lambda: tells or engine.info("clients")["blocked_clients"] == "5", "at the engine")
    proxy.reload(two)
    wait_until(lambda: "the cluster is one Redis no more" in proxy.log(), "it has several shards")
    assert [both.reply(), other.reply(), moved.reply()] == [CROSSSLOT] * 3
    assert "no such database" in str(selected.reply())
    assert "no such database" in str(selecting.ask("SET", "a", "lost"))
    assert str(watching.ask("EXEC")).startswith("EXECABORT")
    assert writer.ask("RENAME", "a", "b") == CROSSSLOT
    assert writer.ask("RPUSH", "a", "pushed") == 1
    assert alone.reply() == [b"a", b"pushed"]
    assert writer.ask("MSET", "a", 1, "b", 2) == b"OK"
    assert [cast(RedisNode, node).ask("DBSIZE") for node in fleet.nodes] == [2, 0], "slots stay"
    assert writer.ask("FLUSHALL") == b"OK"
    proxy.reload(one)
    wait_until(lambda: proxy.log().count("config reloaded") == 2, "it has one shard again")
    assert writer.ask("RENAME", "a", "b") == "ERR no such key"


def test_a_strict_shard_is_what_several_are(
    pair: Fleet, start_proxy: StartProxy, redis_client: Connect
) -> None:
    client = redis_client(start_proxy(config_of(pair, slots="strict")))
    with pytest.raises(redis.ResponseError, match="hash to the same slot"):
        client.rename("a", "b")
    with pytest.raises(redis.ResponseError, match="SELECT is not allowed in cluster mode"):
        client.select(1)
    info: Any = client.info()
    assert (info["redis_mode"], info["cluster_enabled"]) == ("cluster", 1)
    assert client.config_get("databases") == {"databases": "1"}
