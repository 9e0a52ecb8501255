"""Two proxies over a shard that fails over and a database that breaks, while keys are written and read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from shardproxy.model import Address
from tests.failover.caching.gate import Gate
from tests.failover.caching.history import History, Key, settled
from tests.failover.caching.rows import PASSWORD, TABLE, TRIGGER, Direct, caching, row_of
from tests.fixtures.engines import StartFleet
from tests.fixtures.postgres import Database, Postgres, StartPostgres
from tests.fixtures.proxy import Proxy, StartProxy, config_of
from tests.fleet.site import Proxies, open_proxies

DIRECT_PAUSE = 0.1  # seconds: what changes more often than it can be loaded cannot be read

SOME = {"writes": 5, "reads": 10}

_numbers = itertools.count()


@dataclass
class Setup:
    site: Proxies
    server: Postgres
    database: Database


@pytest.fixture(scope="module")
def opened(start_postgres: StartPostgres) -> Iterator[Setup]:
    server = start_postgres()
    database = server.database(TABLE, TRIGGER)
    env = {PASSWORD: database.password}
    with open_proxies(
        2,
        1,
        2,
        members=1,
        env={0: env, 1: env},
        writes={"wait": 1},
        caching=caching(database.url, is_told=True),
    ) as site:
        yield Setup(site, server, database)


@pytest.fixture
def setup(opened: Setup) -> Setup:
    opened.site.wait_whole()
    return opened


def engine_killed(setup: Setup, history: History) -> None:
    primary = setup.site.primary()
    primary.kill()
    history.wait_more(**SOME)
    primary.start()
    setup.site.wait_whole()


def engine_frozen(setup: Setup, history: History) -> None:
    primary = setup.site.primary()
    primary.freeze()
    history.wait_more(**SOME)
    primary.thaw()
    setup.site.wait_whole()


def switched_over(setup: Setup, history: History) -> None:
    setup.site.switch_over()
    history.wait_more(**SOME)


def proxy_killed(setup: Setup, history: History) -> None:
    """Wherever its writes are."""
    setup.site.kill(1)
    history.wait_errors("through")
    setup.site.revive(1)


def database_killed(setup: Setup, history: History) -> None:
    setup.server.kill()
    history.wait_errors("through")
    setup.server.start()


def database_frozen(setup: Setup, history: History) -> None:
    setup.server.freeze()
    history.wait_errors("through")
    setup.server.thaw()


def table_locked(setup: Setup, history: History) -> None:
    with setup.database.connect() as connection, connection.transaction():
        connection.execute("lock table rows in access exclusive mode")
        history.wait_errors("through")


Fault = Callable[[Setup, History], None]
FAULTS: list[Fault] = [
    engine_killed,
    engine_frozen,
    switched_over,
    proxy_killed,
    database_killed,
    database_frozen,
    table_locked,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_nothing_old_is_read_and_nothing_is_lost(setup: Setup, fault: Fault) -> None:
    ways = [proxy.address() for proxy in setup.site.proxies]
    check(setup.database, ways, lambda history: fault(setup, history))


@dataclass
class Linked:
    """Two proxies over one engine without replicas; the first reaches it, and the database, through gates."""

    engine: Gate
    source: Gate
    database: Database
    ways: list[Address]


@pytest.fixture(scope="module")
def linked(
    start_postgres: StartPostgres, start_fleet_for_module: StartFleet, start_proxy_for_module: StartProxy
) -> Iterator[Linked]:
    database = start_postgres().database(TABLE, TRIGGER)
    fleet = start_fleet_for_module(shards=1, replicas=0)
    engine, source = Gate(fleet.shards[0].primary.port), Gate(database.server.port)

    def start(url: str, port: int) -> Proxy:
        config = config_of(fleet, caching=caching(url, is_told=True), failover={"enabled": False})
        config["clusters"]["main"]["shards"] = [{"nodes": [f"127.0.0.1:{port}"]}]
        return start_proxy_for_module(config, env={PASSWORD: database.password})

    gated = start(database.url_at(source.port), engine.port)
    other = start(database.url, fleet.shards[0].primary.port)
    yield Linked(engine, source, database, [gated.address(), other.address()])
    engine.close()
    source.close()


@pytest.mark.parametrize("links", [("engine",), ("source",), ("engine", "source")], ids=" and ".join)
def test_links_that_are_cut_lose_nothing_and_show_nothing_old(linked: Linked, links: tuple[str, ...]) -> None:
    def fault(history: History) -> None:
        for _ in range(2):
            for link in links:
                getattr(linked, link).cut()
            history.wait_errors("through")
            for link in links:
                getattr(linked, link).heal()
            history.wait_more(**SOME)

    check(linked.database, linked.ways, fault)


def check(database: Database, ways: list[Address], fault: Callable[[History], None]) -> None:
    """Have keys written and read in all ways while something breaks."""
    direct = Direct(database)
    keys = [Key(f"{kind}:{next(_numbers)}", ways) for kind in ("through", "behind") * 2]
    keys.append(Key(f"direct:{next(_numbers)}", ways, direct.write, DIRECT_PAUSE))
    history = History(keys)
    try:
        with history.run():
            history.wait_more(**SOME)
            fault(history)
            history.wait_more(**SOME)
    finally:
        direct.close()
    history.check()
    for key in keys:
        for way in ways:
            seen = settled(way, key.name, lambda name: row_of(database, name))
        assert key.may_be(seen, key.told, key.begun), (key.name, seen, key.told, key.begun)
