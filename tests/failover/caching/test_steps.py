"""A proxy that is killed at each step of a write-through, and steps that happen later than anybody expects.

One proxy goes through gates, which stop its requests to the engine and to the database; the other does not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from shardproxy.caching.scripts import CLEAR, FILL, PREPARE, PUBLISH, WRITE
from shardproxy.fleet import Fleet, RedisNode
from tests.failover.caching.gate import Gate
from tests.failover.caching.history import settled
from tests.failover.caching.rows import PASSWORD, TABLE, caching, row_of
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.postgres import Database, Postgres
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until

OpenWire = Callable[..., Wire]
_numbers = itertools.count()


@dataclass
class Setup:
    """`gated` reaches the engine and the database through gates, `other` by itself."""

    engine: Gate
    source: Gate
    database: Database
    fleet: Fleet
    gated: Proxy
    other: Proxy

    def row(self, key: str) -> str | None:
        return row_of(self.database, key)

    def leases(self, key: str) -> list[bytes]:
        node = self.fleet.shards[0].primary
        assert isinstance(node, RedisNode)
        kinds = ("lease", "write")
        return [name for kind in kinds for name in node.ask("KEYS", f"shardproxy:{kind}:*:{key}")]

    def written(self, client: Wire, *words: str) -> None:
        """Have it written, once whoever writes it has ended."""
        wait_until(lambda: not isinstance(client.ask(*words), ReplyError), f"{words} is done", timeout=40)

    def revive(self) -> None:
        if not self.gated.is_running:
            self.gated.begin()
            self.gated.wait_ready()


@pytest.fixture(scope="module")
def opened(
    postgres: Postgres, start_fleet_for_module: Any, start_proxy_for_module: StartProxy
) -> Iterator[Setup]:
    database = postgres.database(TABLE)
    fleet = start_fleet_for_module(shards=1, replicas=0)
    node = fleet.shards[0].primary
    engine, source = Gate(node.port), Gate(database.server.port)

    def start(url: str, port: int) -> Proxy:
        config = config_of(fleet, caching=caching(url), failover={"enabled": False})
        config["clusters"]["main"]["shards"] = [{"nodes": [f"127.0.0.1:{port}"]}]
        return start_proxy_for_module(config, env={PASSWORD: database.password})

    gated = start(database.url_at(source.port), engine.port)
    other = start(database.url, node.port)
    yield Setup(engine, source, database, fleet, gated, other)
    engine.close()
    source.close()


@pytest.fixture
def setup(opened: Setup) -> Setup:
    opened.revive()
    return opened


@pytest.fixture
def key() -> str:
    return f"through:{next(_numbers)}"


STATEMENT = {"SET": b"insert into rows", "DEL": b"delete from rows"}
# Where it is killed; at the request, or at its answer.
STEPS = {
    "before the lease": ("engine", WRITE.digest.encode(), False),
    "with the lease": ("engine", PREPARE.digest.encode(), False),
    "before the statement": ("source", b"", False),
    "after the statement": ("engine", CLEAR.digest.encode(), False),
    "after the key is gone": ("engine", CLEAR.digest.encode(), True),
    "before COMMIT": ("source", b"COMMIT", False),
    "after COMMIT": ("source", b"COMMIT", True),
    "before the engine has it": ("engine", PUBLISH.digest.encode(), False),
    "before the client hears of it": ("engine", PUBLISH.digest.encode(), True),
}
COMMITTED = ("after COMMIT", "before the engine has it", "before the client hears of it")


def stop_at(setup: Setup, step: str, words: tuple[str, ...], wire: OpenWire) -> Gate:
    """Have the gated proxy write, and stop there."""
    where, asked, is_answer = STEPS[step]
    gate: Gate = getattr(setup, where)
    client = wire(setup.gated.address(), timeout=40)
    setup.written(client, "SET", "through:warm", "1")  # scripts and connections are there
    setup.written(client, "DEL", "through:warm")
    gate.hold(asked or STATEMENT[words[0]], is_answer=is_answer)
    client.send_command(*words)
    gate.wait_reached()
    return gate


@pytest.mark.parametrize(
    ("command", "step"), [*(("SET", step) for step in STEPS), *(("DEL", step) for step in COMMITTED)]
)
def test_a_proxy_that_is_killed_leaves_no_old_value_behind(
    setup: Setup, wire: OpenWire, key: str, step: str, command: str
) -> None:
    other = wire(setup.other.address(), timeout=40)
    setup.written(other, "SET", key, "old")
    words = ("SET", key, "new") if command == "SET" else ("DEL", key)
    gate = stop_at(setup, step, words, wire)
    after = {"SET": "new", "DEL": None}[command] if step in COMMITTED else "old"
    assert setup.row(key) == after
    reader = wire(setup.other.address(), timeout=40)
    reader.send_command("GET", key)
    setup.gated.kill()
    gate.drop()
    seen = reader.reply()
    assert seen == (after.encode() if after is not None else None)
    assert settled(setup.other.address(), key, setup.row) == seen
    setup.written(other, "SET", key, "newer")
    assert (setup.row(key), other.ask("GET", key)) == ("newer", b"newer")
    setup.written(other, "DEL", key)
    assert (setup.row(key), other.ask("GET", key)) == (None, None)


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_commit_that_arrives_late_is_seen_or_is_none(
    setup: Setup, wire: OpenWire, key: str, is_killed: bool
) -> None:
    other = wire(setup.other.address(), timeout=40)
    setup.written(other, "SET", key, "old")
    gate = stop_at(setup, "before COMMIT", ("SET", key, "new"), wire)
    if is_killed:
        setup.gated.kill()
    assert setup.leases(key)
    assert other.ask("GET", key) == b"old", "the lease has ended, and what is committed is this"
    gate.release()
    assert settled(setup.other.address(), key, setup.row) in (b"old", b"new")


def test_a_value_that_arrives_late_in_the_engine_is_refused(setup: Setup, wire: OpenWire, key: str) -> None:
    other = wire(setup.other.address(), timeout=40)
    gate = stop_at(setup, "before the engine has it", ("SET", key, "new"), wire)
    setup.gated.kill()
    setup.written(other, "SET", key, "newer")
    gate.release()
    assert settled(setup.other.address(), key, setup.row) == b"newer"


def test_a_fill_that_arrives_late_resurrects_nothing(setup: Setup, wire: OpenWire, key: str) -> None:
    other, client = wire(setup.other.address(), timeout=40), wire(setup.gated.address(), timeout=40)
    setup.database.run("insert into rows values ('through:warm-load', 'x')" + " on conflict do nothing")
    setup.database.run(f"insert into rows values ('{key}', 'old')")
    assert client.ask("GET", "through:warm-load") == b"x"
    setup.engine.hold(FILL.digest.encode())
    client.send_command("GET", key)
    setup.engine.wait_reached()
    setup.written(other, "DEL", key)
    setup.engine.release()
    assert client.reply() is None
    assert settled(setup.other.address(), key, setup.row) is None
