"""An engine that is busy is not dead: with its own defaults, and through the proxy."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import pytest
import redis

from tests.failover.load import Ledger, connect, load, load_through, tag_of, way_to
from tests.failover.site import OpenSite, Site
from tests.failover.test_faults import accident_over, assert_sound, errors_but, states
from tests.fixtures.proxy import wait_until

PATIENCE = 40.0  # seconds, a client's own
# what takes an engine seconds of its own takes it many on a machine that is busy with other things too
COMPUTING = {"slow_after": "30s"}
WAIT = """
    local function now() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end
    local till = now() + ARGV[1] * 1000000
    repeat until now() >= till
"""
SPIN = WAIT + "return redis.call('SET', KEYS[1], 'done')"
NOTED_FROM = 0.4  # seconds: longer than a primary may be silent in that test
UNITED_FOR = 4.0  # seconds a large union is to take, about
FILL = """
    for n = 1, ARGV[2] do
        if ARGV[1] == 'Z' then redis.call('ZADD', KEYS[1], n, n)
        else redis.call('SADD', KEYS[1], 'm' .. n) end
    end
"""
NAME = "reports"  # of the client with the slow command


def client_of(site: Site) -> redis.Redis:
    client = connect(site.proxy.address())
    client.connection_pool.connection_kwargs.update(socket_timeout=PATIENCE, client_name=NAME)
    return client


def patient_load(site: Site) -> AbstractContextManager[Ledger]:
    """Applications that wait as long as the client with the slow command."""
    return load_through([way_to(site.proxy.address(), timeout=PATIENCE)], tag_of(0, 1))


class Slow:
    """A command that takes long, in a thread of its own."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self.reply: Any = None
        self.took = 0.0
        self._ask = ask
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            self.reply = self._ask()
        except redis.RedisError as error:
            self.reply = error
        self.took = time.monotonic() - began

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> Any:
        self._thread.join()
        return self.reply


def busy_with(site: Site) -> dict[str, Any] | None:
    """What status says the primary is busy with."""
    found: dict[str, Any] | None = next(n["busy"] for n in site.status()["nodes"] if n["role"] == "primary")
    return found


def suspect_for(site: Site) -> float:
    """Seconds since the primary began to look silent; 0 if it does not."""
    primary = next(node for node in site.status()["nodes"] if node["role"] == "primary")
    return float(primary["since"]) if primary["state"] == "suspect" else 0.0


def assert_only_waited(site: Site, ledger: Ledger, primary: object) -> None:
    assert ledger.errors == {}
    assert_sound(site, ledger)
    assert site.count("FailoverStarted") == 0
    assert site.primary() is primary


@pytest.mark.parametrize("replicas", [0, 1])
def test_nobody_fails_over_for_a_script_of_three_seconds(site_with: OpenSite, replicas: int) -> None:
    site = site_with(1, replicas)
    primary, client = site.primary(), client_of(site)
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        slow = Slow(lambda: client.eval(SPIN, 1, "{t0}:secret", 3))
        wait_until(lambda: states(site)[str(primary.address)] == "busy", "status says that it is busy")
        status = next(n for n in site.status()["nodes"] if n["role"] == "primary")
        seconds = site.proxy.metrics()[
            f'shardproxy_node_busy_seconds{{cluster="main",node="{primary.address}",shard="0"}}'
        ]
        assert slow.wait() == b"OK"
        wait_until(lambda: states(site)[str(primary.address)] == "up", "it is well again")
        ledger.wait_more()
    assert_only_waited(site, ledger, primary)
    assert slow.took < PATIENCE
    assert client.get("{t0}:secret") == b"done", "what the script wrote is there"
    assert status["busy"]["command"] == "eval"
    assert status["busy"]["seconds"] >= 0.5
    assert NAME in status["busy"]["client"]
    assert status["reason"].startswith("busy with EVAL for ")
    assert seconds >= 0.5
    said = [event["message"] for event in site.events() if event["name"] == "Alarm"]
    assert any("is busy with EVAL for" in text and NAME in text for text in said), said
    assert "secret" not in "".join(said) + site.proxy.log(), "arguments are nobody's business"
    assert busy_with(site) is None


