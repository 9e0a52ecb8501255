"""The proxy that decides dies, freezes or loses the primary, at the worst moments."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from shardproxy.store.record import ShardState
from tests.failover.load import load_through
from tests.failover.network import Places
from tests.fixtures.clock import Clock
from tests.fixtures.proxy import wait_until
from tests.fleet.asserting import assert_sound, errors_but, names, wait_written
from tests.fleet.conftest import OpenProxies
from tests.fleet.history import why_spoken
from tests.fleet.site import TTL, Proxies
from tests.fleet.steps import AtStep

TAKES_OVER = TTL + 3.0  # seconds
FREEZE = 6.0  # seconds: twice what a lease lasts; make chaos takes ten
IS_GONE = ("write ConnectionError", "read ConnectionError", "write INDOUBT")
WAITED = ("write TRYAGAIN", "read TRYAGAIN")  # longer than timeouts.park, 3 s, and was not executed


@pytest.mark.parametrize("state", [ShardState.PROMOTING])  # make chaos: the other steps
def test_a_controller_killed_in_a_failover_is_followed_by_the_next(site: Proxies, state: ShardState) -> None:
    number, primary = site.controller(), site.primary()
    with load_through(site.ways(), site.tag) as ledger:
        ledger.wait_more()
        step = AtStep(site, state, lambda: site.kill(number))
        killed = time.monotonic()
        primary.kill()
        wait_until(lambda: step.has_acted, f"a record is {state.value}")
        took = wait_written(ledger, killed, *names(site.present))
        ledger.wait_more()
    assert site.primary() is not primary
    primary.start()
    site.revive(number)
    assert_sound(site, ledger)
    assert errors_but(ledger, *IS_GONE, *WAITED) == {}
    assert took < TAKES_OVER, f"writable after {took:.2f} s"


def test_a_controller_killed_with_the_primary_is_followed_by_the_next(site: Proxies) -> None:
    number, primary = site.controller(), site.primary()
    with load_through(site.ways(), site.tag) as ledger:
        ledger.wait_more()
        killed = time.monotonic()
        site.kill(number)
        primary.kill()
        took = wait_written(ledger, killed, *names(site.present))
        ledger.wait_more()
    primary.start()
    site.revive(number)
    assert_sound(site, ledger)
    assert errors_but(ledger, *IS_GONE, *WAITED) == {}
    assert took < TAKES_OVER, f"writable after {took:.2f} s"


def test_a_controller_that_wakes_tells_no_engine_anything(site: Proxies, places: Places) -> None:
    """It was frozen between its claim and the promotion; another one has promoted since."""
    number, primary = site.controller(), site.primary()
    frozen = site.proxies[number]
    with load_through([way for way in site.ways() if way.name != f"proxy-{number}"], site.tag) as ledger:
        ledger.wait_more()
        step = AtStep(site, ShardState.FENCING, frozen.freeze)
        killed = time.monotonic()
        site.gone.add(number)
        primary.kill()
        wait_until(lambda: step.has_acted, "a record is fencing")
        took = wait_written(ledger, killed, *names(site.present))
        ledger.wait_more()
        time.sleep(max(0.0, killed + FREEZE - time.monotonic()))
        frozen.thaw()
        woken = time.monotonic()
        site.gone.discard(number)
        wait_until(lambda: site.shard(0, number)["epoch"] == site.shard()["epoch"], "it has heard of it")
        assert site.controller() != number
        ledger.wait_more()
    primary.start()
    assert_sound(site, ledger)
    assert why_spoken(site.history(), places.host_of_proxy(number), woken, time.monotonic()) == []
    assert errors_but(ledger, "write INDOUBT", *WAITED) == {}
    assert took < TAKES_OVER, f"writable after {took:.2f} s"


def test_a_controller_cut_from_the_primary_hands_over(site: Proxies, places: Places) -> None:
    """The others reach it: nothing is wrong with it."""
    number, primary, before = site.controller(), site.primary(), site.latest()
    others = [way for way in site.ways() if way.name != f"proxy-{number}"]
    with load_through(others, site.tag) as ledger:
        ledger.wait_more()
        cut = time.monotonic()
        places.cut_proxy(number, [primary.port])
        wait_until(lambda: site.controller() != number, "another one leads", timeout=20.0)
        took = time.monotonic() - cut
        ledger.wait_more()
        time.sleep(1.0)
        places.mend()
        ledger.wait_more()
    assert_sound(site, ledger)
    assert ledger.errors == {}
    assert site.primary() is primary
    assert site.count("FailoverStarted", after=before) == 0
    assert took < 4.0, f"another one led after {took:.2f} s"


def test_a_wall_clock_that_jumps_moves_nothing(proxies_with: OpenProxies, tmp_path: Path) -> None:
    """The controller's, by an hour: no lease and no silence is measured by it."""
    clocks = {number: Clock(tmp_path / f"clock-{number}") for number in range(3)}
    site = proxies_with(3, env={number: clock.environment() for number, clock in clocks.items()})
    number, before = site.controller(), site.latest()
    with load_through(site.ways(), site.tag) as ledger:
        for offset in ("+1h", "-1h", "+0"):
            clocks[number].set(offset)
            time.sleep(2.5)  # it is read again each second, and a silent primary is given another
    assert ledger.errors == {}
    assert site.count("FailoverStarted", after=before) == 0
    assert_sound(site, ledger)
