"""From where clients may connect, over real sockets: groups, balancers, reloads, metrics and the log."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from shardproxy.fleet import Fleet
from shardproxy.model import Address, Engine
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import Config, Proxy, StartProxy, config_of, wait_until

BALANCER = "127.0.0.9"
HEADER = b"PROXY TCP4 192.0.2.7 127.0.0.1 50000 6379\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


NOBODY = dict.fromkeys(
    ("limit", "security_group", "no_balancer", "proxy_header", "handshake", "handshake_limit"), 0
)

Behind = Callable[[bytes], Wire]
Open = Callable[..., Wire]  # from an address of this machine: wire(address, source="127.0.0.2")


def config(fleet: Fleet, groups: list[Any], inbound: list[str] | None, **endpoints: Any) -> Config:
    options: dict[str, Any] = {"access": {"inbound": inbound}} if inbound else {}
    made = config_of(fleet, **options)
    made["security_groups"] = groups
    made["log"] = {"format": "json"}
    if endpoints:
        made["clusters"]["main"]["endpoints"] = endpoints
    return made


def group(name: str, *sources: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "inbound": [{"from": list(sources), **more}]}


def logged(proxy: Proxy, event: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in proxy.log().splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == event]


def refused(proxy: Proxy) -> dict[str, float]:
    name = "shardproxy_connections_refused_total"
    metrics = proxy.metrics()
    return {
        key.split('reason="')[1].rstrip('"}'): value for key, value in metrics.items() if key.startswith(name)
    }


def test_groups_say_who_may_connect_to_which_endpoint(
    fleet: Fleet, start_proxy: StartProxy, wire: Open
) -> None:
    groups = [
        {
            "name": "office",
            "inbound": [{"from": ["group:pods"]}, {"from": "127.0.0.2", "endpoints": ["reader"]}],
        },
        group("pods", "127.0.0.4/31", "group:operators"),
        group("operators", "127.0.0.1"),
    ]
    proxy = start_proxy(config(fleet, groups, ["office"]))
    for source, primary, reader in [
        ("127.0.0.1", True, True),
        ("127.0.0.2", False, True),
        ("127.0.0.3", False, False),
        ("127.0.0.5", True, True),
        ("127.0.0.6", False, False),
    ]:
        for kind, is_admitted in (("primary", primary), ("reader", reader)):
            client = wire(proxy.address(kind), source=source)
            if is_admitted:
                assert client.ask("PING") == b"PONG", (source, kind)
            else:
                client.expect_closed()
    assert refused(proxy) == {**NOBODY, "security_group": 5}
    told = {(line["endpoint"], line["client"].split(":")[0]) for line in logged(proxy, "connection refused")}
    assert told == {("primary", "127.0.0.2"), ("reader", "127.0.0.3")}, "the first of each endpoint"
    assert wire(proxy.address("primary")).ask("INFO", "stats").count(b"rejected_connections:0") == 1


def test_a_reload_closes_who_no_longer_fits(fleet: Fleet, start_proxy: StartProxy, wire: Open) -> None:
    proxy = start_proxy(config(fleet, [group("all", "127.0.0.0/8")], ["all"]))
    at = proxy.address("primary")
    stays, goes = wire(at), wire(at, source="127.0.0.2")
    subscribes = wire(at, source="127.0.0.2")
    assert (stays.ask("SET", "key", "1"), goes.ask("GET", "key")) == (b"OK", b"1")
    assert subscribes.ask("SUBSCRIBE", "news")[0] == b"subscribe"
    proxy.reload(config(fleet, [group("all", "127.0.0.1")], ["all"]))
    for client in (goes, subscribes):
        client.expect_closed()
    assert stays.ask("GET", "key") == b"1"
    wire(at, source="127.0.0.2").expect_closed()
    proxy.reload(config(fleet, [group("all", "127.0.0.1")], None))
    wait_until(lambda: len(logged(proxy, "config reloaded")) == 2, "it is reloaded")
    assert wire(at, source="127.0.0.2").ask("GET", "key") == b"1"
    proxy.reload(config(fleet, [group("all", "group:some")], ["all"]))
    wait_until(lambda: logged(proxy, "config refused, the old one stays"), "what is wrong is refused")
    assert wire(at, source="127.0.0.2").ask("GET", "key") == b"1"


def test_ipv6_clients_are_judged_by_their_address(fleet: Fleet, start_proxy: StartProxy, wire: Open) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as free:
        at = Address("::1", free.getsockname()[1])
    endpoints = {"primary": {"address": str(at)}}
    proxy = start_proxy(config(fleet, [group("here", "::1")], ["here"], **endpoints))
    client = wire(at, source="::1")
    assert client.ask("PING") == b"PONG"
    proxy.reload(config(fleet, [group("here", "fd00::/8", "0.0.0.0/0")], ["here"], **endpoints))
    client.expect_closed()
    wire(at, source="::1").expect_closed()


@pytest.fixture
def balanced(fleet: Fleet, start_proxy: StartProxy) -> Proxy:
    """A proxy whose primary endpoint is behind a balancer, for the clients of two networks."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        primary, reader = (f"127.0.0.1:{each.getsockname()[1]}" for each in (one, two))
    groups = [group("clients", "192.0.2.0/24", "2001:db8::/32"), group("balancers", BALANCER)]
    protocol = {"from": ["group:balancers", "10.0.0.0/8"]}
    endpoints = {"primary": {"address": primary, "proxy_protocol": protocol}, "reader": reader}
    made = config(fleet, groups, ["clients"], **endpoints)
    made["clusters"]["main"]["access"]["inbound"].append("local")
    made["security_groups"].append(group("local", "127.0.0.1", endpoints=["reader"]))
    return start_proxy(made)


