"""Write-through before memcached: two proxies that write one key, one that is killed behind its COMMIT."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from shardproxy.model import Engine
from tests.failover.caching.gate import Gate
from tests.failover.caching.rows import PASSWORD, TABLE, caching, row_of
from tests.fixtures.clients import Wire
from tests.fixtures.postgres import Database, Postgres
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until
from tests.integration.caching.test_memcached_proxies import ask, found, put

OpenWire = Callable[..., Wire]
MISSING = b"END\r\n"
WRITES = 40
_numbers = itertools.count()


@dataclass
class Setup:
    """The first proxy reaches the database through a gate."""

    source: Gate
    database: Database
    proxies: list[Proxy]

    def shown(self, key: str) -> bytes:
        """What a client is to see."""
        row = row_of(self.database, key)
        return MISSING if row is None else found(key, row.encode())


@pytest.fixture
def setup(postgres: Postgres, start_fleet: Any, start_proxy: StartProxy) -> Iterator[Setup]:
    database = postgres.database(TABLE)
    pool = start_fleet(engine=Engine.MEMCACHED, shards=1, replicas=0)
    source = Gate(database.server.port)

    def start(url: str) -> Proxy:
        rules = caching(url)
        del rules["rules"][1:]
        return start_proxy(config_of(pool, caching=rules), env={PASSWORD: database.password})

    yield Setup(source, database, [start(database.url_at(source.port)), start(database.url)])
    source.close()


@pytest.fixture
def key() -> str:
    return f"through:{next(_numbers)}"


def test_two_proxies_that_write_one_key_leave_the_cache_as_the_database(
    setup: Setup, wire: OpenWire, key: str
) -> None:
    stored: list[str] = []

    def write(number: int) -> None:
        client = wire(setup.proxies[number].address(), timeout=40)
        for version in range(WRITES):
            value = f"{number}-{version}"
            if version % 5 == 4:
                assert ask(client, f"delete {key}") in (b"DELETED\r\n", b"NOT_FOUND\r\n")
            elif put(client, "set", key, value.encode()) == b"STORED\r\n":
                stored.append(value)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(stored) > WRITES
    for proxy in setup.proxies:
        assert ask(wire(proxy.address(), timeout=40), f"get {key}") == setup.shown(key)


@pytest.mark.parametrize("command", ["set", "delete"])
def test_a_proxy_that_is_killed_behind_its_commit_leaves_no_old_value(
    setup: Setup, wire: OpenWire, key: str, command: str
) -> None:
    client, other = (wire(proxy.address(), timeout=40) for proxy in setup.proxies)
    assert put(client, "set", key, b"old") == b"STORED\r\n"
    assert ask(other, f"get {key}") == found(key, b"old")
    setup.source.hold(b"COMMIT", is_answer=True)
    client.send(
        b"delete %b\r\n" % key.encode() if command == "delete" else b"set %b 0 0 3\r\nnew\r\n" % key.encode()
    )
    setup.source.wait_reached()
    after = MISSING if command == "delete" else found(key, b"new")
    assert setup.shown(key) == after
    setup.proxies[0].kill()
    setup.source.drop()
    assert ask(other, f"get {key}") == after
    wait_until(lambda: put(other, "set", key, b"newer") == b"STORED\r\n", "it is written again", timeout=40)
    assert ask(other, f"get {key}") == found(key, b"newer") == setup.shown(key)
