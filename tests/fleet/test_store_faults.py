"""The store loses its leader, is down, or is out of one proxy's reach."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

from tests.failover.load import load_through
from tests.failover.network import Places
from tests.fixtures.proxy import wait_until
from tests.fleet.asserting import assert_sound, errors_but, names, wait_written
from tests.fleet.conftest import OpenProxies
from tests.fleet.history import why_moved
from tests.fleet.site import TTL, Proxies

DOWN = 4.0  # seconds; make chaos takes sixty
HEALS = 5.0  # seconds


def test_without_its_leader_the_store_goes_on(site: Proxies) -> None:
    assert site.etcd is not None
    primary = site.primary()
    with load_through(site.ways(), site.tag) as ledger:
        ledger.wait_more()
        site.etcd.leader().kill()
        ledger.wait_more(500)
        assert ledger.errors == {}
        killed = time.monotonic()
        primary.kill()
        took = wait_written(ledger, killed, *names(site.present))
    site.etcd.start()
    primary.start()
    assert_sound(site, ledger)
    assert errors_but(ledger, "write INDOUBT") == {}
    assert took < HEALS, f"writable after {took:.2f} s"


def test_without_a_store_nothing_changes(site: Proxies) -> None:
    assert site.etcd is not None
    with load_through(site.ways(), site.tag) as ledger:
        ledger.wait_more()
        down = time.monotonic()
        site.etcd.kill()
        time.sleep(DOWN)
        up = time.monotonic()
        site.etcd.start()
        ledger.wait_more()
    assert_sound(site, ledger)
    assert ledger.errors == {}
    assert why_moved(site.history(), down, up) == []


def test_a_primary_that_dies_while_the_store_is_down_is_replaced_after_that(site: Proxies) -> None:
    assert site.etcd is not None
    primary = site.primary()
    with load_through(site.ways(), site.tag) as ledger:
        ledger.wait_more()
        down = time.monotonic()
        site.etcd.kill()
        wait_until(lambda: not any(map(is_synced, site.present_status())), "nobody is synced")
        primary.kill()
        time.sleep(TTL)
        up = time.monotonic()
        site.etcd.start()
        took = wait_written(ledger, time.monotonic(), *names(site.present))
    primary.start()
    assert_sound(site, ledger)
    assert why_moved(site.history(), down, up) == []
    assert errors_but(ledger, "write INDOUBT", "write TRYAGAIN", "read TRYAGAIN") == {}
    assert took < HEALS, f"writable {took:.2f} s after the store was back"


def is_synced(status: dict[str, Any]) -> bool:
    return bool(status["store"]["is_synced"])


def test_a_proxy_without_the_store_acknowledges_nothing_of_the_last_primary(
    proxies_with: OpenProxies, places: Places
) -> None:
    """The primary is cut from all but the one proxy that does not hear of its successor: no `wait` helps."""
    site = proxies_with(3)
    number = next(n for n in site.present if n != site.controller())
    primary = site.primary()
    with load_through(site.ways(), site.tag) as ledger:
        ledger.wait_more()
        places.cut_proxy(number, site.store_ports)
        for other in site.present:
            if other != number:
                places.cut_proxy(other, [primary.port])
        places.cut(primary, site.replicas())
        began = time.monotonic()
        others = [name for name in names(site.present) if name != f"proxy-{number}"]
        took = wait_written(ledger, began, *others)
        time.sleep(TTL + 1.0)
        places.mend()
        back = wait_written(ledger, time.monotonic(), f"proxy-{number}")
        ledger.wait_more()
    assert site.primary() is not primary
    site.wait_whole()
    with closing(site.reader()) as reader:
        found = ledger.found(reader)
    assert ledger.why_unsound(found) == []
    assert site.why_wrong(ledger, found) == []
    assert errors_but(ledger, "write INDOUBT", "write TRYAGAIN", "read TRYAGAIN") == {}
    assert took < TTL + 3.0, f"writable through the others after {took:.2f} s"
    assert back < HEALS, f"and through that one {back:.2f} s after it was mended"


def test_proxies_that_are_cut_from_each_other_agree_all_the_same(site: Proxies, places: Places) -> None:
    with load_through(site.ways(), site.tag) as ledger:
        for number in site.present:
            others = [proxy for n, proxy in enumerate(site.proxies) if n != number]
            places.cut_proxy(number, [port for proxy in others for port in proxy.ports])
        ledger.wait_more()
        for number in site.present:
            before = site.primary()
            assert site.post("/api/switchover", shard=0, number=number) is None
            assert site.primary() is not before
            site.wait_whole()
    assert_sound(site, ledger)
    assert ledger.errors == {}
