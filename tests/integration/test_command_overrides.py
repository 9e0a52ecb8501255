"""What a config says of commands: denied ones, restricted ones that are allowed, other names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

Open = Callable[..., Wire]


@pytest.fixture(scope="module")
def open_fleet(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=3, replicas=1, args=["--enable-debug-command", "yes"])


@pytest.fixture(scope="module")
def allowing(start_proxy_for_module: StartProxy, open_fleet: Fleet) -> Proxy:
    """A proxy that lifts every restriction."""
    return start_proxy_for_module(config_of(open_fleet, commands={"allow": ["*"]}))


def asked(fleet: Fleet, *args: str) -> list[Any]:
    return [node.ask(*args) for node in fleet.nodes if isinstance(node, RedisNode)]


def test_denied_commands_are_refused_with_the_reason(
    fleet: Fleet, start_proxy: StartProxy, wire: Open
) -> None:
    client = wire(
        start_proxy(config_of(fleet, commands={"deny": ["GET", "mget", "ping", "client|list", "acl"]}))
    )
    for args in (("get", "k"), ("MGET", "k", "l"), ("PING",), ("CLIENT", "LIST"), ("ACL", "WHOAMI")):
        name = " ".join(args[: 2 if args[0] in ("CLIENT", "ACL") else 1]).upper()
        assert client.ask(*args) == f"ERR {name} is refused by this proxy: denied by commands.deny"
    assert client.ask("SET", "k", "v") == b"OK"
    assert client.ask("GETRANGE", "k", 0, -1) == b"v"
    assert client.ask("CLIENT", "ID") > 0
    assert client.ask("MULTI") == b"OK"
    assert client.ask("GET", "k") == "ERR GET is refused by this proxy: denied by commands.deny"
    assert client.ask("EXEC") == "EXECABORT Transaction discarded because of previous errors."


def test_a_renamed_command_has_its_new_name_only(fleet: Fleet, start_proxy: StartProxy, wire: Open) -> None:
    rename = {"get": "Fetch", "flushall": "wipe-everything", "config": "cfg", "del": "rm", "multi": "begin"}
    client = wire(start_proxy(config_of(fleet, commands={"rename": rename, "deny": ["config|set"]})))
    for n in range(30):
        assert client.ask("SET", f"k{n}", n) == b"OK"
    assert [client.ask("FETCH", f"k{n}") for n in range(30)] == [str(n).encode() for n in range(30)]
    for name in ("get", "GET", "flushall", "del", "multi"):
        assert str(client.ask(name, "k1")).startswith(f"ERR unknown command '{name}', with args")
    assert (
        client.ask("config", "get", "hz")
        == "ERR unknown command 'config', with args beginning with: 'get' 'hz' "
    )
    assert client.ask("CFG", "GET", "hz") == [b"hz", b"10"]
    assert (
        client.ask("cfg", "set", "hz", "5")
        == "ERR CONFIG SET is refused by this proxy: denied by commands.deny"
    )
    assert client.ask("fetch") == "ERR wrong number of arguments for 'get' command"
    assert client.ask("rm", "k0", "k1", "k2", "nope") == 3
    assert client.ask("begin") == b"OK"
    assert client.ask("fetch", "k3") == b"QUEUED"
    assert str(client.ask("get", "k3")).startswith("ERR unknown command 'get'")
    assert str(client.ask("EXEC")).startswith("EXECABORT")
    assert client.ask("begin") == b"OK"
    assert client.ask("fetch", "k3") == b"QUEUED"
    assert client.ask("EXEC") == [b"3"]
    client.send(b"fetch k4\r\n*2\r\n$5\r\nfetch\r\n$2\r\nk5\r\n")
    assert [client.reply(), client.reply()] == [b"4", b"5"]
    assert client.ask("DBSIZE") == 27
    assert client.ask("Wipe-Everything") == b"OK"
    assert client.ask("DBSIZE") == 0


def test_clients_are_told_the_names_they_can_use(fleet: Fleet, start_proxy: StartProxy, wire: Open) -> None:
    rename = {"get": "Fetch", "config": "cfg", "set": "del", "del": "set"}
    client, plain = (
        wire(start_proxy(config_of(fleet, commands={"rename": rename}))),
        wire(fleet.shards[0].primary.address),
    )
    listed = {name.decode() for name in client.ask("COMMAND", "LIST")}
    assert {"fetch", "cfg", "cfg|get", "set", "del", "getdel"} <= listed
    assert not listed & {"get", "config", "config|get"}
    assert client.ask("COMMAND", "COUNT") == len(client.ask("COMMAND"))
    assert "fetch" in {entry[0].decode() for entry in client.ask("COMMAND")}
    fetch, get, cfg, sub, swapped = client.ask("COMMAND", "INFO", "FETCH", "get", "cfg", "cfg|get", "set")
    assert fetch[:6] == [b"fetch", *plain.ask("COMMAND", "INFO", "get")[0][1:6]]
    assert get is None
    assert cfg[0] == b"cfg"
    assert {entry[0] for entry in cfg[9]} >= {b"cfg|get", b"cfg|set"}
    assert sub[0] == b"cfg|get"
    assert swapped[:2] == [b"set", -2]
    assert client.ask("COMMAND", "GETKEYS", "FETCH", "x") == [b"x"]
    assert client.ask("COMMAND", "GETKEYS", "set", "x", "y") == [b"x", b"y"]
    assert client.ask("COMMAND", "GETKEYS", "get", "x") == "ERR Invalid command specified"
    assert client.ask("COMMAND", "GETKEYS", "nope", "x") == "ERR Invalid command specified"
    docs = client.ask("COMMAND", "DOCS", "fetch", "get", "cfg", "cfg|get")
    assert docs[::2] == [b"fetch", b"cfg", b"cfg|get"]
    assert docs[1] == plain.ask("COMMAND", "DOCS", "get")[1]
    assert b"cfg|get" in str(docs[3]).encode()
    assert client.ask("COMMAND", "DOCS")[::2].count(b"fetch") == 1
    assert client.ask("COMMAND", "LIST", "FILTERBY", "PATTERN", "fet*") == [b"fetch"]


def test_names_change_with_a_reload(fleet: Fleet, start_proxy: StartProxy, wire: Open) -> None:
    proxy = start_proxy(config_of(fleet, commands={"rename": {"get": "set", "set": "get"}}))
    client = wire(proxy)
    assert client.ask("GET", "k", "v") == b"OK"
    assert client.ask("SET", "k") == b"v"
    proxy.reload(config_of(fleet, commands={"deny": "get"}))
    wait_until(lambda: client.ask("SET", "k", "w") == b"OK", "the new names are known")
    assert client.ask("GET", "k") == "ERR GET is refused by this proxy: denied by commands.deny"
    proxy.reload(config_of(fleet))
    wait_until(lambda: client.ask("GET", "k") == b"w", "nothing is denied any more")


def test_restricted_commands_are_refused_by_default(proxy: Proxy, wire: Open) -> None:
    client = wire(proxy)
    assert str(client.ask("CONFIG", "SET", "hz", 5)).startswith(
        "ERR CONFIG SET is refused by this proxy: nodes are"
    )
    assert str(client.ask("DEBUG", "SLEEP", 0)).startswith("ERR DEBUG is refused by this proxy")


def test_only_what_is_named_is_allowed(open_fleet: Fleet, start_proxy: StartProxy, wire: Open) -> None:
    client = wire(start_proxy(config_of(open_fleet, commands={"allow": ["config|resetstat", "acl"]})))
    assert client.ask("CONFIG", "RESETSTAT") == b"OK"
    assert client.ask("ACL", "SETUSER", "mallory", "on", ">secret", "+@all", "~*") == b"OK"
    assert "user mallory on " in str(client.ask("ACL", "LIST"))
    assert not any("mallory" in str(reply) for reply in asked(open_fleet, "ACL", "LIST")), "the proxy's own"
    assert client.ask("ACL", "DELUSER", "mallory") == 1
    assert str(client.ask("CONFIG", "SET", "hz", 5)).startswith("ERR CONFIG SET is refused")


def test_allowed_commands_reach_every_node(open_fleet: Fleet, allowing: Proxy, wire: Open) -> None:
    client = wire(allowing)
    assert client.ask("CONFIG", "SET", "hz", 21, "maxmemory-samples", 7) == b"OK"
    assert asked(open_fleet, "CONFIG", "GET", "hz") == [[b"hz", b"21"]] * 6
    assert client.ask("CONFIG", "GET", "hz") == [b"hz", b"21"]
    assert client.ask("BGSAVE") == b"Background saving started"
    assert client.ask("DEBUG", "SLEEP", 0) == b"OK"
    assert str(client.ask("CONFIG", "SET", "nonsense", 1)).startswith("ERR Unknown option")
    for n in range(20):
        client.ask("RPUSH", f"list{n}", n)
        assert "encoding:quicklist" in str(client.ask("DEBUG", "OBJECT", f"list{n}"))
    assert str(client.ask("MULTI", "x")).startswith("ERR wrong number")
    assert client.ask("SWAPDB", 0, 1) == "ERR SWAPDB is not allowed in cluster mode"


def test_what_is_never_allowed_is_refused_with_its_reason(allowing: Proxy, wire: Open) -> None:
    client = wire(allowing)
    for args in (("SHUTDOWN",), ("REPLICAOF", "a", "1"), ("PSYNC", "?", "-1"), ("FAILOVER",)):
        assert str(client.ask(*args)).startswith(f"ERR {args[0]} is refused by this proxy: ")
    assert "is refused" in str(client.ask("CLUSTER", "MEET", "127.0.0.1", "1"))


def test_an_error_of_one_shard_is_the_whole(
    start_fleet: StartFleet, start_proxy: StartProxy, redis_client: Callable[..., redis.Redis]
) -> None:
    fleet = start_fleet(shards=2, replicas=0)
    client = redis_client(start_proxy(config_of(fleet, commands={"allow": "*"})))
    client.config_set("hz", 12)
    fleet.kill(fleet.shards[1].primary)
    with pytest.raises(redis.ResponseError, match="shard 1"):
        client.config_set("hz", 13)
