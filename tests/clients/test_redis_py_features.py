"""redis-py's own high-level features against the proxy: what applications build on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import TIMEOUT
from tests.fixtures.proxy import Proxy, wait_until


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(
    request: pytest.FixtureRequest, proxy: Proxy, redis_client: Callable[..., redis.Redis]
) -> redis.Redis:
    return redis_client(proxy, protocol=request.param, decode_responses=True)


def test_a_pipeline_with_a_transaction(client: Any) -> None:
    with client.pipeline(transaction=True) as pipeline:
        pipeline.set("{t}a", 1).incr("{t}a").rpush("{t}l", "x", "y").lrange("{t}l", 0, -1)
        assert pipeline.execute() == [True, 2, 2, ["x", "y"]]
        pipeline.incr("{t}a").lpush("{t}a", "wrong type").incr("{t}a")
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    assert [replies[0], replies[2]] == [3, 4]
    assert "WRONGTYPE" in str(replies[1])


def test_a_transaction_over_two_slots_is_refused_as_a_whole(client: Any) -> None:
    with client.pipeline(transaction=True) as pipeline:
        pipeline.set("a", 1).set("b", 2)
        with pytest.raises(redis.ResponseError, match="same slot"):
            pipeline.execute()
    assert client.mget("a", "b") == [None, None]


def test_optimistic_locking_counts_every_step(client: Any) -> None:
    def step(pipeline: Any) -> None:
        value = int(pipeline.get("n") or 0)
        pipeline.multi()
        pipeline.set("n", value + 1)

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(client.transaction, step, "n") for _ in range(100)]:
            future.result()
    assert client.get("n") == "100"


def test_locks_exclude(client: Any) -> None:
    inside, most, done = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(5):
            with client.lock("lock", timeout=10, sleep=0.001, blocking_timeout=TIMEOUT):
                inside += 1
                most = max(most, inside)
                done += 1
                inside -= 1

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(work) for _ in range(6)]:
            future.result()
    assert (most, done) == (1, 30)
    first, second = client.lock("lock"), client.lock("lock")
    assert first.acquire(blocking=False)
    assert not second.acquire(blocking=False)
    first.release()
    with pytest.raises(redis.exceptions.LockError):
        second.release()


def test_registered_scripts_heal_themselves(client: Any, fleet: Fleet) -> None:
    add: Any = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    names = [f"n:{i}" for i in range(20)]
    assert [add(keys=[name], args=[2]) for name in names] == [2] * 20
    client.script_flush()
    assert [add(keys=[name], args=[3]) for name in names] == [5] * 20
    with client.pipeline(transaction=False) as pipeline:
        for name in names:
            add(keys=[name], args=[1], client=pipeline)
        assert pipeline.execute() == [6] * 20
    assert client.script_exists(add.sha) == [True]


def test_pubsub_in_a_thread(client: Any) -> None:
    got: list[tuple[str, str]] = []
    done = threading.Event()

    def hear(message: dict[str, str]) -> None:
        got.append((message["channel"], message["data"]))
        if message["data"] == "end":
            done.set()

    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(**{f"c:{i}": hear for i in range(5)})
        pubsub.psubscribe(**{"p:*": hear})
        for _ in range(6):
            pubsub.get_message(ignore_subscribe_messages=False, timeout=TIMEOUT)
        thread = pubsub.run_in_thread(sleep_time=0.01)
        for i in range(5):
            assert client.publish(f"c:{i}", f"m:{i}") == 1
            assert client.publish(f"p:{i}", f"m:{i}") == 1
        client.publish("c:0", "end")
        assert done.wait(TIMEOUT)
        thread.stop()
        thread.join(TIMEOUT)
    expected = [(f"{kind}:{i}", f"m:{i}") for i in range(5) for kind in "cp"]
    assert sorted(got) == sorted([*expected, ("c:0", "end")])


def test_stream_consumer_groups(client: Any) -> None:
    stream, group = "orders", "billing"
    client.xgroup_create(stream, group, id="0", mkstream=True)
    ids = [client.xadd(stream, {"n": i}) for i in range(20)]
    taken: list[str] = []

    def consume(name: str, count: int) -> None:
        while len(taken) < len(ids):
            reply: Any = client.xreadgroup(group, name, {stream: ">"}, count=count, block=50)
            for _, batch in reply.items() if isinstance(reply, dict) else reply:
                entries = batch[0] if isinstance(reply, dict) else batch
                taken.extend(entry for entry, _ in entries)

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(consume, f"consumer-{n}", n + 1) for n in range(3)]:
            future.result()
    assert sorted(taken) == sorted(ids)
    assert client.xack(stream, group, *ids[:15]) == 15
    pending: Any = client.xpending(stream, group)
    assert pending["pending"] == 5
    _, claimed, *_ = client.xautoclaim(stream, group, "heir", min_idle_time=0)
    assert [entry for entry, _ in claimed] == ids[15:]
    assert client.xinfo_stream(stream)["length"] == 20


def test_blocking_pops_feed_workers(client: Any) -> None:
    def work() -> list[str]:
        found = []
        while (job := client.blpop(["jobs"], timeout=TIMEOUT)) is not None and job[1] != "stop":
            found.append(job[1])
        return found

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work) for _ in range(4)]
        for i in range(50):
            client.rpush("jobs", f"job {i}")
        client.rpush("jobs", *["stop"] * 4)
        done = [job for worker in workers for job in worker.result()]
    assert sorted(done) == sorted(f"job {i}" for i in range(50))


def test_iterators_see_everything_once(client: Any) -> None:
    names = {f"key:{i}" for i in range(500)}
    for name in names:
        client.set(name, 1)
    client.hset("other", mapping={f"f{i}": i for i in range(50)})
    assert set(client.scan_iter("key:*", count=50)) == names
    assert list(client.scan_iter(_type="hash")) == ["other"]
    assert len(dict(client.hscan_iter("other"))) == 50
    assert set(client.keys("key:*")) == names
    assert client.dbsize() == 501


@pytest.fixture
def cluster(proxy: Proxy) -> Iterator[RedisCluster]:
    with closing(
        RedisCluster(host=proxy.host, port=proxy.port, decode_responses=True, socket_timeout=TIMEOUT)
    ) as client:
        yield client


def test_the_cluster_client_has_pipelines_scripts_and_pubsub(cluster: Any, fleet: Fleet) -> None:
    with cluster.pipeline() as pipeline:
        for i in range(50):
            pipeline.set(f"k:{i}", i)
        assert pipeline.execute() == [True] * 50
    assert cluster.mget_nonatomic([f"k:{i}" for i in range(50)]) == [str(i) for i in range(50)]
    script: Any = cluster.register_script("return redis.call('GET', KEYS[1])")
    assert script(keys=["k:7"]) == "7"
    with cluster.pubsub() as pubsub:
        pubsub.subscribe("news")
        assert pubsub.get_message(timeout=TIMEOUT)["type"] == "subscribe"
        cluster.publish("news", "hello")
        assert pubsub.get_message(timeout=TIMEOUT)["data"] == "hello"
    assert cluster.dbsize() == 50
    assert set(cluster.scan_iter("k:*")) == {f"k:{i}" for i in range(50)}
    nodes = [shard.primary for shard in fleet.shards if isinstance(shard.primary, RedisNode)]
    wait_until(lambda: all(node.ask("PUBSUB", "CHANNELS") == [] for node in nodes), "subscriptions are gone")