def balanced_address(proxy: Proxy) -> Address:
    return Address.parse(proxy.config["clusters"]["main"]["endpoints"]["primary"]["address"])


@pytest.fixture
def behind(balanced: Proxy, wire: Open) -> Behind:
    """Connect by way of the balancer, which says this first."""

    def connect(header: bytes) -> Wire:
        made = wire(balanced_address(balanced), source=BALANCER)
        made.send(header)
        return made

    return connect


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack(">BBH", 0x20 | command, family, len(body)) + body


V4 = socket.inet_aton("192.0.2.8") + socket.inet_aton("10.0.0.1") + struct.pack(">HH", 50001, 6379)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") * 2 + struct.pack(">HH", 50002, 6379)


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (HEADER, "192.0.2.7:50000"),
        (b"PROXY TCP6 2001:db8::5 ::1 7 6379\r\n", "[2001:db8::5]:7"),
        (v2(1, 0x11, V4), "192.0.2.8:50001"),
        (v2(1, 0x21, V6 + b"\x02\x00\x04host\x20\x00\x05\x01\0\0\0\0"), "[2001:db8::1]:50002"),
    ],
    ids=["v1", "v1, IPv6", "v2", "v2, IPv6 and TLVs"],
)
def test_clients_are_shown_where_they_are(behind: Behind, header: bytes, address: str) -> None:
    client = behind(header)
    assert client.ask("SET", "key", "1") == b"OK"
    info = client.ask("CLIENT", "INFO").decode()
    assert f" addr={address} " in info, info
    watcher = behind(HEADER.replace(b"192.0.2.7", b"192.0.2.99"))
    assert f" addr={address} " in watcher.ask("CLIENT", "LIST").decode()
    assert watcher.ask("MONITOR") == b"OK"
    client.ask("GET", "key")
    assert f"[0 {address}]" in str(watcher.reply())
    assert behind(HEADER.replace(b"192.0.2.7", b"192.0.2.98")).ask("CLIENT", "KILL", "ADDR", address) == 1
    client.expect_closed()


def test_a_header_may_come_with_the_first_requests(behind: Behind) -> None:
    client = behind(HEADER + b"SET key 5\r\nINCR key\r\nGET k")
    assert (client.reply(), client.reply()) == (b"OK", 6)
    client.send(b"ey\r\n")
    assert client.reply() == b"6"


def test_health_checks_of_the_balancer_are_served(balanced: Proxy, behind: Behind) -> None:
    for header in (v2(0, 0, b""), b"PROXY UNKNOWN\r\n", v2(1, 0, b"")):
        check = behind(header)
        assert check.ask("PING") == b"PONG"
        assert f" addr={BALANCER}:" in check.ask("CLIENT", "INFO").decode()
        check.close()
    behind(b"").close()  # a check that only connects
    wait_until(lambda: balanced.metrics()['shardproxy_clients{cluster="main"}'] == 0, "they are gone")
    assert not any(refused(balanced).values())


def test_whoever_is_no_balancer_or_no_client_is_refused(balanced: Proxy, behind: Behind, wire: Open) -> None:
    impostor = wire(balanced_address(balanced))
    impostor.expect_closed()
    behind(b"PROXY TCP4 198.51.100.1 10.0.0.1 1 2\r\n").expect_closed()
    behind(b"*1\r\n$4\r\nPING\r\n").expect_closed()
    assert refused(balanced) == {**NOBODY, "security_group": 1, "no_balancer": 1, "proxy_header": 1}
    wait_until(lambda: len(logged(balanced, "connection refused")) == 3, "the log is told of each kind")
    told = {line["why"]: line["client"].rpartition(":")[0] for line in logged(balanced, "connection refused")}
    assert told == {
        "no_balancer": "127.0.0.1",
        "security_group": "198.51.100.1",
        "no PROXY protocol header": BALANCER,
    }
    events = {
        key: value for key, value in balanced.metrics().items() if key.startswith("shardproxy_access_total")
    }
    assert events == {
        'shardproxy_access_total{cluster="main",event="connection_refused"}': 2,
        'shardproxy_access_total{cluster="main",event="header_refused"}': 1,
    }
    reader = wire(balanced.address("reader"))
    assert reader.ask("PING") == b"PONG", "the other endpoint is for clients themselves"


def test_memcached_endpoints_have_the_same_door(
    start_fleet: StartFleet, start_proxy: StartProxy, wire: Open
) -> None:
    pool = start_fleet(shards=1, replicas=0, engine=Engine.MEMCACHED)
    with socket.create_server(("127.0.0.1", 0)) as free:
        at = f"127.0.0.1:{free.getsockname()[1]}"
    endpoint = {"address": at, "proxy_protocol": {"from": BALANCER}}
    proxy = start_proxy(config(pool, [group("clients", "192.0.2.0/24")], ["clients"], configuration=endpoint))
    client = wire(Address.parse(at), source=BALANCER)
    client.send(HEADER + b"set a 0 0 1\r\nx\r\nget a\r\n")
    client.expect(b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n")
    other = wire(Address.parse(at), source=BALANCER)
    other.send(HEADER.replace(b"192.0.2.7", b"192.0.3.7"))
    other.expect_closed()
    assert refused(proxy)["security_group"] == 1