@pytest.mark.parametrize("replicas", [0, 1])
def test_a_script_of_twelve_seconds_is_waited_for_while_its_engine_says_that_it_is_busy(
    site_with: OpenSite, replicas: int
) -> None:
    """Longer than `slow_after`, `timeouts.reply` and the engine's own patience."""
    site = site_with(1, replicas)
    primary, client = site.primary(), client_of(site)
    feed = connect(site.proxy.address()).pubsub()
    feed.subscribe("news")
    feed.get_message(timeout=5.0)
    slow = Slow(lambda: client.eval(SPIN, 1, "k", 12))

    def is_told_so() -> bool:
        other = connect(site.proxy.address())
        other.connection_pool.connection_kwargs.update(socket_timeout=0.3)
        try:
            other.set("other", 1)
        except redis.TimeoutError:
            return False  # it shares a connection with the script, and waits behind it
        except redis.ResponseError as error:
            return "busy running a script" in str(error)
        return False

    wait_until(is_told_so, "others are told so", timeout=11.0)
    assert not slow.is_over
    assert site.post("/api/switchover", shard=0) is not None
    assert slow.wait() == b"OK"
    wait_until(lambda: states(site)[str(primary.address)] == "up", "it is well again")
    assert site.count("FailoverStarted") == 0
    assert client.get("k") == b"done"
    assert client.publish("news", "x") == 1
    assert feed.get_message(timeout=5.0) is not None
    assert site.proxy.metrics()['shardproxy_subscription_gaps_total{cluster="main"}'] == 0


@pytest.mark.parametrize("replicas", [0, 1])
def test_nobody_fails_over_for_a_sort(site_with: OpenSite, replicas: int) -> None:
    site = site_with(1, replicas, failover=COMPUTING)
    primary, client = site.primary(), client_of(site)
    numbers = random.Random(1)
    for _ in range(150):
        client.rpush("{t0}:list", *[numbers.randrange(10**9) for _ in range(10_000)])
    with patient_load(site) as ledger:
        ledger.wait_more()
        slow = Slow(lambda: client.sort("{t0}:list", alpha=True, start=0, num=1))
        reply = slow.wait()
        ledger.wait_more()
    assert isinstance(reply, list), reply
    assert_only_waited(site, ledger, primary)
    assert int(reply[0]) >= 0
    assert slow.took > 1.0, "or the test shows nothing: give it a longer list"


@pytest.mark.parametrize("command", ["SUNIONSTORE", "ZUNIONSTORE"])
def test_nobody_fails_over_for_a_large_union(site_with: OpenSite, command: str) -> None:
    site = site_with(1, 1, failover=COMPUTING)
    primary, client = site.primary(), client_of(site)
    client.eval(FILL, 1, "{t0}:all", command[0], 100_000)

    def union(count: int) -> int:
        numbers = (count,) if command[0] == "Z" else ()
        return int(client.execute_command(command, "{t0}:union", *numbers, *("{t0}:all",) * count))

    def seconds_of(count: int) -> float:
        """Machines differ by several times, and any of them may be held up for once."""
        began = [time.monotonic()]
        for _ in range(4):
            union(count)
            began.append(time.monotonic())
        return min(after - before for before, after in pairwise(began))

    few, many = 10, 50  # the first of them is most of the work: members that are there already take less
    each = max(1e-4, (seconds_of(many) - seconds_of(few)) / (many - few))
    count = many + int(UNITED_FOR / each)
    with patient_load(site) as ledger:
        ledger.wait_more()
        slow = Slow(lambda: union(count))
        wait_until(lambda: busy_with(site) is not None or slow.is_over, "status knows")
        known = busy_with(site)
        assert slow.wait() == 100_000
        ledger.wait_more()
    assert slow.took > 1.5, "or the test shows nothing: give it more to unite"
    assert known is not None
    assert known["command"] == command.lower()
    assert_only_waited(site, ledger, primary)


def test_what_a_transaction_or_an_operator_sends_counts_too(site_with: OpenSite) -> None:
    site = site_with(1, 1, commands={"allow": ["debug"]}, args=("--enable-debug-command", "yes"))
    primary, client = site.primary(), client_of(site)
    with load(site.proxy.address(), 0, 1) as ledger:
        transaction = client.pipeline().eval(SPIN, 1, "{t0}:k", 2).get("{t0}:k")
        assert transaction.execute() == [b"OK", b"done"]
        watching = client.pipeline()
        watching.watch("{t0}:k")  # on a connection of its own
        watching.multi()
        watching.eval(SPIN, 1, "{t0}:k", 2)
        assert watching.execute() == [b"OK"]
        slow = Slow(lambda: client.execute_command("DEBUG", "SLEEP", 2.5))
        wait_until(lambda: (busy_with(site) or {}).get("command") == "debug", "status knows", timeout=2.0)
        assert slow.wait() == b"OK"
        ledger.wait_more()
    assert_only_waited(site, ledger, primary)


