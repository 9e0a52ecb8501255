"""A rule that writes in another way from now on while its database lacks writes, and a killed proxy."""

from __future__ import annotations

import copy
from collections.abc import Callable

from shardproxy.fleet import RedisNode
from tests.failover.caching.rows import PASSWORD, TABLE, caching, row_of
from tests.fixtures.caching import names
from tests.fixtures.clients import ReplyError, Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.postgres import Postgres
from tests.fixtures.proxy import Config, StartProxy, config_of, wait_until

OpenWire = Callable[..., Wire]
KEY = "through:1"


def with_mode(config: Config, mode: str) -> Config:
    changed = copy.deepcopy(config)
    for rule in changed["clusters"]["main"]["caching"]["rules"]:
        if "write" in rule:
            rule["write"]["mode"] = mode
    return changed


def test_notes_of_a_rule_that_writes_through_by_now_outlive_a_proxy_that_is_killed(
    start_fleet: StartFleet, start_proxy: StartProxy, postgres: Postgres, wire: OpenWire
) -> None:
    database = postgres.database(TABLE)
    fleet = start_fleet(shards=1, replicas=0)
    engine = fleet.shards[0].primary
    assert isinstance(engine, RedisNode)
    config = config_of(fleet, caching=caching(database.url), failover={"enabled": False})
    proxy = start_proxy(with_mode(config, "behind"), env={PASSWORD: database.password})
    client = wire(proxy.address(), timeout=40)
    with database.connect() as connection, connection.transaction():
        connection.execute("lock table rows in access exclusive mode")
        assert client.ask("SET", KEY, "behind") == b"OK"
        proxy.reload(with_mode(config, "through"))
        wait_until(lambda: "config reloaded" in proxy.log(), "it is taken")
        refused = client.ask("SET", KEY, "early")
        assert isinstance(refused, ReplyError)
        assert str(refused) == "ERR LOADER not written: the database lacks earlier writes of the key"
        proxy.kill()
    # it may have died while it brought the note on
    drain = names().of_key("main", KEY.encode()).drain
    engine.ask("SET", drain, "d:of-the-dead", "PX", 3000)
    proxy.begin()
    proxy.wait_ready()
    client = wire(proxy.address(), timeout=40)
    assert client.ask("GET", KEY) == b"behind"
    wait_until(lambda: client.ask("SET", KEY, "through") == b"OK", "it is written through", timeout=30)
    assert row_of(database, KEY) == "through"
    stream = names().of_key("main", KEY.encode()).stream
    wait_until(lambda: engine.ask("EXISTS", drain, stream) == 0, "nothing is left of it", timeout=30)
