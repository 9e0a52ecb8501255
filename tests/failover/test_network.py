"""What goes wrong between processes that are all well. Needs root and nftables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from tests.failover.load import Ledger, connect, kind_of, load
from tests.failover.network import Places, own_network, why_no_network
from tests.failover.site import Site, open_site
from tests.failover.test_busy import SPIN, Slow, client_of
from tests.fixtures.proxy import wait_until

WHY_NOT = why_no_network()

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")

OpenNetworked = Callable[..., tuple[Site, Places]]


@pytest.fixture
def networked() -> Iterator[OpenNetworked]:
    """Open one site in a network of its own: `networked(shards=1, replicas=2)`."""
    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> tuple[Site, Places]:
            stack.enter_context(own_network())
            places = Places()
            return stack.enter_context(open_site(*args, launch=places.launch, **options)), places

        yield start


def states(site: Site) -> dict[str, str]:
    return {node["address"]: node["state"] for node in site.status()["nodes"]}


def assert_sound(site: Site, ledger: Ledger) -> None:
    assert ledger.check(connect(site.proxy.address())) == []


def test_a_primary_cut_from_all_is_replaced_and_its_late_replies_count_for_nothing(
    networked: OpenNetworked,
) -> None:
    site, places = networked(1, 2, writes={"wait": 1})
    primary = site.primary()
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        places.cut_from_all(primary, site.replicas())
        began = time.monotonic()
        wait_until(lambda: ledger.first_after(began) is not None, "writes go on", timeout=15.0)
        assert site.primary() is not primary
        ledger.wait_more()
        places.mend()
        site.wait_whole()
        ledger.wait_more()
    assert {kind for kind in ledger.errors if kind != "write INDOUBT"} == set()
    assert site.primary() is not primary, "it came back as a replica"
    assert site.count("FailoverComplete") == 1
    assert_sound(site, ledger)


def test_a_busy_primary_that_is_cut_off_is_not_waited_for(networked: OpenNetworked) -> None:
    """Its host acknowledges nothing: that is not what a busy process looks like."""
    site, places = networked(1, 1, failover={"slow_after": "60s"})
    primary = site.primary()
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        slow = Slow(lambda: client_of(site).eval(SPIN, 1, "k", 20))
        wait_until(lambda: states(site)[str(primary.address)] == "busy", "it is busy")
        places.cut_from_all(primary, site.replicas())
        began = time.monotonic()
        wait_until(lambda: ledger.first_after(began) is not None, "writes go on", timeout=15.0)
        ledger.wait_more()
        places.mend()
    assert "INDOUBT" in str(slow.wait())
    assert {kind for kind in ledger.errors if kind != "write INDOUBT"} == set()
    assert site.primary() is not primary
    assert_sound(site, ledger)


def test_a_primary_cut_from_us_alone_is_not_replaced(networked: OpenNetworked) -> None:
    site, places = networked(1, 1)
    primary = site.primary()
    places.cut_from_proxy(primary)
    wait_until(lambda: states(site)[str(primary.address)] == "cut off", "it is we who are cut off")
    time.sleep(3.0)  # three times what a silent primary is given
    assert site.count("FailoverStarted") == 0
    client = connect(site.proxy.address())
    with pytest.raises(redis.RedisError) as refused:
        client.set("k", "v")
    assert kind_of(refused.value) == "TRYAGAIN"
    places.mend()

    def is_written() -> bool:
        try:
            return bool(client.set("k", "v"))
        except redis.exceptions.TryAgainError:
            return False

    wait_until(is_written, "we reach it again")
    wait_until(lambda: states(site)[str(primary.address)] == "up", "and know it")
    assert site.primary() is primary
    assert site.count("FailoverStarted") == 0


def test_a_primary_cut_from_its_replicas_alone_is_not_replaced(networked: OpenNetworked) -> None:
    site, places = networked(1, 2)
    primary = site.primary()
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        places.cut(primary, site.replicas())
        time.sleep(3.0)  # three times what a silent primary is given
        places.mend()
        ledger.wait_more()
    assert ledger.errors == {}
    assert site.primary() is primary
    assert site.count("FailoverStarted") == 0
    site.wait_whole()
    assert_sound(site, ledger)


def test_a_hanging_primary_is_not_replaced_by_a_replica_that_was_cut_off_before(
    networked: OpenNetworked,
) -> None:
    """The replica lost its link long before: it knows nothing of the primary, and its data is old."""
    site, places = networked(1, 1, args=("--repl-timeout", "2", "--enable-debug-command", "yes"))
    primary, replica = site.primary(), site.replicas()[0]
    client = connect(site.proxy.address())
    places.cut(primary, [replica])

    def is_long_cut() -> bool:
        return int(replica.info("replication").get("master_link_down_since_seconds", "-1")) >= 4

    wait_until(is_long_cut, "the link is down", timeout=20.0)
    for number in range(100):
        client.rpush("list", number)
    primary.ask("DEBUG", "SLEEP", "2.5", timeout=5.0)
    assert site.count("FailoverStarted") == 0
    wait_until(lambda: client.llen("list") == 100, "nothing is lost")
    assert site.primary() is primary
    places.mend()
    site.wait_whole()
    assert replica.ask("LLEN", "list") == 100


def test_without_its_replicas_a_durable_primary_acknowledges_nothing(networked: OpenNetworked) -> None:
    site, places = networked(1, 1, writes={"wait": 1, "timeout": "500ms"})
    primary = site.primary()
    client = connect(site.proxy.address())
    assert client.set("before", "1")
    places.cut(primary, site.replicas())

    def set_later() -> str:
        with pytest.raises(redis.RedisError) as refused:
            client.set("during", "1")
        return kind_of(refused.value)

    assert set_later() == "INDOUBT"
    assert site.count("FailoverStarted") == 0
    places.mend()
    site.wait_whole()
    assert client.set("after", "1")
    assert client.get("before") == b"1"


def test_a_primary_that_vanishes_without_a_word_is_replaced(networked: OpenNetworked) -> None:
    """A machine that loses power closes no connection: every one of them is half open."""
    site, places = networked(1, 2, writes={"wait": 1})
    primary = site.primary()
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        places.cut_from_all(primary, site.replicas())
        primary.kill()
        began = time.monotonic()
        wait_until(lambda: ledger.first_after(began) is not None, "writes go on", timeout=15.0)
        ledger.wait_more()
    assert {kind for kind in ledger.errors if kind != "write INDOUBT"} == set()
    assert_sound(site, ledger)
    places.mend()
    primary.start()
    site.wait_whole()
    assert site.primary() is not primary


def test_replication_cut_before_the_primary_dies_loses_nothing_durable(networked: OpenNetworked) -> None:
    """On loopback a killed process still delivers what it wrote; a cut link does not."""
    site, places = networked(1, 2, writes={"wait": 1, "timeout": "1s"})
    primary = site.primary()
    behind = site.replicas()[0]
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        places.cut(primary, [behind])
        ledger.wait_more()
        began = time.monotonic()
        primary.kill()
        wait_until(lambda: ledger.first_after(began) is not None, "writes go on", timeout=15.0)
        places.mend()
        ledger.wait_more()
    assert {kind for kind in ledger.errors if kind != "write INDOUBT"} == set()
    assert site.primary() is not behind, "it has less of the data than the other one"
    assert_sound(site, ledger)
