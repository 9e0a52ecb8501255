"""What goes wrong, under load, and what the applications notice of it."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shardproxy.fleet import RedisNode
from tests.failover.load import Ledger, connect, load, tag_of
from tests.failover.site import OpenSite, Site
from tests.fixtures.clock import Clock
from tests.fixtures.proxy import wait_until


def accident_over(site: Site, ledger: Ledger, since: float) -> float:
    """Wait until a write that began after the accident was acknowledged; how long that took."""
    wait_until(lambda: ledger.first_after(since) is not None, "writes go on", timeout=15.0)
    found = ledger.first_after(since)
    assert found is not None
    return found


def assert_sound(site: Site, ledger: Ledger) -> None:
    assert ledger.check(connect(site.proxy.address())) == []


def errors_but(ledger: Ledger, *expected: str) -> dict[str, int]:
    return {kind: count for kind, count in ledger.errors.items() if kind not in expected}


@pytest.mark.parametrize("wait", [0, 1])
def test_a_killed_primary_is_replaced(site_with: OpenSite, wait: int) -> None:
    site = site_with(2, 1 + wait, writes={"wait": wait})
    primary = site.primary()
    with load(site.proxy.address(), 0, 2) as ledger, load(site.proxy.address(), 1, 2) as other:
        ledger.wait_more()
        killed = time.monotonic()
        primary.kill()
        assert accident_over(site, ledger, killed) < 5.0
        ledger.wait_more()
    assert errors_but(ledger, "write INDOUBT") == {}
    assert other.errors == {}
    assert_sound(site, ledger)
    assert site.primary() is not primary
    assert site.count("FailoverComplete") == 1
    primary.start()
    site.wait_whole()
    assert site.primary() is not primary, "it came back as a replica, and stays one"
    assert_sound(site, ledger)


def test_an_empty_primary_that_is_back_at_once_does_not_wipe_its_replica(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    primary = site.primary()
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        killed = time.monotonic()
        primary.kill()
        primary.start()  # empty
        assert accident_over(site, ledger, killed) < 5.0
        ledger.wait_more()
    assert errors_but(ledger, "write INDOUBT") == {}
    site.wait_whole()
    assert_sound(site, ledger)
    assert site.primary() is not primary


def test_a_frozen_primary_is_replaced_and_never_believed_again(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    primary = site.primary()
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        frozen = time.monotonic()
        primary.freeze()
        assert accident_over(site, ledger, frozen) < 8.0
        ledger.wait_more()
        primary.thaw()
        ledger.wait_more()
    assert errors_but(ledger, "write INDOUBT") == {}
    site.wait_whole()
    assert_sound(site, ledger)
    assert site.primary() is not primary


def test_a_replica_that_dies_is_not_read_from(site_with: OpenSite) -> None:
    site = site_with(1, 2, reads={"from": "replica"})
    replica = site.replicas()[0]
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        replica.kill()
        wait_until(lambda: not is_readable(site, replica), "reads leave it")
        ledger.wait_more()
        replica.start()
        wait_until(lambda: is_readable(site, replica), "reads come back")
    assert ledger.errors == {}
    assert site.count("FailoverStarted") == 0


def is_readable(site: Site, node: RedisNode) -> bool:
    return any(n["is_readable"] for n in site.status()["nodes"] if n["address"] == str(node.address))


def test_the_replica_with_most_of_the_data_is_promoted(site_with: OpenSite) -> None:
    site = site_with(1, 2)
    behind, ahead = site.replicas()
    client = connect(site.proxy.address())
    primary = site.primary()
    behind.freeze()
    primary.ask(
        "CLIENT", "KILL", "TYPE", "replica"
    )  # what is sent to it from now on is not buffered anywhere
    wait_until(lambda: ahead.info("replication")["master_link_status"] == "up", "the other one is back")
    for number in range(100):
        client.rpush("list", number)
    wait_until(lambda: ahead.ask("LLEN", "list") == 100, "one replica has it all")
    primary.kill()
    behind.thaw()
    wait_until(lambda: site.count("FailoverComplete") == 1, "a failover")
    assert site.primary() is ahead
    assert client.lrange("list", 0, -1) == [str(n).encode() for n in range(100)]


def test_a_changed_password_is_no_reason_to_fail_over(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    primary = site.primary()
    primary.ask("CONFIG", "SET", "requirepass", "other")
    primary.ask_as("other", "CLIENT", "KILL", "TYPE", "normal")
    wait_until(lambda: states(site)[str(primary.address)] == "denied", "we are denied")
    time.sleep(2.0)  # twice as long as a silent primary is given
    assert site.count("FailoverStarted") == 0
    primary.ask_as("other", "CONFIG", "SET", "requirepass", "")
    wait_until(lambda: states(site)[str(primary.address)] == "up", "we may again")


def states(site: Site) -> dict[str, str]:
    return {node["address"]: node["state"] for node in site.status()["nodes"]}


def test_a_primary_that_keeps_dying_is_not_chased(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    site.primary().kill()
    wait_until(lambda: site.count("FailoverComplete") == 1, "the first failover is immediate")
    for node in site.fleet.nodes:
        if not node.is_running:
            node.start()
    site.wait_whole()
    again = site.primary()
    again.kill()
    wait_until(lambda: any("flapping" in event["message"] for event in site.events()), "the next one waits")
    assert site.count("FailoverComplete") == 1
    assert site.post("/api/acknowledge", shard=0) is None
    wait_until(lambda: site.count("FailoverComplete") == 2, "unless an operator has looked")


def test_a_wall_clock_that_jumps_moves_nothing(site_with: OpenSite, tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    site = site_with(1, 1, env=clock.environment())
    with load(site.proxy.address(), 0, 1) as ledger:
        for offset in ("+1h", "-1h", "+0"):
            clock.set(offset)
            time.sleep(2.5)  # it is read again each second, and a silent primary is given another
    assert ledger.errors == {}
    assert site.count("FailoverStarted") == 0
    clock.set("+1h")

    def is_fooled() -> bool:
        assert site.post("/api/pause") is None  # both are logged, the last with what its clock says by then
        assert site.post("/api/resume") is None
        said = json.loads(site.proxy.log().splitlines()[-1])["timestamp"]
        return datetime.fromisoformat(said) - datetime.now(UTC) > timedelta(minutes=30)

    wait_until(is_fooled, "its clock is another one indeed", interval=0.2)
    assert_sound(site, ledger)


def test_a_hanging_shard_does_not_hold_up_another(site_with: OpenSite) -> None:
    """On one connection a client's replies keep their order; on another nobody waits."""
    site = site_with(2, 0, timeouts={"reply": "20s"})
    hung, well = (node for node in site.fleet.nodes)
    slow, fast = connect(site.proxy.address()), connect(site.proxy.address())
    hung.freeze()
    waiting = threading.Thread(target=lambda: slow.get(f"{{{tag_of(0, 2)}}}"))
    waiting.start()
    for number in range(1000):
        assert fast.set(f"{{{tag_of(1, 2)}}}", number)
    assert waiting.is_alive()
    hung.thaw()
    waiting.join(10)
    assert not waiting.is_alive()
    assert well.is_running


