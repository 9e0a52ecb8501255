"""coredis on trio against the proxy."""

from __future__ import annotations

import coredis
import trio

from tests.fixtures.proxy import Proxy

TASKS = 20
KEYS = 50


async def test_many_tasks_share_one_client(proxy: Proxy) -> None:
    seen: list[str | None] = []

    async def work(task: int) -> None:
        for i in range(KEYS):
            name = f"t:{task}:{i}"
            await client.set(name, name)
            seen.append(await client.get(name))

    client: coredis.Redis[str] = coredis.Redis(host=proxy.host, port=proxy.port, decode_responses=True)
    with trio.fail_after(30):
        async with client, trio.open_nursery() as nursery:
            for task in range(TASKS):
                nursery.start_soon(work, task)
    assert sorted(map(str, seen)) == sorted(f"t:{task}:{i}" for task in range(TASKS) for i in range(KEYS))


async def test_the_cluster_client_finds_its_way(proxy: Proxy) -> None:
    client: coredis.RedisCluster[str] = coredis.RedisCluster(
        host=proxy.host, port=proxy.port, decode_responses=True
    )
    with trio.fail_after(30):
        async with client:
            for i in range(KEYS):
                assert await client.set(f"k:{i}", str(i))
            assert [await client.get(f"k:{i}") for i in range(KEYS)] == [str(i) for i in range(KEYS)]


async def test_pipelines_and_transactions(proxy: Proxy) -> None:
    client: coredis.Redis[str] = coredis.Redis(host=proxy.host, port=proxy.port, decode_responses=True)
    with trio.fail_after(30):
        async with client:
            async with client.pipeline(transaction=False) as pipeline:
                written = [pipeline.set(f"k:{i}", str(i)) for i in range(KEYS)]
                read = [pipeline.get(f"k:{i}") for i in range(KEYS)]
            assert [await reply for reply in written] == [True] * KEYS
            assert [await reply for reply in read] == [str(i) for i in range(KEYS)]
            async with client.pipeline(transaction=True) as pipeline:
                total, both = pipeline.incrby("{t}a", 5), pipeline.mget(["{t}a", "{t}b"])
            assert (await total, await both) == (5, ("5", None))


async def test_pubsub_hears_every_message(proxy: Proxy) -> None:
    client: coredis.Redis[str] = coredis.Redis(host=proxy.host, port=proxy.port, decode_responses=True)
    with trio.fail_after(30):
        async with client, client.pubsub(channels=["news"], patterns=["p:*"]) as pubsub:
            for i in range(KEYS):
                assert await client.publish("news", str(i)) == 1
                assert (
                    await client.publish("p:1", str(i)) == 1
                )  # order is kept within a channel, which has one shard
            heard: dict[str, list[str]] = {"message": [], "pmessage": []}
            while sum(map(len, heard.values())) < 2 * KEYS:
                message = await pubsub.get_message(timeout=10)
                if message is not None and message["type"] in heard:
                    heard[message["type"]].append(str(message["data"]))
    assert heard == {kind: [str(i) for i in range(KEYS)] for kind in heard}
