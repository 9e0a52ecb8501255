"""Who guesses passwords, or says too much before it has logged in: others notice nothing of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from shardproxy.config.access import hash_of
from shardproxy.fleet import Fleet
from tests.fixtures.clients import Wire
from tests.fixtures.engines import StartFleet
from tests.fixtures.oracle import command
from tests.fixtures.proxy import Proxy, StartProxy, config_of, wait_until
from tests.integration.abuse.watch import MIB, at_most, restarts, serves, wait_clients

GUESSES = 10_000
BATCH = 100
PASSWORD = "a good client's"
USERS = {"users": [{"name": "app", "passwords": [{"sha256": hash_of(PASSWORD)}]}]}
REFUSED = "WRONGPASS invalid username-password pair or user is disabled."

Open = Callable[..., Wire]


@pytest.fixture(scope="module")
def shards(start_fleet_for_module: StartFleet) -> Fleet:
    return start_fleet_for_module(shards=2, replicas=0)


def good_client(proxy: Proxy, wire: Open) -> Wire:
    client = wire(proxy)
    assert client.ask("AUTH", "app", PASSWORD) == b"OK"
    return client


def guess(client: Wire, number: int) -> None:
    """So many wrong logins, a batch at a time; each gets its own refusal."""
    for start in range(0, number, BATCH):
        words: list[tuple[str, ...]] = [("AUTH", "app", f"guess {n}") for n in range(start, start + BATCH, 2)]
        words += [("HELLO", "3", "AUTH", "nobody", f"guess {n}") for n in range(start, start + BATCH, 2)]
        client.send(b"".join(command(*each) for each in words))
        for _ in words:
            assert str(client.reply()) == REFUSED


def test_ten_thousand_wrong_passwords_cost_a_good_client_nothing(
    start_proxy: StartProxy, shards: Fleet, wire: Open, tmp_path: Path
) -> None:
    audit = tmp_path / "audit.jsonl"
    config: dict[str, Any] = config_of(shards, workers=1, access=USERS)
    proxy = start_proxy({**config, "audit": {"log": str(audit)}})
    good = good_client(proxy, wire)
    guessers = [threading.Thread(target=guess, args=(wire(proxy), GUESSES // 4)) for _ in range(4)]
    with at_most(proxy, 40 * MIB):
        for guesser in guessers:
            guesser.start()
        while any(guesser.is_alive() for guesser in guessers):
            serves(good, "good")
        for guesser in guessers:
            guesser.join()
        serves(good, "good")
    refused = 'shardproxy_access_total{cluster="main",event="login_refused"}'
    wait_until(lambda: proxy.metrics()[refused] == GUESSES, lambda: f"{proxy.metrics()[refused]} are counted")
    log: list[dict[str, Any]] = redis.Redis(
        proxy.host, proxy.port, username="app", password=PASSWORD
    ).acl_log(200)
    assert 1 <= len(log) <= 128
    assert sum(int(entry["count"]) for entry in log) <= GUESSES
    wait_until(lambda: told(audit) + lost(proxy) >= GUESSES, lambda: f"{told(audit)}, {lost(proxy)}")
    assert "guess" not in audit.read_text()
    assert "guess" not in proxy.log()
    assert restarts(proxy) == 0


def told(audit: Path) -> int:
    """Refused logins that the audit log names."""
    lines = audit.read_text().splitlines() if audit.exists() else []
    return sum(json.loads(line)["event"] == "login_refused" for line in lines)


def lost(proxy: Proxy) -> float:
    metrics = proxy.metrics()
    lines = metrics['shardproxy_audit_lines_total{outcome="lost"}']
    return metrics["shardproxy_access_untold_total"] + lines


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"*11\r\n" + b"$1\r\na\r\n" * 11, "ERR Protocol error: unauthenticated multibulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", "ERR Protocol error: unauthenticated bulk length"),
        (
            b"*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$400000000\r\n",
            "ERR Protocol error: unauthenticated bulk length",
        ),
    ],
    ids=["arguments", "argument", "hundreds of megabytes"],
)
def test_who_has_not_logged_in_is_not_listened_to_for_long(
    start_proxy: StartProxy, shards: Fleet, wire: Open, request_: bytes, answer: str
) -> None:
    proxy = start_proxy(config_of(shards, workers=1, access=USERS))
    bad = wire(proxy)
    bad.send(request_)
    assert str(bad.reply()) == answer
    wait_clients(proxy, 0)


def test_commands_before_a_login_are_refused_each_by_itself(
    start_proxy: StartProxy, shards: Fleet, wire: Open
) -> None:
    proxy = start_proxy(config_of(shards, workers=1, access=USERS))
    client = wire(proxy)
    required = "NOAUTH Authentication required."
    asked = [
        "SET a 1", "MULTI", "SUBSCRIBE a", "MONITOR", "CLIENT LIST", "ACL WHOAMI", "PING", "COMMAND",
        "INFO", "BLPOP a 0", "EVAL return 0", "DEBUG SLEEP 10",
    ]  # fmt: skip
    then = command("AUTH", "app", PASSWORD) + command("GET", "a")
    client.send(b"".join(command(*words.split()) for words in asked) + then)
    assert [str(client.reply()) for _ in asked] == [required] * len(asked)
    assert [client.reply(), client.reply()] == [b"OK", None]
