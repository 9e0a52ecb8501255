"""Clients that wait at an engine, which tells of no changes: on connections from a bounded pool."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

POOL = 3
MANY = 30
Ask = Callable[..., Wire]


@pytest.fixture(scope="module")
def small(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=1, replicas=0)


@pytest.fixture
def engine(small: Fleet) -> RedisNode:
    node = small.shards[0].primary
    assert isinstance(node, RedisNode)
    node.ask("FLUSHALL")
    keep_silent(node)
    return node


def keep_silent(node: RedisNode) -> None:
    """Let it tell nobody what changes."""
    node.ask("ACL", "SETUSER", "default", "-client|tracking")


@pytest.fixture(scope="module")
def pool(small: Fleet, start_proxy_for_module: StartProxy) -> Proxy:
    """One worker over one shard, with three dedicated connections and little patience for replies."""
    limits = {"dedicated": POOL}
    return start_proxy_for_module(config_of(small, workers=1, limits=limits, timeouts={"reply": "300ms"}))


@pytest.fixture
def pooled(pool: Proxy, engine: RedisNode, wire: Ask) -> Proxy:
    """The same, without a client of another test."""
    only = wire(pool)
    wait_until(lambda: only.ask("CLIENT", "LIST").count(b"\n") == 1, "others have gone")
    only.close()
    wait_blocked(engine, 0)
    return pool


def blocked(engine: RedisNode) -> int:
    lines = engine.ask("INFO", "clients").decode().splitlines()
    return int(
        next(line.removeprefix("blocked_clients:") for line in lines if line.startswith("blocked_clients:"))
    )


def wait_blocked(engine: RedisNode, count: int) -> None:
    wait_until(lambda: blocked(engine) == count, f"{count} clients are blocked")


def test_clients_beyond_the_pool_wait_their_turn(pooled: Proxy, engine: RedisNode, wire: Ask) -> None:
    *clients, other = [wire(pooled) for _ in range(POOL + MANY + 1)]
    for n, client in enumerate(clients):
        client.send_command("BLPOP", "jobs", 0)
        if n < POOL:
            wait_blocked(engine, n + 1)
    assert other.ask("PING") == b"PONG"  # all of that is read
    assert [other.ask("GET", "k") for _ in range(2)] == [
        None,
        None,
    ]  # and whoever was looked for waits by now
    for n, client in enumerate(clients):
        engine.ask("RPUSH", "jobs", f"job {n}")
        assert client.reply() == [b"jobs", b"job %d" % n]  # the one that asked first is served first
    wait_blocked(engine, 0)


def test_others_are_served_meanwhile(pooled: Proxy, engine: RedisNode, wire: Ask) -> None:
    waiting, other = wire(pooled), wire(pooled)
    waiting.send_command("BLPOP", "none", 0)
    wait_blocked(engine, 1)
    assert other.ask("SET", "k", "v") == b"OK"
    assert other.ask("GET", "k") == b"v"


def test_who_waits_longer_than_a_reply_may_take_is_not_cut(pooled: Proxy, wire: Ask) -> None:
    client = wire(pooled)
    assert client.ask("BLPOP", "none", "0.7") is None
    assert client.ask("BRPOP", "none", "0.01") is None
    assert client.ask("PING") == b"PONG"


def test_commands_behind_it_wait_for_it(pooled: Proxy, engine: RedisNode, wire: Ask) -> None:
    client = wire(pooled)
    for words in (("SET", "k", 1), ("BLPOP", "list", 0), ("GET", "k"), ("ECHO", "last")):
        client.send_command(*words)
    assert client.reply() == b"OK"
    wait_blocked(engine, 1)
    engine.ask("SET", "k", 2)
    engine.ask("RPUSH", "list", "x")
    assert [client.reply() for _ in range(3)] == [[b"list", b"x"], b"2", b"last"]


def test_nothing_is_lost_when_the_client_goes(pooled: Proxy, engine: RedisNode, wire: Ask) -> None:
    clients = [wire(pooled) for _ in range(POOL + 2)]
    for client in clients:
        client.send_command("BLPOP", "jobs", 0)
    wait_blocked(engine, POOL)
    for client in clients:
        client.close()
    wait_blocked(engine, 0)
    engine.ask("RPUSH", "jobs", "kept")
    assert wire(pooled).ask("LRANGE", "jobs", 0, -1) == [b"kept"]


def zones(proxy: Proxy) -> list[str | None]:
    """The zone of each node, as the data plane was told of it."""
    (shard,) = json.loads(proxy.get("/api/topology")[1])["clusters"]["main"]["shards"]
    return [node["zone"] for node in shard["nodes"]]


def test_a_reload_keeps_the_pool_its_clients_and_its_bound(
    pooled: Proxy, engine: RedisNode, wire: Ask
) -> None:
    clients = [wire(pooled) for _ in range(POOL + 2)]
    for n, client in enumerate(clients):
        client.send_command("BLPOP", "jobs", 0)
        wait_blocked(engine, min(n + 1, POOL))
    config = copy.deepcopy(pooled.config)
    config["clusters"]["main"]["shards"][0]["nodes"] = [{"address": str(engine.address), "zone": "b"}]
    pooled.reload(config)
    wait_until(lambda: zones(pooled) == ["b"], "the node's zone is served")
    late = wire(pooled)
    late.send_command("BLPOP", "jobs", 0)
    assert wire(pooled).ask("PING") == b"PONG"
    assert blocked(engine) == POOL
    for n, client in enumerate([*clients, late]):
        engine.ask("RPUSH", "jobs", f"job {n}")
        assert client.reply() == [b"jobs", b"job %d" % n]


def test_who_goes_makes_room_for_who_waits(pooled: Proxy, engine: RedisNode, wire: Ask) -> None:
    clients = [wire(pooled) for _ in range(POOL + 2)]
    for n, client in enumerate(clients):
        client.send_command("BLPOP", f"list:{n}", 0)
        wait_blocked(engine, min(n + 1, POOL))
    clients[POOL].close()  # it waits for a connection
    clients[0].close()
    engine.ask("RPUSH", f"list:{POOL + 1}", "x")
    assert clients[POOL + 1].reply() == [b"list:%d" % (POOL + 1), b"x"]


@pytest.mark.parametrize(
    ("request_line", "wake", "reply"),
    [
        ("BLPOP l 0", "RPUSH l x", [b"l", b"x"]),
        ("BRPOP l 0", "RPUSH l x", [b"l", b"x"]),
        ("BLMOVE l {l}d LEFT LEFT 0", "RPUSH l x", b"x"),
        ("BRPOPLPUSH l {l}d 0", "RPUSH l x", b"x"),
        ("BLMPOP 0 2 {l}n l LEFT", "RPUSH l x", [b"l", [b"x"]]),
        ("BZPOPMIN z 0", "ZADD z 1 m", [b"z", b"m", b"1"]),
        ("BZPOPMAX z 0", "ZADD z 1 m", [b"z", b"m", b"1"]),
        ("BZMPOP 0 1 z MIN", "ZADD z 1 m", [b"z", [[b"m", b"1"]]]),
        ("XREAD BLOCK 0 STREAMS x $", "XADD x 1-1 f v", [[b"x", [[b"1-1", [b"f", b"v"]]]]]),
        ("XREADGROUP GROUP g c BLOCK 0 STREAMS y >", "XADD y 1-1 f v", [[b"y", [[b"1-1", [b"f", b"v"]]]]]),
    ],
)
def test_each_wakes_up(
    request_line: str, wake: str, reply: object, proxy: Proxy, fleet: Fleet, wire: Ask
) -> None:
    client, other = wire(proxy), wire(proxy)
    other.ask("XGROUP", "CREATE", "y", "g", "$", "MKSTREAM")
    client.send_command(*request_line.split())
    wait_until(lambda: b" flags=b " in other.ask("CLIENT", "LIST"), "it waits")
    assert other.ask(*wake.split()) == (b"1-1" if wake.startswith("XADD") else 1)
    assert client.reply() == reply


def test_who_waits_is_told_when_the_node_ends(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Ask
) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    engine = fleet.shards[0].primary
    assert isinstance(engine, RedisNode)
    keep_silent(engine)
    client = wire(start_proxy(config_of(fleet, workers=1)))
    client.send_command("BLPOP", "jobs", 0)
    wait_blocked(engine, 1)
    fleet.kill(engine)
    assert str(client.reply()).startswith("ERR INDOUBT shard 0")
    fleet.restart(engine)
    keep_silent(engine)
    client.send_command("BLPOP", "jobs", 0)
    wait_blocked(engine, 1)
    engine.ask("RPUSH", "jobs", "x")
    assert client.reply() == [b"jobs", b"x"]


def test_who_waits_for_the_pool_waits_no_longer_than_it_said(
    pooled: Proxy, engine: RedisNode, wire: Ask
) -> None:
    for n, client in enumerate([wire(pooled) for _ in range(POOL)]):
        client.send_command("BLPOP", "jobs", 0)
        wait_blocked(engine, n + 1)
    clients = [wire(pooled) for _ in range(4)]
    clients[0].ask("HELLO", 3)
    for client, words in zip(
        clients,
        ("BLPOP q 0.2", "BLMOVE q {q}r LEFT LEFT 0.2", "BZMPOP 0.2 1 z MIN", "XREAD BLOCK 200 STREAMS s $"),
        strict=True,
    ):
        client.send_command(*words.split())
    assert [client.reply() for client in clients] == [None] * 4
    one, other = clients[:2]
    one.send_command("BLPOP", "q", 0)
    number = one_waiting(other)
    assert other.ask("CLIENT", "UNBLOCK", number, "ERROR") == 1
    assert one.reply() == "UNBLOCKED client unblocked via CLIENT UNBLOCK"
    assert other.ask("CLIENT", "UNBLOCK", number) == 0


def one_waiting(client: Wire) -> int:
    """The id of the client whose last command was BLPOP on key q: the newest of those that wait."""

    def waiting() -> list[int]:
        lines = client.ask("CLIENT", "LIST").decode().splitlines()
        fields = [dict(word.split("=", 1) for word in line.split()) for line in lines]
        return [int(field["id"]) for field in fields if field["cmd"] == "blpop" and "b" in field["flags"]]

    wait_until(lambda: len(waiting()) == POOL + 1, "it waits")
    return max(waiting())


def reads(reader: Wire, replica: RedisNode) -> bool:
    """Whether what the client reads was ever read from the replica."""
    return reader.ask("GET", "k") is None and b"cmdstat_get:" in replica.ask("INFO", "commandstats")


def test_the_reader_endpoint_waits_on_a_replica(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Ask
) -> None:
    fleet = start_fleet(shards=1, replicas=1)
    primary, replica = fleet.nodes
    assert isinstance(primary, RedisNode)
    assert isinstance(replica, RedisNode)
    proxy = start_proxy(config_of(fleet, workers=1))
    reader, other = Wire(proxy.address("reader")), wire(proxy)
    try:
        assert str(reader.ask("BLPOP", "list", 1)).startswith("READONLY")
        assert other.ask("DEL", "k") == 0  # its primary is known
        wait_until(lambda: reads(reader, replica), "the replica is read from")
        for number in range(2):
            reader.send_command("XREAD", "BLOCK", 0, "STREAMS", "s", "$")
            wait_blocked(replica, 1)
            assert blocked(primary) == 0
            identity = next(
                c for c in other.ask("CLIENT", "LIST").decode().splitlines() if " cmd=xread " in c
            )
            if number == 0:
                assert other.ask("CLIENT", "UNBLOCK", identity.split()[0].removeprefix("id=")) == 1
                assert reader.reply() is None
        assert other.ask("XADD", "s", "1-1", "f", "v") == b"1-1"
        assert reader.reply() == [[b"s", [[b"1-1", [b"f", b"v"]]]]]
        reader.send_command("XREAD", "BLOCK", 0, "STREAMS", "s", "1-1")
        wait_blocked(replica, 1)
        fleet.kill(replica)
        wait_blocked(primary, 1)  # without a replica the primary is read
        assert other.ask("XADD", "s", "2-1", "f", "v") == b"2-1"
        assert reader.reply() == [[b"s", [[b"2-1", [b"f", b"v"]]]]]
    finally:
        reader.close()
