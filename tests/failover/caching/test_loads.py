"""One load of a key and its expiry, whoever asks for it: counted in the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from shardproxy.fleet import Fleet, RedisNode
from tests.fixtures.clients import Wire
from tests.fixtures.postgres import Database, Postgres
from tests.fixtures.proxy import Proxy, StartProxy, config_of

OpenWire = Callable[..., Wire]
CLIENTS = 1000
COUNTED = """
create sequence loads;
create function loaded(id text) returns text language plpgsql as $$
begin
  perform pg_sleep(0.2);
  return id || '-' || nextval('loads');
end $$
"""


@dataclass
class Setup:
    database: Database
    fleet: Fleet
    proxies: list[Proxy]

    def loads(self) -> int:
        ((count,),) = self.database.run("select case when is_called then last_value else 0 end from loads")
        return int(count)

    def expire(self, *keys: str) -> None:
        for key in keys:
            assert self.primary(key).ask("PEXPIRE", key, 0) == 1

    def primary(self, key: str) -> RedisNode:
        for shard in self.fleet.shards:
            node = shard.primary
            assert isinstance(node, RedisNode)
            if node.ask("EXISTS", key):
                return node
        raise AssertionError(f"{key} is nowhere")


@pytest.fixture
def setup(postgres: Postgres, fleet: Fleet, start_proxy: StartProxy) -> Setup:
    database = postgres.database(COUNTED)
    load = {"source": "main", "sql": "select loaded(:id)", "as": "string"}
    common: dict[str, Any] = {"load": load, "ttl": "1h", "jitter": 0}
    rules = {
        "sources": {"main": {"url": database.url, "password": {"env": "PASSWORD"}, "timeout": "5s"}},
        "rules": [{"match": "k:{id}", **common}, {"match": "old:{id}", "stale": "1h", **common}],
    }
    config = config_of(fleet, caching=rules, failover={"enabled": False})
    env = {"PASSWORD": database.password}
    return Setup(database, fleet, [start_proxy(config, env=env) for _ in range(2)])


def all_ask(setup: Setup, wire: OpenWire, *words: str, clients: int = CLIENTS) -> list[Any]:
    """At once, half of them each proxy."""
    open_ = [wire(setup.proxies[number % 2].address(), timeout=60) for number in range(clients)]
    for client in open_:
        client.send_command(*words)
    replies = [client.reply() for client in open_]
    for client in open_:
        client.close()
    return replies


def test_a_thousand_clients_of_an_expired_key_cost_one_query(setup: Setup, wire: OpenWire) -> None:
    assert all_ask(setup, wire, "GET", "k:1", clients=2) == [b"1-1"] * 2
    setup.expire("k:1")
    assert all_ask(setup, wire, "GET", "k:1") == [b"1-2"] * CLIENTS
    assert setup.loads() == 2


def test_a_thousand_clients_of_an_old_value_cost_one_query(setup: Setup, wire: OpenWire) -> None:
    for shard in setup.fleet.shards:
        node = shard.primary
        assert isinstance(node, RedisNode)
        node.ask("SET", "old:1", "old", "PX", 1_800_000)
    seen = all_ask(setup, wire, "GET", "old:1")
    assert set(seen) <= {b"old", b"1-1"}
    assert b"old" in seen, "it is answered at once"
    while all_ask(setup, wire, "GET", "old:1", clients=2) != [b"1-1"] * 2:
        pass
    all_ask(setup, wire, "GET", "old:1")
    assert setup.loads() == 1


def test_each_key_is_loaded_once_for_each_expiry(setup: Setup, wire: OpenWire) -> None:
    keys = [f"k:{number}" for number in range(20)]
    for times in (1, 2):
        seen = all_ask(setup, wire, "MGET", *keys, clients=40)
        assert all(values == seen[0] for values in seen)
        assert setup.loads() == times * len(keys)
        setup.expire(*keys)
