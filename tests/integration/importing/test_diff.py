"""`shardproxy diff` of real engines: planted differences of every kind are found, and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from shardproxy.cli import main
from shardproxy.fleet import Fleet
from shardproxy.importing.diff import DiffPlan, Tally, diff_run, side_open
from shardproxy.importing.url import Foreign
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import StartProxy, config_of
from tests.fixtures.redis_cluster import RedisCluster
from tests.fixtures.sentinel import StartSentinels
from tests.integration.importing.filling import fill_collections

BIG = 3000  # elements: no small encoding, and several chunks
FAST = ("--rate", "100000", "--again", "0", "--output", "json")

Client = Callable[..., redis.Redis]


def fill(client: Any, many: int = 300) -> None:
    """Keys of every type, small and large, some with a time to live."""
    for number in range(many):
        client.set(f"s:{number}", f"value {number}" * (number % 7 + 1))
    client.set("s:int", 12345)
    client.set("s:large", b"\x00\xff" * 800_000)
    client.set("s:gone", "x", pxat=int(time.time() * 1000) + 3_600_000)
    fill_collections(client, BIG, 1200)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["diff", *words, *FAST])
    said = capsys.readouterr()
    assert said.out, said.err
    return code, json.loads(said.out)


@pytest.fixture
def pair(start_fleet: StartFleet, redis_client: Client) -> tuple[Fleet, redis.Redis, redis.Redis]:
    fleet = start_fleet(shards=2, replicas=0)
    a, b = (redis_client(shard.primary.address) for shard in fleet.shards)
    fill(a)
    now = int(time.time() * 1000)
    for key in a.scan_iter(count=1000):
        expires = a.pexpiretime(key)
        b.restore(key, max(expires, 0), a.dump(key) or b"", absttl=expires > now)
    return fleet, a, b


def urls(fleet: Fleet) -> list[str]:
    return [f"redis://{shard.primary.address}" for shard in fleet.shards]


def test_a_copy_is_the_same(
    pair: tuple[Fleet, redis.Redis, redis.Redis], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, a, _ = pair
    code, said = run(capsys, *urls(fleet))
    assert (code, said["same"], said["keys"]) == (0, True, [])
    assert said["compared"] == a.dbsize()


def test_other_encodings_of_the_same_are_the_same(
    pair: tuple[Fleet, redis.Redis, redis.Redis], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, _, b = pair
    for name in ("hash-max-listpack-entries", "zset-max-listpack-entries", "list-max-listpack-size"):
        b.config_set(name, 1)
    b.config_set("set-max-intset-entries", 1)
    for kind in "lmizh":
        b.delete(f"{kind}:small")
    b.rpush("l:small", *range(5))
    b.sadd("m:small", *(f"m{n}" for n in reversed(range(5))))
    b.sadd("i:small", *reversed(range(5)))
    b.zadd("z:small", {f"m{n}": n / 7 for n in range(5)})
    b.hset("h:small", mapping={f"f{n}": f"v{n}" * 3 for n in reversed(range(5))})
    b.append("s:int", "6")
    b.setrange("s:int", 5, "")
    b.set("s:int", 12345)
    code, said = run(capsys, *urls(fleet))
    assert (code, said["keys"]) == (0, [])


def test_every_planted_difference_is_found(
    pair: tuple[Fleet, redis.Redis, redis.Redis], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, a, b = pair
    expires = a.pexpiretime("s:gone")
    b.delete("s:1")
    b.set("only", 1)
    b.delete("s:2")
    b.rpush("s:2", "x")
    b.set("s:3", "other")
    b.setrange("s:large", 1_500_000, "x")
    b.pexpireat("s:gone", expires + 1)
    b.expire("s:4", 100)
    b.lset("l:large", BIG - 1, "x")
    b.lset("l:small", 0, "x")
    b.srem("m:large", "m7")
    b.sadd("m:large", "other")
    b.srem("i:small", 1)
    b.zadd("z:large", {"m2999": 1.5})
    b.hset("h:large", "f2999", "x")
    b.hset("h:small", "f1", "x")
    b.xdel("x:large", "1150-1")
    b.xadd("x:large", {"n": 0}, id="1201-1")
    b.xack("x:small", "readers", "1-1")
    code, said = run(capsys, *urls(fleet), "--show", "100")
    assert code == 1
    assert {entry["key"]: entry["what"] for entry in said["keys"]} == {
        "s:1": "only in A",
        "only": "only in B",
        "s:2": "type",
        "s:gone": "time to live",
        "s:4": "time to live",
        **dict.fromkeys(
            ("s:3", "s:large", "l:large", "l:small", "m:large", "i:small", "z:large", "h:large")
            + ("h:small", "x:large", "x:small"),
            "value",
        ),
    }
    code, said = run(capsys, *urls(fleet), "--match", "only*")
    assert [entry["key"] for entry in said["keys"]] == ["only"]
    code, said = run(capsys, *urls(fleet), "--ttl-within", "1", "--match", "s:gone")
    assert code == 0


async def test_what_differs_for_a_moment_is_settled(pair: tuple[Fleet, redis.Redis, redis.Redis]) -> None:
    fleet, a, _ = pair
    a.set("late", "x")  # B never has it: while it is there they differ
    seen: list[set[bytes]] = []

    def show(tally: Tally) -> None:
        if tally.different and not seen:
            seen.append(set(tally.different))
            a.delete("late")

    url_a, url_b = map(Foreign.parse, urls(fleet))
    async with side_open("A", url_a) as side_a, side_open("B", url_b) as side_b:
        tally = await diff_run(side_a, side_b, DiffPlan(rate=100_000), show)
    assert seen == [{b"late"}]
    assert (tally.settled, tally.is_same) == (1, True)


def test_a_redis_cluster_a_sentinel_and_a_proxy_are_sides_too(
    start_sentinels: StartSentinels,
    start_fleet: StartFleet,
    start_proxy: StartProxy,
    redis_client: Client,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    sentinels = start_sentinels(replicas=1, password="secret")
    password = tmp_path / "password"
    password.write_text("secret\n")
    where = ",".join(str(sentinel.address) for sentinel in sentinels.sentinels)
    by_sentinel = f"sentinel://{where}/{sentinels.names[0]}?password_file={password}"
    proxy = start_proxy(config_of(start_fleet(shards=2, replicas=0)))
    cluster = RedisCluster(primaries=3, replicas=0)
    try:
        cluster.start()
        host, _, port = cluster.seeds[1].rpartition(":")
        by_cluster = redis.RedisCluster(host, int(port))
        for client in (by_cluster, redis_client(proxy), sentinel_client(sentinels, redis_client)):
            for number in range(200):
                client.set(f"k:{number}", number)
        of_cluster = f"redis://{cluster.seeds[0]}"
        for other in (by_sentinel, "main"):
            code, said = run(capsys, of_cluster, other, "--admin", proxy.admin.removeprefix("http://"))
            assert (code, said["compared"], said["keys"]) == (0, 200, []), other
        by_cluster.set("k:7", "other")
        by_cluster.close()
        code, said = run(capsys, by_sentinel, of_cluster)
        assert (code, [entry["key"] for entry in said["keys"]]) == (1, ["k:7"])
    finally:
        cluster.close()


def sentinel_client(sentinels: Any, redis_client: Client) -> redis.Redis:
    return redis_client(sentinels.primary().address, password="secret")


def test_who_cannot_be_asked_is_named(start_fleet: StartFleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = start_fleet(shards=1, replicas=0, password="secret")
    url = f"redis://{fleet.shards[0].primary.address}"
    assert main(["diff", url, url]) == 2
    assert "NOAUTH" in capsys.readouterr().err
    assert main(["diff", url.replace("redis://", "redis://:wrong@"), url]) == 2
    err = capsys.readouterr().err
    assert "WRONGPASS" in err
    assert ":wrong" not in err
