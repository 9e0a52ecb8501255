"""Sentinel fails over, and clients of the proxy see a blip: nothing refused, nothing lost, nothing twice."""

from __future__ import annotations

import json
import time

import pytest
import redis

from tests.failover.load import Ledger, load
from tests.fixtures.proxy import Proxy, wait_until
from tests.fixtures.sentinel import StartSentinels
from tests.integration.sentinel.site import SentinelSite

SHARDS = 4
KILLED, SWITCHED, FROZEN, QUIET = range(SHARDS)


def only_in_doubt(ledger: Ledger) -> bool:
    """Nothing but what was on its way when the primary was lost failed."""
    return set(ledger.errors) <= {"write INDOUBT"}


def test_a_killed_primary_is_replaced_and_only_what_was_in_flight_is_in_doubt(site: SentinelSite) -> None:
    with load(site.proxy.address(), KILLED, SHARDS) as ledger:
        ledger.wait_more()
        before = site.sentinels.primary(KILLED)
        moment = time.monotonic()
        before.kill()
        now = site.wait_other(before.address, KILLED)
        ledger.wait_more()
        before.restart()  # as a primary with nothing, which Sentinel notices many seconds later
        ledger.wait_more()
    assert before.ask("DBSIZE") == 0, "nobody was sent to it"
    assert only_in_doubt(ledger), ledger.errors
    assert ledger.check(site.client) == []
    writable = ledger.first_after(moment)
    assert writable is not None
    assert writable < 10, "Sentinel takes 2 s to notice and decide"
    assert site.serves(now, KILLED)
    names = [event["name"] for event in site.events() if event["shard"] == KILLED]
    assert names == ["PrimaryAdopted", "FailoverStarted", "FailoverComplete"]


def test_a_switchover_goes_through_sentinel_and_loses_nothing(site: SentinelSite) -> None:
    before = site.sentinels.primary(SWITCHED).address
    name = f"shard-{SWITCHED}"
    with load(site.proxy.address(), SWITCHED, SHARDS) as ledger:
        ledger.wait_more()
        replica = next(iter(site.nodes("replica", SWITCHED)))
        refusal = site.post("/api/switchover", shard=name, to=str(replica))
        assert "Sentinel chooses" in str(refusal)
        assert site.serves(before, SWITCHED)
        assert site.post("/api/switchover", shard=name) is None
        assert before not in site.nodes("primary", SWITCHED)
        ledger.wait_more()
    assert only_in_doubt(ledger), ledger.errors
    assert ledger.check(site.client) == []
    assert site.events()[-1]["name"] == "SwitchoverComplete"


def test_a_frozen_primary_that_wakes_up_acknowledges_nothing(site: SentinelSite) -> None:
    before = site.sentinels.primary(FROZEN)
    with load(site.proxy.address(), FROZEN, SHARDS) as ledger:
        ledger.wait_more()
        before.freeze()
        site.wait_other(before.address, FROZEN)
        before.thaw()  # with writes that it was sent before, and for seconds as a primary
        ledger.wait_more()
    assert before.address not in site.nodes("primary", FROZEN)
    assert only_in_doubt(ledger), ledger.errors
    assert ledger.check(site.client) == []


@pytest.mark.parametrize("action", ["promote", "pause", "resume", "acknowledge"])
def test_what_sentinel_decides_is_refused_with_a_reason(action: str, site: SentinelSite) -> None:
    why = site.post(f"/api/{action}", shard=QUIET, to=str(next(iter(site.nodes("replica", QUIET)))))
    assert "Sentinel" in str(why)