def test_switchovers_are_not_noticed(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        for _ in range(5):
            before = site.primary()
            assert site.post("/api/switchover", shard=0) is None
            assert site.primary() is not before
            site.wait_whole()
    assert ledger.errors == {}
    assert ledger.longest_from(0.0) < 3.0
    assert_sound(site, ledger)
    assert site.post("/api/failover-test", shard=0) is None
    assert site.count("TestFailoverAPICalled") == 1


def test_epochs_and_roles_outlive_the_proxy(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    assert site.post("/api/switchover", shard=0) is None
    primary, epoch = site.primary(), site.status()["epoch"]
    served = site.proxy.metrics()['shardproxy_topology_epoch{cluster="main"}']
    site.proxy.restart()
    wait_until(lambda: states(site)[str(primary.address)] == "up", "it is watched again")
    assert site.primary() is primary
    assert site.status()["epoch"] >= epoch
    assert site.proxy.metrics()['shardproxy_topology_epoch{cluster="main"}'] >= served


def test_a_paused_cluster_waits_for_its_operator(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    assert site.post("/api/pause") is None
    site.primary().kill()
    wait_until(lambda: any("paused" in event["message"] for event in site.events()), "the alarm says so")
    assert site.count("FailoverStarted") == 0
    site.proxy.restart()
    wait_until(lambda: any("paused" in event["message"] for event in site.events()), "it still says so")
    assert site.count("FailoverStarted") == 0
    assert site.post("/api/resume") is None
    wait_until(lambda: site.count("FailoverComplete") == 1, "it fails over")
