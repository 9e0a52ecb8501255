"""Only replicas that are known vouch for a write: a foreign one does not, however quick it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import redis

from shardproxy.fleet import Fleet, RedisNode
from shardproxy.insight.quantiles import cumulative
from shardproxy.model import Address
from tests.failover.load import connect
from tests.fixtures.driven import Driven, driven
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import wait_until

DOUBT = r"INDOUBT written on primary, acknowledged by {} of {} replicas"


@pytest.fixture
def fleet(start_fleet: StartFleet) -> Fleet:
    """For up to a second after a full sync an engine may send a replica nothing, although its link is up."""
    fleet = start_fleet(shards=1, replicas=2)
    primary, _, _ = nodes_of(fleet)
    with redis.Redis(primary.address.host, primary.port, single_connection_client=True) as direct:
        wait_until(lambda: direct.set("key", 0) and direct.wait(2, 100) == 2, "both confirm what they get")
    return fleet


def nodes_of(fleet: Fleet) -> tuple[RedisNode, RedisNode, RedisNode]:
    """The primary, the replica that is a voter, and another that is attached as if by hand."""
    primary, (ours, foreign) = fleet.shards[0].primary, fleet.shards[0].replicas
    assert isinstance(primary, RedisNode)
    assert isinstance(ours, RedisNode)
    assert isinstance(foreign, RedisNode)
    return primary, ours, foreign


@contextmanager
def served(
    fleet: Fleet, *voters: Address, wait: int = 1, timeout: str = "300ms"
) -> Iterator[tuple[Driven, redis.Redis]]:
    with driven(fleet, writes={"wait": wait, "timeout": timeout}) as plane:
        plane.serve(voters=frozenset(voters))
        with closing(connect(plane.address)) as client:
            yield plane, client


def test_a_foreign_replica_never_vouches(fleet: Fleet) -> None:
    primary, ours, foreign = nodes_of(fleet)
    with served(fleet, ours.address) as (plane, client):
        assert client.set("key", 0)
        ours.freeze()
        for number in range(5):
            with pytest.raises(redis.ResponseError, match=DOUBT.format(0, 1)):
                client.set("key", number)
        assert foreign.ask("GET", "key") == b"4"
        plane.serve()  # whoever is attached counts
        assert client.set("key", 5)
        plane.serve(voters=frozenset({ours.address}))
        with pytest.raises(redis.ResponseError, match=DOUBT.format(0, 1)):
            client.set("key", 6)
        ours.thaw()
        wait_until(lambda: ours.ask("GET", "key") == b"6", "it has caught up")
        for number in range(200):
            assert client.set("key", number)
        assert primary.ask("GET", "key") == b"199"


def test_a_foreign_replica_that_comes_and_goes_vouches_for_nothing(fleet: Fleet) -> None:
    primary, ours, foreign = nodes_of(fleet)
    with served(fleet, ours.address) as (_, client):
        for _ in range(5):
            foreign.ask("REPLICAOF", "NO", "ONE")
            assert client.set("key", 1)
            ours.freeze()
            foreign.ask("REPLICAOF", primary.address.host, primary.port)
            wait_until(lambda: foreign.why_not_ready() is None, "it is attached")
            with pytest.raises(redis.ResponseError, match=DOUBT.format(0, 1)):
                client.set("key", 2)
            ours.thaw()


def test_a_foreign_replica_that_hangs_delays_nothing(fleet: Fleet) -> None:
    _, ours, foreign = nodes_of(fleet)
    with served(fleet, ours.address, timeout="5s") as (plane, client):
        assert client.set("key", 0)
        foreign.freeze()
        for number in range(50):
            assert client.set("key", number)
        waited = plane.statistics().latency["wait"]
        assert cumulative(waited.fine, [22]) == (waited.count,), "none took as long as it may, 4.2 s"


def test_enough_voters_are_needed(fleet: Fleet) -> None:
    _, ours, other = nodes_of(fleet)
    with served(fleet, ours.address, wait=2) as (plane, client):
        with pytest.raises(redis.ResponseError, match=DOUBT.format(1, 2)):
            client.set("key", 1)
        plane.serve(voters=frozenset({ours.address, other.address}))
        assert client.set("key", 2)
        plane.serve(voters=frozenset({ours.address}), wait=1)
        assert client.set("key", 3)