def test_replicas_are_read_from(site: SentinelSite) -> None:
    wait_until(
        lambda: all(row["is_readable"] for row in site.shard(QUIET)["nodes"] if row["role"] == "replica"),
        lambda: f"they are fit: {site.shard(QUIET)}",
    )
    address = site.proxy.address("reader")
    key = next(f"k{n}" for n in range(100) if redis.crc.key_slot(f"k{n}".encode()) >= 3 * 4096)
    for node in site.sentinels.replicas(QUIET):
        node.ask("CONFIG", "RESETSTAT")
    for _ in range(50):
        assert redis.Redis(address.host, address.port).get(key) is None
    asked = [node.info("commandstats").get("cmdstat_get") for node in site.sentinels.replicas(QUIET)]
    assert any(asked)


def test_nobody_does_anything_to_the_nodes(site: SentinelSite) -> None:
    for node in site.sentinels.fleet.shards[QUIET].nodes:
        engine = site.sentinels.node(node.address)
        stats = engine.info("commandstats").keys()
        done = {f"cmdstat_{name}" for name in ("failover", "replicaof", "config|set", "config|rewrite")}
        assert not done & stats
        clients = bytes(engine.ask("CLIENT", "LIST")).decode()
        assert "name=shardproxy-observer:" in clients
        assert "name=shardproxy:" not in clients
    assert all(row["manager"] is None for row in site.shard(QUIET)["nodes"]), "Sentinel is no stranger"


def test_sentinels_may_be_down_and_without_most_of_them_it_serves_on_and_says_so(site: SentinelSite) -> None:
    primary = site.sentinels.primary(QUIET).address
    replica = site.sentinels.replicas(QUIET)[0]
    assert refusal(site.client) == ""
    site.sentinels.sentinels[0].kill()
    wait_until(lambda: site.silent()[0] is not None, "it is noticed")
    assert site.silent()[1:] == [None, None]
    assert site.trouble() is None, "two of three suffice"
    for sentinel in site.sentinels.sentinels[1:]:
        sentinel.kill()
    wait_until(site.trouble, "it says so")
    assert "0 of 3 Sentinels answer" in str(site.trouble())
    assert site.events()[-1]["name"] == "Alarm"
    assert site.serves(primary, QUIET)
    assert site.client.dbsize() > 0
    replica.freeze()
    try:
        wait_until(lambda: "acknowledged by 1 of 2" in refusal(site.client), "both have to confirm")
    finally:
        replica.thaw()
    for sentinel in site.sentinels.sentinels[:2]:
        sentinel.restart()
    wait_until(lambda: site.trouble() is None, lambda: f"two suffice: {site.trouble()}")
    assert site.events()[-1]["name"] == "AlarmCleared"


def test_a_proxy_that_starts_without_sentinels_waits_for_them(start_sentinels: StartSentinels) -> None:
    fleet = start_sentinels(replicas=1)
    for sentinel in fleet.sentinels:
        sentinel.kill()
    proxy = Proxy(fleet.config(), wait=False)
    try:
        wait_until(lambda: "0 of 3 Sentinels answer" in page(proxy, "/readyz"), "it says why", timeout=30.0)
        assert proxy.get("/readyz")[0] == 503
        for sentinel in fleet.sentinels[:2]:
            sentinel.restart()
        wait_until(lambda: proxy.get("/readyz")[0] == 200, lambda: page(proxy, "/readyz"))
        first = epoch_of(proxy)
        proxy.restart()
        assert epoch_of(proxy) > first, "numbers of topologies never fall"
    finally:
        proxy.stop()


def refusal(client: redis.Redis) -> str:
    """Of a write to the shard that is not hurt otherwise; empty: there is none."""
    key = next(f"k{n}" for n in range(100) if redis.crc.key_slot(f"k{n}".encode()) >= 3 * 4096)
    try:
        client.set(key, "value")
    except redis.ResponseError as error:
        return str(error)
    return ""


def page(proxy: Proxy, path: str) -> str:
    """Its text, or nothing while nobody listens."""
    try:
        return proxy.get(path)[1]
    except OSError:
        return ""


def epoch_of(proxy: Proxy) -> int:
    return int(json.loads(proxy.get("/api/topology")[1])["clusters"]["main"]["epoch"])
