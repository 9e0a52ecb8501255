"""Users of the proxy are told what users of one engine are told, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest
import redis

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.model import Address
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Proxy, StartProxy, wait_until

USERS = {  # name -> password and rules
    "app": ("word", "~app:* %R~shared:* resetchannels &app:* +@all -flushall -@dangerous +select|0"),
    "reader": ("reading", "~* resetchannels +@read +@connection +@transaction -get (~get:* +get)"),
    "admin": ("admin", "~* &* +@all"),
    "default": ("secret", "~* &* +@all -lolwut"),
}


@dataclass(frozen=True)
class Sides:
    """The same users at an engine and at a proxy over another one."""

    engine: Address
    proxy: Proxy

    @property
    def served(self) -> Address:
        return self.proxy.address("primary")


@pytest.fixture(scope="module")
def sides(start_fleet_for_module: StartFleet, start_proxy_for_module: StartProxy) -> Sides:
    fleet: Fleet = start_fleet_for_module(shards=2, replicas=0)
    oracle = fleet.shards[0].primary
    assert isinstance(oracle, RedisNode)
    wire = Wire(oracle.address)
    for name, (password, rules) in USERS.items():
        reset = ["reset", "on", f">{password}", *re.findall(r"\(.*?\)|\S+", rules)]
        assert wire.ask("ACL", "SETUSER", name, *reset) == b"OK", name
    assert wire.ask("ACL", "SETUSER", "gone", "off", ">word", "~*", "&*", "+@all") == b"OK"
    wire.close()
    users: list[dict[str, Any]] = [
        {"name": name, "passwords": [{"sha256": sha256(password.encode()).hexdigest()}], "rules": rules}
        for name, (password, rules) in USERS.items()
    ]
    hashed = [{"sha256": sha256(b"word").hexdigest()}]
    users.append({"name": "gone", "enabled": False, "passwords": hashed, "rules": "~* &* +@all"})
    cluster = {"engine": "redis", "shards": fleet.config_shards()[1:], "access": {"users": users}}
    return Sides(oracle.address, start_proxy_for_module({"workers": 1, "clusters": {"main": cluster}}))


SCRIPTS = {
    "before anything": """
        GET a; PING; GET; NOSUCH a b; CLIENT; CLIENT NOSUCH; CLIENT ID; MULTI; EXEC; SUBSCRIBE a; AUTH;
        AUTH x; AUTH a b c; AUTH gone word; AUTH nobody x; AUTH app wrong; AUTH default word; HELLO; HELLO
        3; HELLO x; HELLO 4; HELLO 3 AUTH app; HELLO 3 AUTH app wrong; HELLO 3 SETNAME x; HELLO 3 NOSUCH;
        HELLO 3 AUTH a b NOSUCH;
        HELLO 4 AUTH app word; RESET; GET a; ACL WHOAMI; QUIT
    """,
    "the default user": """
        AUTH secret; ACL WHOAMI; SET k v; GET k; LOLWUT; AUTH wrong; GET k; AUTH app wrong; GET k; RESET;
        GET k; AUTH default secret; GET k; DEL k
    """,
    "what app may": """
        AUTH app word; ACL WHOAMI; SET app:1 x; GET app:1; GET shared:1; SET shared:1 x; GET other; MGET
        app:1 shared:1; MGET app:1 other; MSET app:1 x app:2 y; MSET app:1 x other y; COPY shared:1 app:9;
        COPY app:1 shared:9; RENAME app:2 other; DEL app:2 other; EVAL 'return 1' 0; EVAL 'return 1' 1
        app:1; EVAL 'return 1' 1 other; EVAL 'return 1' x; FLUSHALL; KEYS *; CONFIG GET save; INFO; SELECT
        0; PUBLISH app:1 x; PUBLISH other x; SPUBLISH other x; SORT app:l; SORT app:l BY nosort; SORT
        app:l BY app:*; SORT app:l GET app:*; SORT app:l GET #; SORT app:l STORE other; XADD app:s * a b
        c; XREAD STREAMS app:s shared:s 0 0; XREAD STREAMS app:s other 0 0; GETEX shared:1; GETEX shared:1
        PERSIST; SUBSCRIBE other; PSUBSCRIBE app:1*; SUBSCRIBE app:1 other; OBJECT ENCODING other; OBJECT
        NOSUCH other; BLPOP other 1; WATCH other; WATCH app:1; UNWATCH; DEL app:1 app:l app:s app:9
    """,
    "what reader may": """
        AUTH reader reading; GET a; GET get:a; STRLEN a; SET a b; ECHO x; CLIENT SETNAME x; PUBLISH a b;
        SUBSCRIBE a; MULTI; GET get:a; GET a; EXEC; MULTI; STRLEN a; EXEC; MULTI; SET a b; DISCARD; SORT a
        BY x*; DBSIZE; ACL LIST
    """,
    "within transactions": """
        AUTH admin admin; SET other x; MULTI; GET other; AUTH app wrong; GET other; AUTH app word; EXEC;
        GET other; ACL WHOAMI; MULTI; SET app:1 x; SET other x; EXEC; GET app:1; MULTI; GET app:1; ACL
        WHOAMI; SORT app:l BY app:*; EXEC; AUTH admin admin; DEL other app:1
    """,
    "in RESP3": """
        HELLO 3 AUTH app word; GET other; GET app:none; CLIENT GETNAME; HELLO 3 AUTH nobody x; ACL WHOAMI;
        HELLO 3 AUTH admin admin SETNAME me; ACL WHOAMI; CLIENT GETNAME; RESET; GET a
    """,
    "while it subscribes": """
        AUTH app word; SUBSCRIBE app:1; AUTH admin admin; GET app:1; SUBSCRIBE other; PING; UNSUBSCRIBE;
        PING
    """,
}  # one command after another


def words_of(line: str) -> list[str]:
    return [word.strip("'") for word in re.findall(r"'[^']*'|\S+", line)]


def said(wire: Wire, line: str) -> object:
    """What is said to a line, without what differs from server to server."""
    reply = wire.ask(*words_of(line))
    if isinstance(reply, list) and reply and reply[0] == b"server":
        fields = dict(zip(reply[::2], reply[1::2], strict=True))
        return {**fields, b"id": 0}
    if isinstance(reply, dict):
        return {**reply, b"id": 0}
    if line.startswith(("CLIENT ID", "XADD")):
        return type(reply)
    if line.startswith("EVAL 'return 1' x") and isinstance(reply, ReplyError):
        return str(reply)
    return reply


@pytest.mark.parametrize("name", SCRIPTS)
def test_users_are_told_what_an_engines_are(name: str, sides: Sides, wire: Callable[..., Wire]) -> None:
    ours, theirs = wire(sides.served), wire(sides.engine)
    differ = [
        (line, got, wanted)
        for line in " ".join(SCRIPTS[name].split()).split("; ")
        if (got := said(ours, line)) != (wanted := said(theirs, line))
    ]
    assert not differ, "\n".join(map(repr, differ))


def test_a_client_library_logs_in_as_whom_it_is_told(
    sides: Sides, redis_client: Callable[..., redis.Redis]
) -> None:
    for protocol in (2, 3):
        client = redis_client(sides.proxy, username="app", password="word", protocol=protocol)
        assert client.set("app:key", "x")
        assert client.get("app:key") == b"x"
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.get("other")
        assert client.acl_whoami() in ("app", b"app")  # in RESP3, and in RESP2
        assert client.client_info()["user"] == "app"
        pipeline = client.pipeline()
        pipeline.set("app:key", "y")
        pipeline.set("other", "y")
        with pytest.raises(redis.exceptions.NoPermissionError):
            pipeline.execute()
        assert client.get("app:key") == b"x"
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis_client(sides.proxy, username="app", password="wrong", protocol=protocol).ping()
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis_client(sides.proxy, protocol=protocol).ping()


def test_a_user_that_is_taken_away_is_cut_off(
    sides: Sides, redis_client: Callable[..., redis.Redis], wire: Callable[..., Wire]
) -> None:
    connection, waiting = wire(sides.served), wire(sides.served)
    for one in (connection, waiting):
        assert one.ask("AUTH", "reader", "reading") == b"OK"
    assert connection.ask("GET", "get:none") is None
    config = sides.proxy.config
    users = config["clusters"]["main"]["access"]["users"]
    fewer = [user for user in users if user["name"] != "reader"]
    before = sides.proxy.metrics().get(
        'shardproxy_clients_closed_total{cluster="main",reason="rules_changed"}', 0
    )
    main = {**config["clusters"]["main"], "access": {"users": fewer}}
    try:
        sides.proxy.reload({**config, "clusters": {"main": main}})
        connection.expect_closed()
        waiting.expect_closed()
        name = 'shardproxy_clients_closed_total{cluster="main",reason="rules_changed"}'
        wait_until(lambda: sides.proxy.metrics().get(name, 0) == before + 2, "both are counted")
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis_client(sides.proxy, username="reader", password="reading").ping()
    finally:
        sides.proxy.reload(config)
