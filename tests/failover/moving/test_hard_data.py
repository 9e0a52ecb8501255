"""Data that is hard to move: a hot key of a million members, and what empties all while it moves."""

from __future__ import annotations

import threading

import redis

from tests.failover.load import connect
from tests.failover.moving.conftest import OpenMoving
from tests.failover.moving.workload import fill, working
from tests.fixtures.proxy import wait_until

MEMBERS = 1_000_000
HOT = "ranking:1"  # slot 8704: it moves


def test_a_hot_key_of_a_million_members_moves_without_a_long_pause(moving_with: OpenMoving) -> None:
    site = moving_with(shards=2, empty=1, timeouts={"park": "10s"})
    client = connect(site.proxy.address(), timeout=60.0)
    for part in range(20):
        pipe = client.pipeline(transaction=False)
        for first in range(part * MEMBERS // 20, (part + 1) * MEMBERS // 20, 1000):
            pipe.zadd(HOT, {f"m{n}": n for n in range(first, first + 1000)})
        pipe.execute()
    raised: dict[str, int] = {}
    stop, errors = threading.Event(), []

    def raise_scores() -> None:
        writer = connect(site.proxy.address(), timeout=60.0)
        number = 0
        while not stop.is_set():
            number = (number + 7919) % MEMBERS
            try:
                writer.zincrby(HOT, 1, f"m{number}")
            except redis.RedisError as error:
                errors.append(str(error))
            raised[f"m{number}"] = raised.get(f"m{number}", 0) + 1

    thread = threading.Thread(target=raise_scores)
    thread.start()
    try:
        wait_until(lambda: len(raised) > 1000, "scores rise", timeout=60)
        result = site.move(timeout=240, do="scale", shards=2)
    finally:
        stop.set()
        thread.join()
    print("pause", result["pause_ms"])
    assert errors == []
    assert client.zcard(HOT) == MEMBERS
    names = list(raised)
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.zscore(HOT, name)
    found = dict(zip(names, pipe.execute(), strict=True))
    assert {name: int(name[1:]) + count for name, count in raised.items()} == found
    assert site.strays() == []


def test_what_is_emptied_while_it_moves_is_empty(moving_with: OpenMoving) -> None:
    site = moving_with(shards=2, empty=1)
    fill(site.proxy.address(), 20_000)
    client = connect(site.proxy.address(), timeout=20.0)
    number = site.begin(do="scale", shards=2, rate=1 << 20)
    wait_until(lambda: site.has_recorded('"step":"copy"'), "it copies", timeout=60, interval=0.001)
    wait_until(lambda: site.job(number)["progress"]["done"] > 1000, "some is copied", timeout=60)
    client.flushall()
    client.set("after", "1")
    job = site.wait_over(number)
    assert job["state"] == "done", job["why"]
    assert client.get("after") == b"1"
    assert client.dbsize() == 1
    assert sum(site.primary(shard).ask("DBSIZE") for shard in range(2)) == 1


def test_a_target_that_evicts_gets_nothing(moving_with: OpenMoving) -> None:
    site = moving_with(shards=2, empty=1)
    fill(site.proxy.address(), 20_000)
    keys, target = site.primary(0).ask("DBSIZE"), site.primary(1)
    number = site.begin(do="scale", shards=2, rate=1 << 20)
    wait_until(lambda: site.job(number)["progress"]["done"] > 1000, "some is copied", timeout=60)
    target.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    target.ask("CONFIG", "SET", "maxmemory", str(int(target.info("memory")["used_memory"]) - (64 << 10)))
    job = site.wait_over(number)
    assert job["state"] == "failed"
    assert "evicts keys" in job["why"]
    assert site.primary(0).ask("DBSIZE") == keys
    assert [node.ask("DBSIZE") for node in (target, *site.replicas(1))] == [0, 0]
    assert site.strays() == []


def test_commands_wait_on_at_the_new_owner(moving_with: OpenMoving) -> None:
    site = moving_with(shards=2, empty=1)
    client, other = connect(site.proxy.address(), timeout=60.0), connect(site.proxy.address())
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(client.blpop(["queue:1"], timeout=50)))
    thread.start()
    with working(site.proxy.address(), writers=1) as load:
        wait_until(lambda: load.done > 100, "some work is done", timeout=60)
        site.move(do="move", moves=["0-16383:1"])
    other.rpush("queue:1", "x")
    thread.join()
    assert got == [(b"queue:1", b"x")]
    assert load.errors == {}
