"""The near cache while a primary is replaced: no read is older than what its proxy told a writer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.failover.caching.history import History, Key
from tests.failover.caching.rows import PASSWORD, TABLE, caching, row_of
from tests.failover.site import OpenSite, Site
from tests.fixtures.clients import Wire
from tests.fixtures.postgres import Postgres
from tests.fixtures.proxy import wait_until

OpenWire = Callable[..., Wire]
NEAR = {"memory": "8mb"}
READERS = 2


def killed(site: Site, history: History) -> None:
    primary = site.primary()
    primary.kill()
    history.wait_more()
    primary.start()


def frozen(site: Site, history: History) -> None:
    primary = site.primary()
    primary.freeze()
    history.wait_more()
    primary.thaw()


def switched_over(site: Site, history: History) -> None:
    wait_until(lambda: site.post("/api/switchover", shard=0) is None, "a switchover")


def hits(site: Site) -> float:
    return site.proxy.metrics()['shardproxy_near_hits_total{cluster="main"}']


@pytest.mark.parametrize("fault", [killed, frozen, switched_over], ids=lambda fault: fault.__name__)
def test_no_read_is_older_than_what_its_proxy_has_acknowledged(
    site_with: OpenSite, fault: Callable[[Site, History], None]
) -> None:
    site = site_with(1, 2, writes={"wait": 1}, near_cache=NEAR)
    ways = [site.proxy.address()]
    history = History([Key(f"near:{number}", ways) for number in range(3)])
    with history.run(READERS):
        history.wait_more(writes=20)
        fault(site, history)
        history.wait_more(writes=20)
        site.wait_whole()
        before = hits(site)
        history.wait_more(reads=100)
        assert hits(site) > before, "it is on again"
    history.check()


def test_what_is_written_through_is_read_at_once_by_who_was_told(
    site_with: OpenSite, postgres: Postgres, wire: OpenWire
) -> None:
    database = postgres.database(TABLE)
    site = site_with(1, 0, near_cache=NEAR, caching=caching(database.url), env={PASSWORD: database.password})
    writer, *readers = (wire(site.proxy.address(), timeout=40) for _ in range(5))
    for kind in ("through", "behind"):
        for number in range(200):
            assert writer.ask("SET", f"{kind}:1", number) == b"OK"
            for reader in readers:
                assert [reader.ask("GET", f"{kind}:1") for _ in range(5)] == [str(number).encode()] * 5
    assert hits(site) > 0
    assert row_of(database, "through:1") == "199"
