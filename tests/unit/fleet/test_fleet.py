"""Fleets start, behave and disappear, whatever ends their owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from shardproxy.fleet import (
    EngineError,
    EngineMissingError,
    Fleet,
    MemcachedNode,
    RedisNode,
    free_port,
    open_fleet,
    wait_ready,
)
from shardproxy.fleet import node as node_module
from shardproxy.model import Engine
from tests.fixtures.proxy import wait_until


def residents(root: Path) -> list[int]:
    """Processes with their working directory in the root."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            where = (entry / "cwd").readlink()
        except OSError:
            continue
        if where == root or root in where.parents:
            found.append(int(entry.name))
    return found


def root_of(fleet: Fleet) -> Path:
    return fleet.nodes[0].directory.parent


def test_a_fleet_has_shards_with_linked_replicas() -> None:
    with Fleet(shards=2, replicas=2) as fleet:
        assert [len(shard.nodes) for shard in fleet.shards] == [3, 3]
        for shard in fleet.shards:
            assert isinstance(shard.primary, RedisNode)
            assert shard.primary.info("replication")["connected_slaves"] == "2"
            for replica in shard.replicas:
                assert isinstance(replica, RedisNode)
                assert replica.info("replication")["master_port"] == str(shard.primary.port)
        assert len({node.address for node in fleet.nodes}) == 6
        assert fleet.config_shards()[1] == {"nodes": [str(node.address) for node in fleet.shards[1].nodes]}


def test_a_node_is_the_process_that_was_started() -> None:
    with Fleet(shards=1, replicas=0) as fleet, Fleet(2, 0, Engine.MEMCACHED) as pool:
        (node,) = fleet.nodes
        assert isinstance(node, RedisNode)
        assert node.info("server")["process_id"] == str(node.pid)
        for member in pool.nodes:
            assert isinstance(member, MemcachedNode)
            assert member.statistics()["pid"] == str(member.pid)


def test_password_arguments_and_unix_sockets_reach_the_engine() -> None:
    with Fleet(shards=1, replicas=1, password="secret", args=("--maxmemory", "7mb")) as fleet:
        for node in fleet.nodes:
            assert isinstance(node, RedisNode)
            assert node.info("memory")["maxmemory"] == str(7 << 20)
    with Fleet(shards=1, replicas=0, unix=True) as fleet:
        assert str(fleet.nodes[0].address).startswith("unix:/")


def test_nothing_is_left_after_the_block_or_an_error() -> None:
    roots = []

    def fail() -> None:
        with Fleet(shards=1, replicas=1) as fleet:
            roots.append(root_of(fleet))
            fleet.nodes[0].freeze()
            assert len(residents(roots[0])) >= 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    (root,) = roots
    assert not root.exists()
    assert residents(root) == []


async def test_nothing_is_left_after_cancellation() -> None:
    with trio.CancelScope() as scope:
        async with open_fleet(shards=1, replicas=1) as fleet:
            root = root_of(fleet)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not root.exists()
    assert residents(root) == []


def test_nothing_is_left_when_the_owner_is_killed() -> None:
    owner = subprocess.Popen(
        (sys.executable, "-c", OWNER), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert owner.stdout is not None
    with owner.stdout:
        root = Path(owner.stdout.readline().strip())
    assert len(residents(root)) >= 2
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    wait_until(lambda: not root.exists() and not residents(root), "the guard cleans up")


OWNER = """
import time
from shardproxy.fleet import Fleet
with Fleet(shards=1, replicas=1) as fleet:
    fleet.nodes[1].freeze()
    print(fleet.nodes[0].directory.parent, flush=True)
    time.sleep(60)
"""


async def test_a_killed_node_comes_back_on_its_address() -> None:
    async with open_fleet(shards=1, replicas=0) as fleet:
        (node,) = fleet.nodes
        before = node.address, node.pid
        fleet.kill(node)
        assert not node.is_running
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((node.address.host, node.port), 1)
        node.begin()
        await wait_ready([node])
        assert node.address == before[0]
        assert node.pid != before[1]


def test_a_frozen_node_keeps_its_connections_and_answers_once_thawed() -> None:
    with Fleet(shards=1, replicas=0) as fleet:
        (node,) = fleet.nodes
        assert isinstance(node, RedisNode)
        fleet.freeze(node)
        assert "does not answer" in str(node.why_not_ready())
        fleet.thaw(node)
        assert node.ask("PING", timeout=10.0) == b"PONG"
        fleet.freeze(node)
        node.stop()
        assert not node.is_running


def test_a_port_taken_meanwhile_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        ports = [thief.getsockname()[1]] * 2
        monkeypatch.setattr(node_module, "free_port", lambda host: ports.pop() if ports else free_port(host))
        for engine in Engine:
            ports = [thief.getsockname()[1]] * 2
            with Fleet(1, 0, engine) as fleet:
                assert ports == []
                assert fleet.nodes[0].port != thief.getsockname()[1]


def test_an_engine_that_ends_at_once_shows_its_log() -> None:
    with pytest.raises(EngineError, match="Bad directive"), Fleet(1, 0, args=("--no-such-option", "1")):
        pass


def test_a_missing_engine_says_what_to_install() -> None:
    with (
        pytest.raises(EngineMissingError, match="apt-get install redis-server"),
        Fleet(1, 0, program="no-such"),
    ):
        pass


def test_one_more_node_can_be_opened() -> None:
    with Fleet(shards=1, replicas=0) as fleet:
        extra = fleet.open_node(replica_of=fleet.shards[0].primary)
        assert isinstance(extra, RedisNode)
        assert extra.info("replication")["role"] == "slave"
        assert extra in fleet.nodes
