"""Slots in many pieces: every key lives where the config says, and a reload moves those that have no keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from redis.crc import key_slot

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.oracle import command
from tests.fixtures.proxy import Proxy, StartProxy, wait_until

SHARDS = 3
PIECE = 64  # slots; 256 pieces
KEYS = [f"key:{i}" for i in range(2000)]


def owner(name: str, turn: int) -> int:
    """The shard of a key: pieces are dealt in turn, beginning at another shard each time."""
    return (key_slot(name.encode()) // PIECE + turn) % SHARDS


def config(fleet: Fleet, turn: int) -> dict[str, Any]:
    shards = fleet.config_shards()
    for number, shard in enumerate(shards):
        pieces = (piece for piece in range(16384 // PIECE) if (piece + turn) % SHARDS == number)
        shard["slots"] = ",".join(f"{piece * PIECE}-{piece * PIECE + PIECE - 1}" for piece in pieces)
    return {"workers": 2, "clusters": {"main": {"engine": "redis", "shards": shards}}}


def keys_of(fleet: Fleet, shard: int) -> set[str]:
    node = cast(RedisNode, fleet.shards[shard].primary)
    return {name.decode() for name in node.ask("KEYS", "*")}


def keys_that_belong(shard: int, turn: int) -> set[str]:
    return {name for name in KEYS if owner(name, turn) == shard}


def is_on_record(proxy: Proxy) -> bool:
    shards = json.loads(proxy.get("/api/status")[1])["clusters"]["main"]["shards"]
    return [shard["state"] for shard in shards] == ["ok"] * SHARDS


def test_keys_follow_pieces_of_slots(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Callable[..., Wire]
) -> None:
    fleet = start_fleet(shards=SHARDS, replicas=0)
    proxy = start_proxy(config(fleet, turn=0))
    client = wire(proxy)
    client.send(b"".join(command("SET", name, "first") for name in KEYS))
    assert [client.reply() for _ in KEYS] == [b"OK"] * len(KEYS)
    for shard in range(SHARDS):
        assert keys_of(fleet, shard) == keys_that_belong(shard, turn=0)
    ranges = client.ask("CLUSTER", "SLOTS")
    assert sorted(slot for first, last, *_ in ranges for slot in range(first, last + 1)) == list(range(16384))

    wait_until(lambda: is_on_record(proxy), "who owns which slots is on record")
    proxy.reload(config(fleet, turn=1))
    wait_until(lambda: "slots are not as configured" in proxy.log(), "they stay, and that is said")
    assert client.ask("MSET", *(word for name in KEYS for word in (name, "second"))) == b"OK"
    for shard in range(SHARDS):
        assert keys_of(fleet, shard) == keys_that_belong(shard, turn=0)
    assert client.ask("MGET", *KEYS) == [b"second"] * len(KEYS)
