"""Sentinel at length: failovers of all kinds one after another, and a restart of the proxy amid one."""

from __future__ import annotations

import time

from shardproxy.fleet import RedisNode
from tests.failover.load import Ledger, load
from tests.fixtures.proxy import wait_until
from tests.fixtures.sentinel import FAILOVER_TIMEOUT
from tests.integration.sentinel.site import SentinelSite, open_sentinel_site
from tests.integration.sentinel.test_following import only_in_doubt

RETURNS_WITHIN = 60.0  # seconds; Sentinel demotes who came back as a primary after ten


def follows(site: SentinelSite, node: RedisNode) -> bool:
    return node.address in site.nodes("replica") and all(
        row["state"] == "up" for row in site.shard()["nodes"]
    )


def test_a_primary_that_freezes_and_one_that_dies_lose_nothing() -> None:
    with open_sentinel_site(writes={"wait": 1}) as site:
        with load(site.proxy.address(), 0, 1) as ledger:
            for fault in ("freeze", "kill"):
                before = fail_over(site, ledger, fault)
                if fault == "freeze":
                    before.thaw()
                    wait_until(
                        lambda: follows(site, before),  # noqa: B023
                        lambda: f"it follows: {site.shard()}",
                        RETURNS_WITHIN,
                    )
                    time.sleep(2 * FAILOVER_TIMEOUT / 1000)  # Sentinel refuses the next one until then
        assert ledger.check(site.client) == []
    assert only_in_doubt(ledger), ledger.errors


def test_a_failover_that_somebody_asks_sentinel_for_is_a_blip() -> None:
    """What is acknowledged until the proxy has heard of it may be lost, if the machine is busy."""
    with open_sentinel_site(writes={"wait": 1}) as site:
        with load(site.proxy.address(), 0, 1) as ledger:
            fail_over(site, ledger, "failover")
        assert [fault for fault in ledger.check(site.client) if "acknowledged writes lost" not in fault] == []
    assert only_in_doubt(ledger), ledger.errors


def fail_over(site: SentinelSite, ledger: Ledger, fault: str) -> RedisNode:
    """Have the primary replaced; return it."""
    ledger.wait_more()
    before = site.sentinels.primary()
    moment = time.monotonic()
    harm(site, before, fault)
    site.wait_other(before.address)
    ledger.wait_more()
    writable = ledger.first_after(moment)
    assert writable is not None
    assert writable < 10, fault
    return before


def harm(site: SentinelSite, node: RedisNode, fault: str) -> None:
    match fault:
        case "kill":
            node.kill()
        case "freeze":
            node.freeze()
        case "failover":  # as an operator asks for it at a Sentinel, and we have to notice
            site.sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", "shard-0")


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
