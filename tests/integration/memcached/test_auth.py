"""memcached -Y: to nodes and from clients."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from shardproxy.config.access import hash_of
from shardproxy.fleet import Fleet
from shardproxy.model import Engine
from tests.fixtures.clients import Wire
from tests.fixtures.proxy import StartProxy, config_of, wait_until
from tests.integration.memcached.conftest import StartPool

UNKNOWN = b"CLIENT_ERROR unauthenticated\r\n"


def test_the_proxy_logs_in_to_nodes_and_clients_to_the_proxy(
    start_fleet: Callable[..., Fleet],
    start_proxy: StartProxy,
    wire: Callable[..., Wire],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    users = tmp_path / "users"
    users.write_text("proxy:node-secret\n")
    users.chmod(0o644)
    monkeypatch.setenv("NODE_SECRET", "node-secret")
    monkeypatch.setenv("CLIENT_SECRET", "app-secret")
    fleet = Fleet(shards=1, replicas=0, engine=Engine.MEMCACHED, args=())
    node_auth = {"username": "proxy", "password": {"env": "NODE_SECRET"}}
    client_auth = {"username": "app", "password": {"env": "CLIENT_SECRET"}}
    with Secured(fleet, users):
        proxy = start_proxy(config_of(fleet, workers=1, node_auth=node_auth, client_auth=client_auth))
        connection = wire(proxy)
        for request, reply in (
            (b"get a\r\n", UNKNOWN),
            (b"set x 0 0 3\r\napp\r\n", b"CLIENT_ERROR bad authentication token format\r\n"),
            (b"set x 0 0 9\r\napp wrong\r\n", b"CLIENT_ERROR authentication failure\r\n"),
            (b"set x 0 0 14\r\napp app-secret\r\n", b"STORED\r\n"),
            (b"set a 0 0 1\r\nx\r\nget a\r\n", b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"),
        ):
            connection.send(request)
            connection.expect(reply)


def test_a_binary_client_is_told_nothing_before_it_logs_in(
    start_pool: StartPool, wire: Callable[..., Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT_SECRET", "app-secret")
    proxy, _ = start_pool(1, client_auth={"username": "app", "password": {"env": "CLIENT_SECRET"}})
    connection = wire(proxy)
    connection.send(b"\x80\x20\x00\x00" + bytes(20))
    connection.expect_closed()
    name = 'shardproxy_clients_closed_total{cluster="main",reason="binary_protocol"}'
    wait_until(lambda: proxy.metrics()[name] == 1, "it is counted")
    wait_until(lambda: "binary protocol" in proxy.log(), "it is logged")


def test_a_user_may_what_its_rules_say(start_pool: StartPool, wire: Callable[..., Wire]) -> None:
    password = {"sha256": sha256(b"secret").hexdigest()}
    writer = {"name": "writer", "passwords": [password], "rules": "~app:* +@all -flushall"}
    reader = {"name": "reader", "passwords": [password], "preset": "read-only"}
    proxy, _ = start_pool(2, access={"users": [writer, reader]})
    connections = []
    for name in (b"writer", b"reader"):
        connection = wire(proxy)
        connection.send(b"set x 0 0 13\r\n%s secret\r\n" % name)
        connection.expect(b"STORED\r\n")
        connections.append(connection)
    no_command = b"CLIENT_ERROR this user has no permissions to run this command\r\n"
    no_key = b"CLIENT_ERROR this user has no permissions to access one of the keys\r\n"
    value = b"VALUE app:1 0 7\r\nget a\r\n\r\nEND\r\n"
    for connection, request, reply in (
        (connections[0], b"set app:1 0 0 7\r\nget a\r\n\r\n", b"STORED\r\n"),
        (connections[0], b"set other 0 0 7\r\nget a\r\n\r\n", no_key),
        (connections[0], b"get app:1 other\r\n", no_key),
        (connections[0], b"flush_all\r\n", no_command),
        (connections[1], b"set app:1 0 0 7\r\nget b\r\n\r\n", no_command),
        (connections[1], b"delete app:1 noreply\r\nget app:1 app:2\r\n", value),
        (connections[1], b"mg app:1 v\r\n", b"VA 7\r\nget a\r\n\r\n"),
    ):
        connection.send(request + b"mn\r\n")
        connection.expect(reply + b"MN\r\n")
    counted = {
        name: count for name, count in proxy.metrics().items() if "access" in name and "denied" in name
    }
    assert sum(counted.values()) >= 5, counted


def test_a_file_without_users_opens_nothing(
    start_pool: StartPool, wire: Callable[..., Wire], tmp_path: Path
) -> None:
    users = tmp_path / "users.yaml"
    users.write_text("- {name: web, passwords: [{sha256: '" + hash_of("secret") + "'}]}\n")
    proxy, _ = start_pool(1, access={"users_file": str(users)})
    users.write_text("")
    wait_until(lambda: f"{users}:1:1: names no user" in proxy.log(), "it is told")
    stranger, web = wire(proxy), wire(proxy)
    stranger.send(b"get a\r\n")
    stranger.expect(UNKNOWN)
    web.send(b"set x 0 0 10\r\nweb secret\r\n")
    web.expect(b"STORED\r\n")


class Secured:
    """The fleet with nodes that want a login: they are not asked anything before they count as started."""

    def __init__(self, fleet: Fleet, users: Path) -> None:
        self.fleet = fleet
        self.users = users

    def __enter__(self) -> Fleet:
        from shardproxy.fleet import MemcachedNode

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MemcachedNode, "why_not_ready", self.why_not_ready)
            self.fleet._args = ("-Y", str(self.users))
            self.fleet.start()
        return self.fleet

    def __exit__(self, *_: object) -> None:
        self.fleet.close()

    @staticmethod
    def why_not_ready(node: object) -> str | None:
        try:
            connection = Wire(node.address)  # type: ignore[attr-defined]
        except OSError as e:
            return str(e)
        connection.send(b"get a\r\n")
        connection.expect(UNKNOWN)
        connection.close()
        return None


def test_users_have_rules(start_pool: StartPool, wire: Callable[..., Wire]) -> None:
    users = [
        {
            "name": "web",
            "passwords": [{"sha256": hash_of("secret")}],
            "rules": "~page:* +@read +@write -@dangerous",
        },
        {"name": "report", "passwords": [{"sha256": hash_of("secret")}], "preset": "read-only"},
    ]
    proxy, _ = start_pool(2, access={"users": users})
    web, report = wire(proxy), wire(proxy)
    no_key = b"CLIENT_ERROR this user has no permissions to access one of the keys\r\n"
    no_command = b"CLIENT_ERROR this user has no permissions to run this command\r\n"
    for connection, steps in (
        (
            web,
            (
                (b"set x 0 0 10\r\nweb secret\r\n", b"STORED\r\n"),
                (b"set page:1 0 0 1\r\nx\r\nset other 0 0 1\r\nx\r\n", b"STORED\r\n" + no_key),
                (b"flush_all\r\n", no_command),
            ),
        ),
        (
            report,
            (
                (b"set x 0 0 13\r\nreport secret\r\n", b"STORED\r\n"),
                (b"get page:1 other\r\n", b"VALUE page:1 0 1\r\nx\r\nEND\r\n"),
                (
                    b"set page:1 0 0 5\r\nget x\r\nget page:1\r\n",
                    no_command + b"VALUE page:1 0 1\r\nx\r\nEND\r\n",
                ),
            ),
        ),
    ):
        for request, reply in steps:
            connection.send(request)
            connection.expect(reply)