def test_what_took_long_before_is_expected_to_again(site_with: OpenSite) -> None:
    """By the engines' slow logs: nobody has to know every command."""
    site = site_with(1, 1, failover={"down_after": "0.3s"})
    primary, client = site.primary(), client_of(site)
    assert site.post("/api/pause") is None
    took, parts = 0.0, 0
    while took < 2 * NOTED_FROM and parts < 500:
        for _ in range(30):
            client.sadd("{t0}:set", *[f"member {parts * 10_000 + number}" for number in range(10_000)])
            parts += 1
        began = time.monotonic()
        client.copy("{t0}:set", "{t0}:copy", replace=True)
        took = time.monotonic() - began
    wait_until(lambda: '"copy"' in site.proxy.log(), "it is noted that COPY takes long", timeout=20.0)
    wait_until(lambda: states(site)[str(primary.address)] == "up", "it is well again")
    assert site.post("/api/resume") is None
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        slow = Slow(lambda: client.copy("{t0}:set", "{t0}:copy", replace=True))
        wait_until(lambda: busy_with(site) is not None or slow.is_over, "status knows")
        known = busy_with(site)
        slow.wait()
        ledger.wait_more()
    assert slow.took > NOTED_FROM, "or the test shows nothing: give it a larger set"
    assert known is not None
    assert known["command"] == "copy"
    assert_only_waited(site, ledger, primary)


def test_a_primary_that_is_killed_while_it_is_busy_is_replaced_at_once(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    primary, client = site.primary(), client_of(site)
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        slow = Slow(lambda: client.eval(SPIN, 1, "k", 30))
        wait_until(lambda: states(site)[str(primary.address)] == "busy", "it is busy")
        killed = time.monotonic()
        primary.kill()
        assert accident_over(site, ledger, killed) < 5.0
        ledger.wait_more()
    assert "INDOUBT" in str(slow.wait())
    assert errors_but(ledger, "write INDOUBT") == {}
    assert_sound(site, ledger)
    assert site.primary() is not primary


def test_a_primary_that_hangs_although_it_may_be_busy_is_replaced_later(site_with: OpenSite) -> None:
    site = site_with(1, 1, failover={"slow_after": "3s"})
    primary, client = site.primary(), client_of(site)
    with load(site.proxy.address(), 0, 1) as ledger:
        ledger.wait_more()
        slow = Slow(lambda: client.eval(SPIN, 1, "k", 30))
        wait_until(lambda: busy_with(site) is not None, "it is busy")
        hung = time.monotonic()
        primary.freeze()
        took = accident_over(site, ledger, hung)
        ledger.wait_more()
    primary.kill()
    assert "INDOUBT" in str(slow.wait())
    assert errors_but(ledger, "write INDOUBT") == {}
    assert_sound(site, ledger)
    assert site.primary() is not primary
    assert took > 2.0, "it was given the time of one that may be busy"


def test_a_primary_that_hangs_is_replaced_soon_whatever_it_was_sent_since(site_with: OpenSite) -> None:
    """A script that is sent after the silence began does not explain it."""
    site = site_with(1, 1, failover={"down_after": "2s", "slow_after": "30s"})
    primary, client = site.primary(), client_of(site)
    client.eval(SPIN, 1, "k", 0)
    primary.freeze()
    wait_until(lambda: suspect_for(site) >= 0.5, "it was asked in vain, however late")
    slow = Slow(lambda: client.eval(SPIN, 1, "k", 0))
    wait_until(lambda: site.count("FailoverComplete") == 1, "a failover", timeout=10.0)
    primary.kill()
    assert "INDOUBT" in str(slow.wait())


def test_an_operator_may_promote_another_while_the_primary_is_busy(site_with: OpenSite) -> None:
    site = site_with(1, 1)
    primary, client = site.primary(), client_of(site)
    client.set("before", 1)
    slow = Slow(lambda: client.eval(SPIN, 1, "k", 8))
    wait_until(lambda: states(site)[str(primary.address)] == "busy", "it is busy")
    why_not = site.post("/api/switchover", shard=0)
    assert "the primary is busy with EVAL" in str(why_not)
    (replica,) = site.replicas()
    assert site.post("/api/promote", shard=0, to=str(replica.address)) is None
    assert site.primary() is replica
    assert "INDOUBT" in str(slow.wait())
    site.wait_whole()
    assert site.primary() is replica


def test_a_busy_replica_is_not_read_from_and_no_reason_for_anything(site_with: OpenSite) -> None:
    site = site_with(1, 2)
    primary, reader = site.primary(), connect(site.proxy.address("reader"))
    slow = Slow(lambda: reader.execute_command("EVAL_RO", WAIT, 1, "k", 4))
    wait_until(lambda: "busy" in states(site).values(), "a replica is known to be busy")
    (busy,) = [node for node in site.status()["nodes"] if node["state"] == "busy"]
    assert busy["role"] == "replica"
    assert not busy["is_readable"]
    other = connect(site.proxy.address("reader"))
    other.connection_pool.connection_kwargs.update(socket_timeout=1.5)
    assert [other.get("k") for _ in range(20)] == [None] * 20, "nobody waits behind the script"
    assert not slow.is_over
    assert slow.wait() is None
    site.wait_whole()
    assert site.primary() is primary
    assert site.count("FailoverStarted") == 0
