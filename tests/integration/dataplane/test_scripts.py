"""Scripts that engines have lost run all the same, and in their client's order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import hiredis
import pytest

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

BODY = "return redis.call('APPEND', KEYS[1], ARGV[1])"
Ask = Callable[..., Wire]


@pytest.fixture
def scripted(fleet: Fleet, start_proxy: StartProxy, wire: Ask) -> Proxy:
    flush(fleet)
    proxy = start_proxy(config_of(fleet, workers=1))
    assert wire(proxy).ask("DEL", *"abcd") == 0  # by now the primaries of all shards are known
    return proxy


def flush(fleet: Fleet) -> None:
    for shard in fleet.shards:
        assert isinstance(shard.primary, RedisNode)
        shard.primary.ask("SCRIPT", "FLUSH")


def pipeline(client: Wire, *requests: tuple[str | int, ...]) -> list[object]:
    client.send(b"".join(hiredis.pack_command(request) for request in requests))  # type: ignore[arg-type]  # its stub is wrong
    return [client.reply() for _ in requests]


@pytest.mark.parametrize("key", ["a", "b", "c", "d"])
def test_a_lost_script_runs_in_its_clients_order(scripted: Proxy, fleet: Fleet, wire: Ask, key: str) -> None:
    client = wire(scripted)
    digest = client.ask("SCRIPT", "LOAD", BODY)
    flush(fleet)
    call = ("EVALSHA", digest, 1, key, "x")
    assert pipeline(client, call, ("GET", key), ("SET", key, 2), call) == [1, b"x", b"OK", 2]
    assert client.ask("GET", key) == b"2x"
    flush(fleet)  # the connection has seen it: only the next call brings it again
    lost, *others = pipeline(client, call, ("GET", key))
    assert isinstance(lost, ReplyError)
    assert str(lost).startswith("NOSCRIPT")
    assert others == [b"2x"]
    assert pipeline(client, call, ("GET", key)) == [3, b"2xx"]


def test_a_lost_script_runs_in_a_transaction(scripted: Proxy, fleet: Fleet, wire: Ask) -> None:
    client = wire(scripted)
    digest = client.ask("SCRIPT", "LOAD", BODY)
    flush(fleet)
    call = ("EVALSHA", digest, 1, "k", "x")
    assert pipeline(client, ("MULTI",), call, call, ("EXEC",))[-1] == [1, 2]
    flush(fleet)
    assert str(pipeline(client, ("MULTI",), call, ("EXEC",))[-1][0]).startswith("NOSCRIPT")  # type: ignore[index]
    assert pipeline(client, ("MULTI",), call, ("EXEC",))[-1] == [3]
    client.ask("WATCH", "k")
    flush(fleet)
    assert pipeline(client, ("MULTI",), call, ("EXEC",))[-1] == [4]


def test_scripts_come_along_to_a_restarted_node(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Ask
) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    client = wire(start_proxy(config_of(fleet, workers=1)))
    call = ("EVALSHA", client.ask("SCRIPT", "LOAD", BODY), 1, "k", "x")
    assert pipeline(client, call) == [1]
    fleet.kill(node)
    fleet.restart(node)
    wait_until(lambda: client.ask("SET", "k", "") == b"OK", "it is back")
    assert pipeline(client, call, ("GET", "k"), call) == [1, b"x", 2]


def test_a_script_that_was_run_by_eval_exists_for_all(scripted: Proxy, wire: Ask) -> None:
    client, digest = wire(scripted), hashlib.sha1(BODY.encode(), usedforsecurity=False).hexdigest()
    assert client.ask("SCRIPT", "EXISTS", digest, "nope") == [0, 0]
    assert client.ask("EVAL", BODY, 1, "a", "x") == 1
    assert wire(scripted).ask("SCRIPT", "EXISTS", digest, "nope", digest.upper()) == [1, 0, 1]
    assert [client.ask("EVALSHA", digest, 1, key, "x") for key in "abcd"] == [2, 1, 1, 1]
    assert client.ask("SCRIPT", "FLUSH") == b"OK"
    assert client.ask("SCRIPT", "EXISTS", digest) == [0]
