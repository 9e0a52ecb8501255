"""Tokens for nodes of a real ElastiCache: fresh for every connection that opens, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from shardproxy.access.sigv4 import SKEW, Expected, is_signed_with, token_read, why_not_meant
from shardproxy.config import Credentials
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.model import Address, Node, Topology
from shardproxy.model.board import Board
from shardproxy.topology.logins import Logins
from shardproxy.topology.project import Configured
from shardproxy.topology.renewal import run_renewal
from shardproxy.topology.tokens import RENEW_AFTER, NodeTokens
from tests.unit.topology.make import A, Site, clusters, record, redis

NOW = 1_795_414_717.0


class Clock:
    """The time of day, as it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def iam(tmp_path: Path) -> dict[str, Any]:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    return {
        "iam": {
            "user": "proxy",
            "cluster": "My-Cache",
            "region": "eu-central-1",
            "access_key_id": "AKIA1",
            "secret_access_key": {"file": str(secret)},
        }
    }


def is_good(login: Credentials | None, now: float) -> bool:
    """Whether ElastiCache would take it, by a clock that is as wrong as may be."""
    assert login is not None
    assert login.username == "proxy"
    token = token_read(login.password.encode())
    expected = [Expected("my-cache", b"proxy", now + skew, "eu-central-1") for skew in (-SKEW, 0, SKEW)]
    return all(why_not_meant(token, e) is None for e in expected) and is_signed_with(token, "hunter2")


def settings_of(**node_auth: Any) -> ClusterSettings:
    return clusters(main=redis(node_auth=node_auth))["main"]


def test_a_token_is_signed_anew_long_before_it_expires(iam: dict[str, Any]) -> None:
    clock = Clock()
    tokens, settings = NodeTokens(clock), settings_of(**iam)
    assert settings.credentials is None
    first = tokens.credentials(settings)
    for clock.now in (NOW, NOW + 1, NOW + RENEW_AFTER - 1):
        assert tokens.credentials(settings) == first
        assert is_good(first, clock.now)
    clock.now = NOW + RENEW_AFTER
    second = tokens.credentials(settings)
    assert second != first
    assert is_good(second, clock.now)
    assert RENEW_AFTER <= 600


@pytest.mark.parametrize("jump", [-1.0, -86400.0, 86400.0])
def test_a_clock_that_is_set_makes_a_new_token(iam: dict[str, Any], jump: float) -> None:
    clock = Clock()
    tokens, settings = NodeTokens(clock), settings_of(**iam)
    tokens.credentials(settings)
    clock.now += jump
    assert is_good(tokens.credentials(settings), clock.now)


def test_another_key_makes_a_new_token_and_the_old_are_forgotten(iam: dict[str, Any]) -> None:
    clock = Clock()
    tokens = NodeTokens(clock)
    first = tokens.credentials(settings_of(**iam))
    iam["iam"]["access_key_id"] = "AKIA2"
    second = tokens.credentials(settings_of(**iam))
    assert first is not None
    assert second is not None
    assert "AKIA1" in first.password
    assert "AKIA2" in second.password
    assert "hunter2" not in repr(settings_of(**iam))
    assert first.password not in repr(first)


def test_passwords_stay_what_they_are(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    login = NodeTokens(Clock()).credentials(settings_of(username="app", password={"file": str(secret)}))
    assert login == Credentials("app", "hunter2")
    assert NodeTokens(Clock()).credentials(clusters(main=redis())["main"]) is None


def test_our_own_connections_are_given_what_is_fresh(iam: dict[str, Any]) -> None:
    clock = Clock()
    settings = settings_of(**iam)
    boards: Board[str, Configured] = Board()
    boards.show("main", Configured(settings))
    topologies: Board[str, Topology] = Board()
    topologies.show("main", settings.config.topology("main"))
    logins = Logins(boards, topologies, NodeTokens(clock).credentials)
    for clock.now in (NOW, NOW + 3600):
        for cluster in ("main", None):
            found = logins.find(cluster, A)
            assert found is not None
            assert is_good(Credentials(found.username, found.password), clock.now)
            assert found.lasts == 6 * 3600
    assert logins.find("other", A) is None
    assert logins.find(None, Node(Address.parse("127.0.0.1:1")).address) is None


# --- what the data plane is told ---


async def test_the_data_plane_is_told_of_a_new_token_and_of_nothing_else(
    iam: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    clock = Clock()
    site = Site()
    site.follower.login = NodeTokens(clock).credentials
    site.put(record())
    async with trio.open_nursery() as nursery:
        await nursery.start(site.follower.run)
        other = redis((Address.parse("127.0.0.1:7999"),), port=7001)
        await site.serve(clusters(main=redis(node_auth=iam), plain=other))
        nursery.start_soon(run_renewal, site.follower)
        before, plain = site.plane.specs["main"], site.plane.specs["plain"]
        configured = site.follower.clusters["main"]
        for _ in range(20):  # five minutes in which the clock of the day stands still
            await trio.sleep(15)
        assert site.plane.specs["main"] is before
        clock.now += RENEW_AFTER
        with capture_logs() as logged:
            await trio.sleep(16)
        after = site.plane.specs["main"]
        assert after["node_auth"] != before["node_auth"]
        assert after["node_auth"]["renew"] == 6 * 3600
        assert {**after, "node_auth": None} == {**before, "node_auth": None}
        assert is_good(Credentials("proxy", after["node_auth"]["password"] or ""), clock.now)
        assert site.plane.specs["plain"] is plain
        assert site.follower.clusters["main"] is configured
        assert not logged, "what is routine is silent"
        nursery.cancel_scope.cancel()


async def test_a_renewal_that_is_refused_is_tried_again_and_said_once(
    iam: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    clock = Clock()
    site = Site()
    site.follower.login = NodeTokens(clock).credentials
    async with trio.open_nursery() as nursery:
        await site.serve(clusters(main=redis(node_auth=iam)))
        nursery.start_soon(run_renewal, site.follower)
        clock.now += RENEW_AFTER
        site.plane.refuses = [ValueError("not now")] * 3
        with capture_logs() as logged:
            await trio.sleep(46)
        assert not site.plane.refuses
        assert [line["event"] for line in logged] == ["logins to nodes not renewed, tried again"]
        await trio.sleep(16)
        login = site.plane.specs["main"]["node_auth"]
        assert is_good(Credentials(login["username"], login["password"] or ""), clock.now)
        nursery.cancel_scope.cancel()
