"""A primary killed and back empty at its address at once gets nothing before the topology names it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import redis

from shardproxy.dataplane import _native
from shardproxy.fleet import Fleet, RedisNode
from tests.failover.load import connect
from tests.fixtures.driven import Driven, driven
from tests.fixtures.engines import StartFleet
from tests.fixtures.proxy import wait_until

WRITERS = 4
ROUNDS = 10
HIATUS = 0.05  # seconds from the end of the one to the start of the other, at most


@contextmanager
def writers(plane: Driven) -> Iterator[list[int]]:
    """Clients that write as fast as they can; how many of their writes were acknowledged, each."""
    stop, counts = threading.Event(), [0] * WRITERS

    def write(number: int) -> None:
        client = connect(plane.address)
        while not stop.is_set():
            try:
                client.incr(f"counter:{number}")
            except redis.RedisError:
                continue  # not executed, or in doubt
            counts[number] += 1
        client.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def primary_of(fleet: Fleet) -> RedisNode:
    node = fleet.shards[0].primary
    assert isinstance(node, RedisNode)
    return node


def strangers(plane: Driven, node: RedisNode) -> int:
    return plane.statistics().nodes[str(node.address)].strangers


def test_an_empty_primary_acknowledges_nothing_until_it_is_named(start_fleet: StartFleet) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    node = primary_of(fleet)
    chooser = random.Random(7)
    with driven(fleet, timeouts={"park": 10}) as plane:
        run_id = node.info("server")["run_id"]
        plane.serve(run_id=run_id)
        with writers(plane) as counts:
            for _ in range(ROUNDS):
                before = sum(counts)
                wait_until(lambda: sum(counts) > before + 100, "writes go on")  # noqa: B023
                known = strangers(plane, node)
                node.kill()
                time.sleep(chooser.uniform(0.001, HIATUS))  # any moment is as good as another
                node.begin()
                wait_until(lambda: strangers(plane, node) > known + 1, "it was asked")  # noqa: B023
                acknowledged = sum(counts)
                wait_until(lambda: strangers(plane, node) > known + 3, "it was asked again")  # noqa: B023
                assert sum(counts) == acknowledged
                assert node.ask("DBSIZE") == 0
                assert "cmdstat_incr" not in node.info("commandstats")
                losses = [event for event in plane.native.take() if isinstance(event, _native.NodeLost)]
                assert (str(node.address), "stranger") in [(lost.address, lost.kind) for lost in losses]
                run_id = node.info("server")["run_id"]
                plane.serve(run_id=run_id)
            before = sum(counts)
            wait_until(lambda: sum(counts) > before, "writes go on")


def test_a_replica_at_the_primarys_address_gets_nothing(start_fleet: StartFleet) -> None:
    fleet = start_fleet(shards=1, replicas=1)
    node, replica = primary_of(fleet), fleet.shards[0].replicas[0]
    node.ask("REPLICAOF", replica.address.host, replica.port)
    with driven(fleet, timeouts={"park": 0.2}) as plane:
        plane.serve(run_id=node.info("server")["run_id"])
        with closing(connect(plane.address)) as client:
            with pytest.raises(redis.exceptions.TryAgainError, match="the node is a replica"):
                client.set("key", 1)
            assert "cmdstat_set" not in node.info("commandstats")
            node.ask("REPLICAOF", "NO", "ONE")
            wait_until(lambda: is_taken(client), "it is served")


def test_a_user_who_may_not_ask_is_told_of(start_fleet: StartFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = start_fleet(shards=1, replicas=0)
    node = primary_of(fleet)
    monkeypatch.setenv("NODE_PASSWORD", "secret")
    node.ask("ACL", "SETUSER", "proxy", "on", ">secret", "~*", "&*", "+@all", "-info")
    auth = {"username": "proxy", "password": {"env": "NODE_PASSWORD"}}
    with driven(fleet, timeouts={"park": 0.2}, node_auth=auth) as plane:
        plane.serve(run_id=node.info("server")["run_id"])
        with closing(connect(plane.address)) as client:
            with pytest.raises(redis.exceptions.TryAgainError, match="must be allowed INFO: NOPERM"):
                client.set("key", 1)
            node.ask("ACL", "SETUSER", "proxy", "+info")
            wait_until(lambda: is_taken(client), "it is served")


def is_taken(client: redis.Redis) -> bool:
    try:
        return bool(client.set("key", 2))
    except redis.exceptions.TryAgainError:
        return False
