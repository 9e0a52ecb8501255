"""What a proxy over three shards tells of itself is what one server would: of applications, and once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from shardproxy.commands.info_merge import info_read
from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import Wire, redis_cli
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

KEYS = [f"key{number}" for number in range(12)]  # on all three shards
OWN = {
    b"PING",
    b"INFO",
    b"ROLE",
    b"CLIENT",
    b"HELLO",
    b"CONFIG",
    b"SUBSCRIBE",
    b"FUNCTION",
    b"SLOWLOG",
    b"PUBSUB",
}


@pytest.fixture(scope="module")
def watched(start_fleet_for_module: StartFleet) -> Fleet:
    """Shards that log every command."""
    args = ["--slowlog-log-slower-than", "0", "--slowlog-max-len", "10000"]
    return start_fleet_for_module(shards=3, replicas=1, args=args)


@pytest.fixture(scope="module")
def watching(watched: Fleet, start_proxy_for_module: StartProxy) -> Proxy:
    config = config_of(
        watched,
        commands={"allow": ["config|resetstat"]},
        limits={"clients": 77},
        slow_log={"threshold": "off"},  # the engines' entries alone are compared
    )
    return start_proxy_for_module(config)


@pytest.fixture
def client(watching: Proxy) -> Iterator[Wire]:
    with closing(Wire(watching.address())) as client:
        client.ask("CONFIG", "RESETSTAT")
        client.ask("SLOWLOG", "RESET")
        yield client


def fields(client: Wire, section: str) -> dict[str, str]:
    sections = info_read(client.ask("INFO", section).decode())
    return sections[section].fields if section in sections else {}


def test_subscriptions_and_scripts_count_once(watching: Proxy, client: Wire) -> None:
    with closing(Wire(watching.address())) as listening, closing(Wire(watching.address())) as other:
        for subscriber in (listening, other):
            subscriber.ask("SUBSCRIBE", "a")
        for words in (("SUBSCRIBE", "b"), ("PSUBSCRIBE", "a*"), ("SSUBSCRIBE", "c")):
            listening.ask(*words)
        stats = fields(client, "stats")
        named = ("pubsub_channels", "pubsub_patterns", "pubsubshard_channels")
        assert {name: stats[name] for name in named if name in stats} == {
            name: count for name, count in zip(named, ("2", "1", "1"), strict=True) if name in stats
        }
    client.ask("SCRIPT", "FLUSH")
    client.ask("SCRIPT", "LOAD", "return 1")
    client.ask(
        "FUNCTION", "LOAD", "REPLACE", "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
    )
    memory = fields(client, "memory")
    named = ("number_of_cached_scripts", "number_of_functions", "number_of_libraries")
    assert [memory[name] for name in named] == ["1", "1", "1"]


def test_clients_are_those_of_the_proxy(watching: Proxy, client: Wire) -> None:
    waiting = [Wire(watching.address()) for _ in range(3)]
    waiting[0].send_command("BLPOP", "nothing", 0)
    waiting[1].send_command("WAIT", 5, 0)
    wait_until(lambda: fields(client, "clients")["blocked_clients"] == "2", "two are blocked")
    client.ask("CLIENT", "PAUSE", 60_000, "WRITE")
    waiting[2].send_command("SET", "k", "v")
    wait_until(lambda: fields(client, "clients")["blocked_clients"] == "3", "three are blocked")
    told = fields(client, "clients")
    assert (told["connected_clients"], told["maxclients"], told["tracking_clients"]) == ("4", "77", "0")
    assert (
        watching.metrics()['shardproxy_clients_blocked{cluster="main"}'] == 2
    )  # who is in WAIT is elsewhere
    client.ask("CLIENT", "UNPAUSE")
    for wire in waiting:
        wire.close()
    wait_until(lambda: fields(client, "clients")["blocked_clients"] == "0", "nobody is blocked")


def test_statistics_begin_anew(watching: Proxy, client: Wire) -> None:
    for key in KEYS:
        client.ask("SET", key, "v")
        client.ask("GET", key)
    client.ask("MGET", *KEYS)
    client.ask("GET", "missing")
    with closing(Wire(watching.address())) as other:
        other.ask("PING")
    before = fields(client, "stats")
    assert (before["keyspace_hits"], before["keyspace_misses"]) == ("24", "1")
    assert before["total_connections_received"] == "1"
    # RESETSTAT itself, SLOWLOG, SET and GET, MGET for each shard, GET, PING
    assert int(before["total_commands_processed"]) == 1 + 1 + 24 + 3 + 1 + 1
    commands = fields(client, "commandstats")
    assert commands["cmdstat_get"].startswith("calls=13,")
    assert commands["cmdstat_ping"].startswith("calls=1,")
    assert "cmdstat_role" not in commands
    assert "cmdstat_client|setname" not in commands
    assert client.ask("CONFIG", "RESETSTAT") == b"OK"
    after = fields(client, "stats")
    for name in ("keyspace_hits", "keyspace_misses", "total_connections_received", "rejected_connections"):
        assert after[name] == "0", name
    assert int(after["total_commands_processed"]) <= 1
    assert int(after["total_net_input_bytes"]) < 100
    assert not {"cmdstat_get", "cmdstat_ping", "cmdstat_role"} & set(fields(client, "commandstats"))
    assert watching.metrics()['shardproxy_clients_accepted_total{cluster="main"}'] > 1  # those go on


def test_the_slow_log_is_of_applications_and_in_order(watched: Fleet, watching: Proxy, client: Wire) -> None:
    for number, key in enumerate(KEYS * 3):
        client.ask("SET", key, number)
    for shard in watched.shards:  # as health does, and what comes between applications' commands
        assert isinstance(shard.primary, RedisNode)
        for _ in range(40):
            shard.primary.ask("PING")
            shard.primary.ask("INFO", "replication")
    entries = client.ask("SLOWLOG", "GET", -1)
    assert not {entry[3][0].upper() for entry in entries} & OWN
    sets = [int(entry[3][2]) for entry in entries if entry[3][0] == b"SET"]
    assert sorted(sets) == list(range(36))
    numbers, times = ([entry[at] for entry in entries] for at in (0, 1))
    assert times == sorted(times, reverse=True)
    assert numbers == sorted(set(numbers), reverse=True)
    assert max(numbers) < 1 << 53  # so that JavaScript tells them apart
    assert client.ask("SLOWLOG", "LEN") == len(entries)
    assert [entry[0] for entry in client.ask("SLOWLOG", "GET")] == numbers[:10]
    assert [entry[0] for entry in client.ask("SLOWLOG", "GET", 20)] == numbers[:20]
    assert client.ask("SLOWLOG", "GET", 0) == []
    client.ask("SET", "k", "the newest")
    assert client.ask("SLOWLOG", "GET", 1)[0][0] > max(numbers)
    assert client.ask("SLOWLOG", "RESET") == b"OK"
    assert client.ask("SLOWLOG", "LEN") == 0


def test_histograms_are_of_applications(client: Wire) -> None:
    for key in KEYS:
        client.ask("SET", key, "v")
    found = client.ask("LATENCY", "HISTOGRAM")
    calls = {name: told[1] for name, told in zip(found[::2], found[1::2], strict=True)}
    assert calls[b"set"] == 12
    assert not {b"ping", b"info", b"role", b"config|get", b"client|setname", b"hello"} & set(calls)


def test_redis_cli_looks_at_it(watching: Proxy, client: Wire) -> None:
    client.ask("FLUSHALL")
    for key in KEYS:
        client.ask("SET", key, "v" * 100)
    client.ask("RPUSH", "list", *KEYS)
    assert "has 12 items" in redis_cli(watching, "--bigkeys")
    assert "Sampled 13 keys in the keyspace" in redis_cli(watching, "--memkeys")
    assert "MEMORY\nUSAGE\n" in redis_cli(watching, "SLOWLOG", "GET", "5")
    with subprocess.Popen(
        ("redis-cli", "-p", str(watching.port), "--stat", "-i", "0.01"), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        process.kill()
    assert lines[1].split()[0] == "keys"
    assert lines[2].split()[0] == lines[3].split()[0] == "13"
    latency = redis_cli(watching, "--latency", "--raw", "-i", "0.1")
    assert len(latency.split()) == 4
