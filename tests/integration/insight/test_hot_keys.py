"""What the proxy tells of hot and large keys, before real engines."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from shardproxy.model import Engine
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.offload import crc_slot
from tests.fixtures.proxy import Config, Proxy, StartProxy, config_of, wait_until

Open = Callable[..., Wire]
OTHERS = 5000
SLOTS = 16384
LARGE = 40_000  # bytes


def watching(config: Config, **settings: Any) -> Config:
    """Every request is looked at."""
    for cluster in config["clusters"].values():
        cluster["hot_keys"] = {"sample": 1, **settings}
    return config


@pytest.fixture
def proxy(start_fleet: StartFleet, start_proxy: StartProxy) -> Proxy:
    return start_proxy(watching(config_of(start_fleet(shards=2, replicas=0))))


def hot(proxy: Proxy, query: str = "") -> dict[str, Any]:
    status, text = proxy.get(f"/api/hotkeys?cluster=main{query}")
    assert status == 200, text
    found: dict[str, Any] = json.loads(text)["clusters"]["main"]
    return found


def big(proxy: Proxy) -> dict[str, dict[str, Any]]:
    status, text = proxy.get("/api/bigkeys?cluster=main")
    assert status == 200, text
    return {one["key"]: one for one in json.loads(text)["clusters"]["main"]["keys"]}


def ask_all(client: Wire, commands: Sequence[tuple[str | bytes | int, ...]], depth: int = 100) -> None:
    """Send them in pipelines, and read all replies."""
    for start in range(0, len(commands), depth):
        batch = commands[start : start + depth]
        for command in batch:
            client.send_command(*command)
        for _ in batch:
            client.reply()


def key_of(shard: int, prefix: str = "hot") -> str:
    """A key on one of two shards."""
    return next(key for n in range(100) if crc_slot((key := f"{prefix}:{n}").encode()) * 2 // SLOTS == shard)


def counted(document: dict[str, Any], key: str) -> float:
    """How often it was asked for, as far as the document says."""
    rates = {one["key"]: one["requests_per_second"] for one in document["keys"]}
    return float(rates.get(key, 0.0) * document["seconds"])


def test_a_key_asked_for_most_is_first_with_its_shard_and_share(proxy: Proxy, wire: Open) -> None:
    hottest = key_of(1)
    others = [f"user:{n}" for n in range(OTHERS)]
    on_shard = sum(crc_slot(key.encode()) * 2 // SLOTS == 1 for key in others)
    client = wire(proxy)
    commands: list[tuple[str | bytes | int, ...]] = []
    for n, key in enumerate(others):
        commands.append(("GET", key))
        if n % 5 == 0:
            commands.append(("SET" if n % 20 == 0 else "GET", hottest, "v")[: 3 if n % 20 == 0 else 2])
    ask_all(client, commands)
    document = hot(proxy)
    first = document["keys"][0]
    assert first["key"] == hottest
    assert (first["slot"], first["shard"]) == (crc_slot(hottest.encode()), 1)
    assert first["share"] == pytest.approx(1000 / (1000 + on_shard), rel=0.02)
    assert first["reads"] == pytest.approx(0.75, abs=0.01)
    assert counted(document, hottest) == pytest.approx(1000, rel=0.1)
    assert document["sampled"] == OTHERS + 1000
    assert len(document["keys"]) == 100
    assert document["slots"][0]["slot"] == first["slot"]
    families = {one["family"]: one for one in document["families"]}
    assert families["user:*"]["share"] == pytest.approx(5 / 6, rel=0.01)
    assert families["hot:*"]["shards"] == {"1": pytest.approx(first["share"], rel=0.02)}
    wait_until(
        lambda: proxy.metrics()['shardproxy_hot_key_share{cluster="main",shard="1"}'] > first["share"] * 0.9,
        "the share is a metric",
    )


def test_members_of_one_request_count_each_on_its_shard(proxy: Proxy, wire: Open) -> None:
    client = wire(proxy)
    keys = [key_of(0, "a"), key_of(1, "b"), key_of(1, "c")]
    for _ in range(100):
        client.ask("MGET", *keys)
        client.ask("MSET", keys[0], "x", keys[1], "y")
    document = hot(proxy)
    found = {one["key"]: one for one in document["keys"]}
    assert [found[key]["shard"] for key in keys] == [0, 1, 1]
    assert counted(document, keys[0]) == pytest.approx(200, rel=0.1)
    assert counted(document, keys[2]) == pytest.approx(100, rel=0.1)
    assert found[keys[0]]["share"] == 1.0
    assert found[keys[1]]["share"] == pytest.approx(2 / 3, abs=0.01)
    assert (found[keys[0]]["reads"], found[keys[2]]["reads"]) == (0.5, 1.0)


def test_keys_of_transactions_and_scripts_count(proxy: Proxy, wire: Open) -> None:
    client = wire(proxy)
    for _ in range(50):
        client.ask("MULTI")
        client.ask("INCR", "{t}:count")
        client.ask("GET", "{t}:count")
        client.ask("EXEC")
        client.ask("EVAL", "return 1", 1, "script:key")
    document = hot(proxy)
    assert counted(document, "{t}:count") == pytest.approx(100, rel=0.1)
    assert counted(document, "script:key") == pytest.approx(50, rel=0.1)


def test_binary_keys_are_shown_and_long_ones_cut(proxy: Proxy, wire: Open) -> None:
    client = wire(proxy)
    binary, long = b"bin:\x00\xff", b"long:" + b"x" * 1000
    ask_all(client, [("GET", binary), ("GET", long)] * 50)
    keys = [one["key"] for one in hot(proxy)["keys"]]
    assert set(keys[:2]) == {"bin:\\x00\\xff", ("long:" + "x" * 123) + "…"}


def test_no_more_keys_are_told_than_asked_for(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    proxy = start_proxy(watching(config_of(start_fleet(shards=1, replicas=0)), keys=20))
    client = wire(proxy)
    ask_all(client, [("GET", f"k:{n}") for n in range(3000)])
    assert len(hot(proxy)["keys"]) == 20
    assert len(hot(proxy, "&limit=5")["keys"]) == 5


def test_by_bytes_another_key_is_first(proxy: Proxy, wire: Open) -> None:
    client = wire(proxy)
    client.ask("SET", "heavy", "x" * 10_000)
    ask_all(client, [("GET", "light")] * 200 + [("GET", "heavy")] * 20)
    assert hot(proxy)["keys"][0]["key"] == "light"
    first = hot(proxy, "&by=bytes")["keys"][0]
    assert first["key"] == "heavy"
    assert first["bytes_per_second"] > 100 * first["requests_per_second"]


def test_large_requests_and_replies_are_told_by_key(proxy: Proxy, wire: Open) -> None:
    client = wire(proxy)
    large = zlib.crc32(b"x").to_bytes(4, "big") * (LARGE // 4)
    client.ask("SET", "written", large)
    client.ask("RPUSH", "list", *("e" * 100 for _ in range(LARGE // 100)))
    client.ask("LRANGE", "list", 0, -1)
    client.ask("MGET", "small", "written", "none")
    client.ask("GET", "small")
    client.ask("SET", "huge", b"h" * (1 << 20))
    client.ask("GET", "huge")  # it leaves in pieces
    found = big(proxy)
    assert next(iter(found)) == "huge"
    assert found.keys() == {"written", "list", "huge"}
    assert found["written"]["request_bytes"] >= LARGE
    assert found["written"]["reply_bytes"] >= LARGE
    assert (found["list"]["command"], found["list"]["reply_bytes"] > LARGE) == ("rpush", True)
    assert found["huge"]["reply_bytes"] >= 1 << 20
    assert found["written"]["slot"] == crc_slot(b"written")
    assert proxy.metrics()['shardproxy_big_reply_bytes{cluster="main"}'] >= 1 << 20


def test_what_the_near_cache_answers_counts(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    config = config_of(start_fleet(shards=1, replicas=0), near_cache={"memory": "8mb"})
    proxy = start_proxy(watching(config))
    client = wire(proxy)
    client.ask("SET", "page", "v")
    hits = 'shardproxy_near_hits_total{cluster="main"}'
    asked = 0

    def is_near() -> bool:
        nonlocal asked
        ask_all(client, [("GET", "page")] * 100)
        asked += 100
        return proxy.metrics()[hits] >= 500

    wait_until(is_near, "the near cache answers")
    assert counted(hot(proxy), "page") >= asked


def test_memcached_keys_have_a_node_and_no_slot(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    fleet = start_fleet(shards=2, replicas=0, engine=Engine.MEMCACHED)
    proxy = start_proxy(watching(config_of(fleet)))
    client = wire(proxy)
    client.send(b"set large 0 0 40000\r\n" + b"x" * 40_000 + b"\r\n")
    client.expect(b"STORED\r\n")
    for n in range(50):
        client.send(b"get hot\r\nget hot other:%d\r\nmg aG90 v b\r\n" % n)
        client.expect(b"END\r\nEND\r\nEN\r\n")
    client.send(b"get large\r\n")
    client.read(len(b"VALUE large 0 40000\r\n") + 40_000 + len(b"\r\nEND\r\n"))
    document = hot(proxy)
    first = document["keys"][0]
    assert (first["key"], first["slot"], first["shard"] in (0, 1)) == ("hot", None, True)
    assert counted(document, "hot") == pytest.approx(150, rel=0.1)
    assert document["slots"] == []
    large = big(proxy)["large"]
    assert (large["request_bytes"] > LARGE - 1, large["reply_bytes"] > LARGE - 1) == (True, True)


def test_declared_families_are_told_as_declared(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    families = [{"match": "cart:{user}:*", "hash": "{user}"}]
    proxy = start_proxy(watching(config_of(start_fleet(shards=2, replicas=0), key_families=families)))
    client = wire(proxy)
    ask_all(client, [("GET", f"cart:{name}:items") for name in ("ann", "bob")] * 100)
    assert [one["family"] for one in hot(proxy)["families"]] == ["cart:{user}:*"]
    count = 'shardproxy_family_command_seconds_count{cluster="main",family="cart:{user}:*"}'

    def is_counted() -> bool:
        client.ask("GET", "cart:ann:items")
        return bool(proxy.metrics().get(count))

    wait_until(is_counted, "its times are metrics")


def test_nothing_is_looked_at_where_that_is_off(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    config = config_of(start_fleet(shards=1, replicas=0), hot_keys={"enabled": False})
    proxy = start_proxy(config)
    ask_all(wire(proxy), [("GET", "k")] * 1000)
    wire(proxy).ask("SET", "k", "x" * LARGE)
    assert (hot(proxy)["keys"], big(proxy)) == ([], {})


def test_times_are_told_by_shard(proxy: Proxy, wire: Open) -> None:
    client = wire(proxy)
    for _ in range(10):
        client.ask("GET", key_of(0))
        client.ask("SET", key_of(1), "v")
    metrics = proxy.metrics()
    name = "shardproxy_shard_command_seconds_count"
    assert metrics[f'{name}{{class="read",cluster="main",shard="0"}}'] == 10
    assert metrics[f'{name}{{class="write",cluster="main",shard="1"}}'] == 10
    whole = "shardproxy_command_seconds_count"
    assert metrics[f'{whole}{{class="read",cluster="main"}}'] == 10
