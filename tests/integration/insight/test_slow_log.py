"""Why was that slow: the proxy's own slow log says where the time of a request went."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, cast

import hiredis
import pytest
import redis

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import Engine
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Config, Proxy, StartProxy, cluster_of, config_of, wait_until

Entry = dict[str, Any]
BUSY = 300_000  # microseconds
SPIN = (  # a script that keeps its engine busy for so long
    "local function now() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end "
    f"local begun = now() while now() - begun < {BUSY} do end return 1"
)
VALUE = "a value that nobody is to see"


@pytest.fixture(scope="module")
def shards(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=2, replicas=0)


@pytest.fixture(scope="module")
def all_slow(shards: Fleet, start_fleet_for_module: StartFleet, start_proxy_for_module: StartProxy) -> Proxy:
    """A proxy to whose clusters every request is slow; of one it keeps few, of another one all arguments."""

    def over(slow_log: dict[str, Any], engine: Engine = Engine.REDIS) -> Config:
        fleet = start_fleet_for_module(shards=1, replicas=0, engine=engine)
        return cluster_of(fleet, slow_log=slow_log)

    clusters = {
        "main": cluster_of(shards, slow_log={"threshold": 0, "entries": 1000}),
        "few": over({"threshold": 0, "entries": 5}),
        "told": over({"threshold": 0, "values": True}),
        "pool": over({"threshold": 0}, Engine.MEMCACHED),
        "off": over({"threshold": "off"}),
    }
    return start_proxy_for_module({"workers": 2, "clusters": clusters})


@pytest.fixture
def proxy(all_slow: Proxy) -> Proxy:
    with closing(Wire(all_slow.address())) as wire:
        assert wire.ask("SLOWLOG", "RESET") == b"OK"
    return all_slow


@pytest.fixture
def wire(proxy: Proxy) -> Iterator[Wire]:
    with closing(Wire(proxy.address())) as wire:
        yield wire


def packed(*words: str | bytes | int) -> bytes:
    return cast(bytes, hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub is wrong


def entries(proxy: Proxy, cluster: str = "main") -> list[Entry]:
    status, text = proxy.get(f"/api/slowlog?cluster={cluster}&limit=1000")
    assert status == 200, text
    return cast(list[Entry], json.loads(text)["clusters"][cluster]["entries"])


def entry_of(proxy: Proxy, *arguments: str, cluster: str = "main") -> Entry:
    """The one whose arguments begin with these."""

    def found() -> Entry | None:
        listed = [
            one for one in entries(proxy, cluster) if tuple(one["arguments"][: len(arguments)]) == arguments
        ]
        return listed[0] if listed else None

    return cast(Entry, wait_until(found, lambda: f"{arguments} among {entries(proxy, cluster)}"))


def test_a_busy_engine_is_told_from_waiting_behind_another_request(proxy: Proxy, wire: Wire) -> None:
    wire.send_command("EVAL", SPIN, 1, "user:1")
    wire.send_command("GET", "user:1")
    assert [wire.reply(), wire.reply()] == [1, None]
    script, read = entry_of(proxy, "EVAL"), entry_of(proxy, "GET")
    assert script["arguments"] == ["EVAL", "user:1", "... (2 more arguments)"]
    assert script["phases"]["engine"] >= BUSY * 0.9
    assert script["phases"]["upstream"] < script["phases"]["engine"]
    assert (script["command"], script["outcome"], script["user"]) == ("eval", "ok", "default")
    assert script["client"].startswith("127.0.0.1:")
    assert script["shard"] in (0, 1)
    assert script["node"] == read["node"]
    # it was nobody's fault but that of the one before it
    assert read["phases"]["waited"] >= BUSY * 0.9
    assert read["phases"]["upstream"] + read["phases"]["client"] < BUSY / 2
    assert read["microseconds"] >= read["phases"]["waited"]


def test_a_busy_engine_is_told_from_a_quick_request_before_it(proxy: Proxy, wire: Wire) -> None:
    wire.send(packed("GET", "user:1") + packed("EVAL", SPIN, 1, "user:1"))
    assert [wire.reply(), wire.reply()] == [None, 1]
    script, read = entry_of(proxy, "EVAL"), entry_of(proxy, "GET")
    assert script["phases"]["engine"] >= BUSY * 0.9
    assert script["phases"]["waited"] < BUSY / 2
    assert read["phases"]["upstream"] < BUSY / 2, "it was not the quick one's fault"


def test_a_transaction_has_the_time_of_what_it_executes(proxy: Proxy, wire: Wire) -> None:
    wire.send(b"".join(packed(*words) for words in (("MULTI",), ("EVAL", SPIN, 1, "user:1"), ("EXEC",))))
    assert [wire.reply() for _ in range(3)] == [b"OK", b"QUEUED", [1]]
    found = entry_of(proxy, "EXEC")
    assert found["phases"]["engine"] >= BUSY * 0.9
    assert found["phases"]["waited"] + found["phases"]["upstream"] < BUSY / 2
    assert found["behind"] is None


def test_what_another_connection_kept_the_engine_busy_with_is_named(
    shards: Fleet, proxy: Proxy, wire: Wire
) -> None:
    wire.ask("GET", "user:1")
    for shard in shards.shards:
        with closing(Wire(cast(RedisNode, shard.primary).address)) as direct:
            direct.send_command("EVAL", SPIN, 0)
            wire.ask("GET", "user:1")
            direct.reply()
    named = [one["behind"] for one in entries(proxy) if one["command"] == "get" and one["behind"] is not None]
    assert named[0]["command"] == "eval"
    assert named[0]["microseconds"] >= BUSY * 0.9


def test_a_client_that_does_not_read_is_seen(proxy: Proxy, wire: Wire) -> None:
    size = 20_000_000
    wire.ask("SET", "large", b"x" * size)

    def answered() -> float:
        return proxy.metrics().get('shardproxy_commands_total{cluster="main",command="get",outcome="ok"}', 0)

    def is_unread() -> bool:
        clients = json.loads(proxy.get("/api/clients")[1])["clients"]
        return any(client["output"] > size // 4 for client in clients)

    with closing(Wire(proxy.address())) as lazy:
        before, sent = answered(), time.monotonic()
        lazy.send_command("GET", "large")
        # until its engine has said all of it, whoever reads or does not, it is the engine's time
        wait_until(lambda: answered() > before, "the proxy has the whole reply")
        has_all = time.monotonic()
        wait_until(is_unread, "the reply waits for its client")
        # so that most of the time is its client's, however slow this machine is
        wait_until(lambda: time.monotonic() - has_all > has_all - sent, "it waited for longer", timeout=60)
        assert not any(one["arguments"][:2] == ["GET", "large"] for one in entries(proxy)), "it is not over"
        waited = (time.monotonic() - has_all) * 1_000_000
        lazy.read(len(f"${size}\r\n") + size + 2)
        found = entry_of(proxy, "GET", "large")
    client, whole = found["phases"]["client"], found["microseconds"]
    assert client >= int(waited) - 1, "all the while that it did not read"
    assert whole / 2 < client <= whole


def test_a_client_that_goes_before_it_has_read_is_told_of(proxy: Proxy, wire: Wire) -> None:
    wire.ask("SET", "large", b"x" * 20_000_000)
    with closing(Wire(proxy.address())) as lazy:
        lazy.send_command("GET", "large")
        lazy.read(1000)
    assert entry_of(proxy, "GET", "large")["outcome"] == "gone"


def test_a_request_that_a_pause_holds_is_parked(proxy: Proxy, wire: Wire) -> None:
    with closing(Wire(proxy.address())) as held:
        held.ask("CLIENT", "SETNAME", "held")
        assert wire.ask("CLIENT", "PAUSE", 60_000, "WRITE") == b"OK"
        held.send_command("SET", "k", VALUE)
        wait_until(lambda: b"flags=b" in wire.ask("CLIENT", "LIST"), "it waits", interval=0.05)
        assert wire.ask("CLIENT", "UNPAUSE") == b"OK"
        assert held.reply() == b"OK"
        found = entry_of(proxy, "SET", "k")
    assert found["phases"]["parked"] > 0
    assert found["phases"]["parked"] > found["phases"]["waited"]
    assert found["name"] == "held"


def test_a_request_that_waits_for_a_primary_is_parked(
    start_fleet: StartFleet, start_proxy: StartProxy
) -> None:
    fleet = start_fleet(shards=1, replicas=1)
    proxy = start_proxy(config_of(fleet, workers=1, timeouts={"park": "60s"}))
    with closing(Wire(proxy.address(), timeout=60)) as wire:
        assert wire.ask("SET", "k", 1) == b"OK"
        assert wire.ask("WAIT", 1, 5000) == 1
        fleet.kill(fleet.shards[0].primary)
        assert wire.ask("SET", "parked", VALUE) == b"OK"
        found = entry_of(proxy, "SET", "parked")
    assert found["phases"]["parked"] > found["microseconds"] / 2
    assert found["phases"]["upstream"] < found["phases"]["parked"]


def test_nothing_secret_is_ever_in_it(proxy: Proxy) -> None:
    with closing(Wire(proxy.address(cluster="told"))) as wire:
        for words in (
            ("AUTH", "hush"),
            ("AUTH", "default", "hush"),
            ("HELLO", 3, "AUTH", "default", "hush"),
            ("ACL", "SETUSER", "somebody", "on", ">hush"),
            ("CONFIG", "SET", "requirepass", "hush"),
            ("MIGRATE", "127.0.0.1", 1, "k", 0, 100, "AUTH2", "default", "hush"),
            ("NOSUCH", "hush"),
        ):
            wire.ask(*words)
        wire.ask("SET", "k", "seen")
        assert entry_of(proxy, "SET", "k", cluster="told")["arguments"] == ["SET", "k", "seen"]
        text = proxy.get("/api/slowlog")[1]
        assert "hush" not in text
        assert not any(b"hush" in word for entry in wire.ask("SLOWLOG", "GET", -1) for word in entry[3])


def test_keys_of_any_bytes_are_shown_and_values_are_not(proxy: Proxy, wire: Wire) -> None:
    wire.ask("SET", b"\xff\x00\xc3\xa4\\k", VALUE)
    wire.ask("MSET", "{a}1", VALUE, "{a}2", VALUE)
    assert entry_of(proxy, "SET")["arguments"] == ["SET", r"\xff\x00ä\\k", "... (1 more arguments)"]
    assert entry_of(proxy, "MSET")["arguments"] == ["MSET", "{a}1", "{a}2", "... (2 more arguments)"]
    assert VALUE not in proxy.get("/api/slowlog")[1]


def test_transactions_and_scattered_commands_are_told_of(proxy: Proxy, wire: Wire) -> None:
    for words in (("MULTI",), ("SET", "t", VALUE), ("EXEC",)):
        wire.ask(*words)
    assert entry_of(proxy, "EXEC")["arguments"] == ["EXEC", "t"]
    wire.ask("MGET", *(f"key{number}" for number in range(10)))
    [part] = wait_until(lambda: [e for e in entries(proxy) if e["command"] == "mget"], "its slowest part")
    assert part["shard"] in (0, 1)
    assert 0 < len(part["arguments"]) - 1 < 10
    assert set(part["arguments"][1:]) < {f"key{number}" for number in range(10)}


def test_errors_are_told_of(proxy: Proxy, wire: Wire) -> None:
    wire.ask("SET", "k", "text")
    wire.ask("LPUSH", "k", 1)
    assert entry_of(proxy, "LPUSH", "k")["outcome"] == "error"


def test_what_the_control_plane_answers_is_told_with_its_arguments(proxy: Proxy, wire: Wire) -> None:
    wire.ask("CONFIG", "GET", "maxmemory")
    found = entry_of(proxy, "CONFIG", "GET")
    assert found["arguments"] == ["CONFIG", "GET", "... (1 more arguments)"]
    assert (found["command"], found["node"]) == ("config|get", None)
    assert found["phases"]["upstream"] > 0


def test_the_newest_are_kept(proxy: Proxy) -> None:
    address = proxy.address(cluster="few")
    with closing(Wire(address)) as wire, closing(Wire(address)) as other:
        for number in range(30):
            (wire, other)[number % 2].ask("GET", number)
        newest = [["GET", str(number)] for number in range(29, 24, -1)]

        def kept() -> list[list[str]]:
            return [entry["arguments"] for entry in entries(proxy, "few")]

        wait_until(lambda: kept() == newest, lambda: f"{kept()}")
        assert (
            len(json.loads(proxy.get("/api/slowlog?cluster=few&limit=2")[1])["clusters"]["few"]["entries"])
            == 2
        )
        told = [entry for entry in wire.ask("SLOWLOG", "GET", -1) if b"(shardproxy:" in entry[3][-1]]
        assert len(told) == 5, "of all workers together"
        assert wire.ask("SLOWLOG", "LEN") >= 5
    assert proxy.metrics()['shardproxy_slow_commands_total{cluster="few"}'] >= 30


def test_slowlog_has_both_logs_and_resets_both(
    proxy: Proxy, redis_client: Callable[..., redis.Redis]
) -> None:
    client = redis_client(proxy, client_name="me")
    client.eval(SPIN, 1, "user:1")
    wait_until(lambda: [e for e in entries(proxy) if e["command"] == "eval"], "it is over")
    logged = [entry for entry in client.slowlog_get(100) if b"EVAL" in entry["command"]]
    [own] = [entry for entry in logged if b"(shardproxy:" in entry["command"]]
    [engines] = [entry for entry in logged if b"(shardproxy:" not in entry["command"]]
    assert own["command"].startswith(b"EVAL user:1 ... (2 more arguments) (shardproxy: waited ")
    assert own["client_name"] == b"me"
    assert own["duration"] >= engines["duration"] >= BUSY * 0.9
    assert own["id"] != engines["id"]
    assert client.slowlog_len() >= 2
    assert client.slowlog_reset()
    assert not any(e["command"] == "eval" for e in entries(proxy))
    assert not any(b"EVAL" in entry["command"] for entry in client.slowlog_get(100))


def test_it_can_be_off_and_reloaded(proxy: Proxy) -> None:
    with closing(Wire(proxy.address(cluster="off"))) as wire:
        wire.ask("EVAL", SPIN, 1, "k")
        document = json.loads(proxy.get("/api/slowlog?cluster=off")[1])
        assert document["clusters"]["off"] == {"threshold_us": None, "entries": []}
        config = copy.deepcopy(proxy.config)
        config["clusters"]["off"]["slow_log"] = {"threshold": 0}
        proxy.reload(config)

        def logged() -> list[Entry]:
            wire.ask("GET", "k")
            return entries(proxy, "off")

        wait_until(logged, "requests are logged from now on")


def test_requests_of_memcached_are_told_of(proxy: Proxy) -> None:
    with closing(Wire(proxy.address(cluster="pool"))) as wire:
        wire.send(f"set k 0 0 {len(VALUE)}\r\n{VALUE}\r\n".encode())
        wire.expect(b"STORED\r\n")
        found = entry_of(proxy, "set", "k", cluster="pool")
    assert found["arguments"] == ["set", "k", "... (3 more arguments)"]
    assert VALUE not in proxy.get("/api/slowlog")[1]


def test_who_asks_for_what_is_not_there_is_told_what_is(proxy: Proxy) -> None:
    status, text = proxy.get("/api/slowlog?cluster=nope")
    assert (status, json.loads(text)) == (
        404,
        {"error": "there is no cluster nope: there is few, main, off, pool, told"},
    )
    assert proxy.get("/api/slowlog?limit=0")[0] == 400
    assert proxy.get("/api/slowlog?limit=x")[0] == 400
