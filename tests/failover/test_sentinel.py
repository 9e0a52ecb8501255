"""Sentinel at length: failovers of all kinds one after another, and a restart of the proxy amid one."""

from __future__ import annotations

import time

from tests.failover.load import load
from tests.fixtures.proxy import wait_until
from tests.fixtures.sentinel import FAILOVER_TIMEOUT
from tests.integration.sentinel.site import SentinelSite, open_sentinel_site
from tests.integration.sentinel.test_following import only_in_doubt

RETURNS_WITHIN = 60.0  # seconds; Sentinel demotes who came back as a primary after ten


def follows(site: SentinelSite, node: object) -> bool:
    return node in site.nodes("replica") and all(row["state"] == "up" for row in site.shard()["nodes"])


def test_failovers_of_all_kinds_one_after_another() -> None:
    with open_sentinel_site(writes={"wait": 1}) as site, load(site.proxy.address(), 0, 1) as ledger:
        for fault in ("kill", "freeze", "failover"):
            ledger.wait_more()
            before = site.sentinels.primary()
            moment = time.monotonic()
            if fault == "kill":
                before.kill()
            elif fault == "freeze":
                before.freeze()
            else:
                site.sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", "shard-0")
            site.wait_other(before.address)
            ledger.wait_more()
            writable = ledger.first_after(moment)
            assert writable is not None
            assert writable < 10, fault
            if fault == "kill":
                before.restart()
            elif fault == "freeze":
                before.thaw()
            wait_until(
                lambda: follows(site, before.address),  # noqa: B023
                lambda: f"it follows after {fault}: {site.shard()}",  # noqa: B023
                RETURNS_WITHIN,
            )
            time.sleep(2 * FAILOVER_TIMEOUT / 1000)  # Sentinel refuses the next one until then
        assert ledger.check(site.client) == []
    assert only_in_doubt(ledger), ledger.errors


def test_a_restart_in_the_middle_of_a_failover() -> None:
    with open_sentinel_site() as site:
        site.client.set("key", "1")
        before = site.sentinels.primary()
        before.kill()
        wait_until(lambda: site.shard()["state"] == "fencing", lambda: f"it is parked: {site.shard()}")
        site.proxy.restart()  # ready once the Sentinels have decided
        assert not site.serves(before.address)
        assert site.client.get("key") == b"1"
        assert site.client.set("key", "2")
