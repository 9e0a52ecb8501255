"""Peers of ours, as they are commonly set up, to be measured beside it: Redis Sentinel and Redis Cluster."""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.cluster import RedisCluster as ClusterClient
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from shardproxy.fleet import EngineNode, Fleet, GuardedDirectory, RedisNode, free_port
from shardproxy.fleet.process import Launch, LocalProcess
from shardproxy.model import Address
from tests.failover.load import Ledger, Way, connect, pool_disconnect, tag_of, way_to
from tests.fixtures.proxy import wait_until
from tests.fleet.arrangement import PATIENCE, is_in_sync
from tests.fleet.history import told_read, why_late_acks

TIMEOUT = 5.0  # seconds, redis-py's default
REPLICAS = 2

SENTINELS, QUORUM = 3, 2
DOWN_AFTER = 1000  # ms
SENTINEL_FAILOVER_TIMEOUT = 10_000  # ms; its default of 180 s would have the next round wait for it

CLUSTER_SHARDS = 3  # the least that can vote
NODE_TIMEOUT = 2000  # ms

# The recipe that HAProxy's users take: only a node that says it is the master gets connections.
HAPROXY = """
defaults
  mode tcp
  timeout connect 1s
  timeout client 1h
  timeout server 1h
frontend redis
  bind 127.0.0.1:{port}
  default_backend primary
backend primary
  option tcp-check
  tcp-check connect
  tcp-check send PING\\r\\n
  tcp-check expect string +PONG
  tcp-check send info\\ replication\\r\\n
  tcp-check expect string role:master
  tcp-check send QUIT\\r\\n
  tcp-check expect string +OK
  default-server check inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
"""


def quick() -> Retry:
    return Retry(NoBackoff(), 0)


class SentinelCluster:
    """One shard that three Sentinels watch."""

    tag = tag_of(0, 1)

    def __init__(self, fleet: Fleet, sentinels: Sequence[Address], haproxy: Address | None) -> None:
        self._fleet = fleet
        self._sentinels = sentinels
        self._haproxy = haproxy
        self.name = "Sentinel client" if haproxy is None else "Sentinel + HAProxy"

    def ways(self) -> list[Way]:
        if self._haproxy is not None:
            return [way_to(self._haproxy, "haproxy", TIMEOUT)]
        return [Way("sentinel", self._client, pool_disconnect)]

    def _client(self) -> Any:
        asked = Sentinel(
            [(one.host, one.port) for one in self._sentinels],
            sentinel_kwargs={"socket_timeout": 1.0, "retry": quick()},
            socket_timeout=TIMEOUT,
            retry=quick(),
            retry_on_error=[],
        )
        return asked.master_for("main")

    def reader(self) -> redis.Redis:
        return connect(self.primary().address)

    def primary(self) -> RedisNode:
        """As most Sentinels say."""
        said = [self._ask(sentinel) for sentinel in self._sentinels]
        port = max(set(said), key=said.count)
        return next(n for n in self._fleet.nodes if isinstance(n, RedisNode) and n.port == port)

    @staticmethod
    def _ask(sentinel: Address) -> int:
        with connect(sentinel) as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[1])

    def replicas(self) -> list[RedisNode]:
        primary = self.primary()
        return [n for n in self._fleet.nodes if isinstance(n, RedisNode) and n is not primary]

    def wait_whole(self) -> None:
        def is_whole() -> bool:
            if len({self._ask(sentinel) for sentinel in self._sentinels}) > 1:
                return False
            return is_in_sync(self.primary(), self.replicas()) and all(map(self._is_calm, self._sentinels))

        wait_until(is_whole, f"{self.name} is whole", timeout=PATIENCE, interval=0.2)
        for way in self.ways():
            wait_until(lambda: self._is_written(way), f"{self.name} takes writes", timeout=PATIENCE)  # noqa: B023

    @staticmethod
    def _is_calm(sentinel: Address) -> bool:
        with connect(sentinel) as client:
            fields = client.execute_command("SENTINEL", "MASTER", "main")
            others = client.execute_command("SENTINEL", "REPLICAS", "main")
        return "_down" not in str(fields) + str(others) and len(others) == REPLICAS

    @staticmethod
    def _is_written(way: Way) -> bool:
        try:
            with contextlib.closing(way.connect()) as client:
                return bool(client.set("is anybody there?", "yes"))
        except (RedisError, OSError):
            return False

    def why_wrong(self, ledger: Ledger, found: Mapping[str, list[int]]) -> list[str]:
        return why_acked_late(self._fleet.nodes, ledger, found)

    def switch_over(self) -> None:
        before = self.primary()
        with connect(self._sentinels[0]) as client:
            client.execute_command("SENTINEL", "FAILOVER", "main")
        wait_until(lambda: self.primary() is not before, "another primary", timeout=PATIENCE)


@contextmanager
def open_sentinel(*, haproxy: bool, launch: Launch = LocalProcess) -> Iterator[SentinelCluster]:
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet(1, REPLICAS, launch=launch))
        root = stack.enter_context(GuardedDirectory())
        (shard,) = fleet.shards
        sentinels = []
        for number in range(SENTINELS):
            where = root.path / f"sentinel-{number}"
            where.mkdir()
            address = Address("127.0.0.1", free_port())
            config = where / "sentinel.conf"
            config.write_text(
                f"port {address.port}\nbind 127.0.0.1\nprotected-mode no\n"
                f"sentinel monitor main 127.0.0.1 {shard.primary.port} {QUORUM}\n"
                f"sentinel down-after-milliseconds main {DOWN_AFTER}\n"
                f"sentinel failover-timeout main {SENTINEL_FAILOVER_TIMEOUT}\n"
            )
            # what runs in the guarded directory ends with it
            LocalProcess((program("redis-sentinel"), str(config)), where)
            sentinels.append(address)
        front = None
        if haproxy:
            front = Address("127.0.0.1", free_port())
            servers = "\n".join(f"  server n{n.port} 127.0.0.1:{n.port}" for n in fleet.nodes)
            config = root.path / "haproxy.cfg"
            config.write_text(HAPROXY.format(port=front.port, servers=servers))
            LocalProcess((program("haproxy"), "-db", "-f", str(config)), root.path)
        for sentinel in sentinels:
            wait_until(lambda: is_known(sentinel), "sentinels know each other")  # noqa: B023
        yield SentinelCluster(fleet, sentinels, front)


def is_known(sentinel: Address) -> bool:
    """It knows the other Sentinels, and the replicas."""
    try:
        with connect(sentinel) as client:
            others = client.execute_command("SENTINEL", "SENTINELS", "main")
            replicas = client.execute_command("SENTINEL", "REPLICAS", "main")
    except (RedisError, OSError):
        return False
    return len(others) == SENTINELS - 1 and len(replicas) == REPLICAS


class RedisCluster:
    """Engines in cluster mode; the first shard has the first third of the slots."""

    name = "Redis Cluster"
    tag = tag_of(0, CLUSTER_SHARDS)

    def __init__(self, nodes: Sequence[RedisNode]) -> None:
        self._nodes = nodes
        self._of_shard = nodes[::CLUSTER_SHARDS]

    def ways(self) -> list[Way]:
        return [Way("cluster", self._client, ClusterClient.disconnect_connection_pools)]

    def _client(self) -> ClusterClient:
        nodes = [ClusterNode(n.address.host, n.port) for n in self._nodes if n.is_running]
        return ClusterClient(
            startup_nodes=random.sample(nodes, len(nodes)),
            require_full_coverage=False,
            retry=quick(),
            socket_timeout=TIMEOUT,
        )

    def reader(self) -> redis.Redis:
        return connect(self.primary().address)

    def primary(self) -> RedisNode:
        """As most nodes of the other shards say."""
        said = []
        for node in self._nodes:
            if node not in self._of_shard and node.is_running and not node.is_frozen:
                first = min(node.ask("CLUSTER", "SLOTS"))
                said.append(int(first[2][1]))
        port = max(set(said), key=said.count)
        return next(node for node in self._nodes if node.port == port)

    def replicas(self) -> list[RedisNode]:
        primary = self.primary()
        return [node for node in self._of_shard if node is not primary]

    def wait_whole(self) -> None:
        wait_until(self._is_whole, "Redis Cluster is whole", timeout=PATIENCE, interval=0.2)

    def _is_whole(self) -> bool:
        try:
            if not is_in_sync(self.primary(), self.replicas()):
                return False
            for node in self._nodes:
                said = bytes(node.ask("CLUSTER", "INFO")).decode()
                if "cluster_state:ok" not in said or "cluster_slots_ok:16384" not in said:
                    return False
                if b"fail" in bytes(node.ask("CLUSTER", "NODES")).replace(b"nofailover", b""):
                    return False
        except (OSError, EOFError, ValueError):
            return False
        return True

    def why_wrong(self, ledger: Ledger, found: Mapping[str, list[int]]) -> list[str]:
        return []  # such engines do not write down who promotes them

    def switch_over(self) -> None:
        before = self.primary()
        self.replicas()[0].ask("CLUSTER", "FAILOVER")
        wait_until(lambda: self.primary() is not before, "another primary", timeout=PATIENCE)


@contextmanager
def open_cluster(*, launch: Launch = LocalProcess) -> Iterator[RedisCluster]:
    count = CLUSTER_SHARDS * (1 + REPLICAS)
    args = [
        *("--cluster-enabled", "yes"),
        *("--cluster-node-timeout", str(NODE_TIMEOUT)),
        *("--cluster-announce-ip", "127.0.0.1"),  # wherever they connect from
    ]
    with Fleet(count, 0, launch=launch, args=args) as fleet:
        nodes = [node for node in fleet.nodes if isinstance(node, RedisNode)]
        for number, node in enumerate(nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
        for shard in range(CLUSTER_SHARDS):
            first, last = shard * 16384 // CLUSTER_SHARDS, (shard + 1) * 16384 // CLUSTER_SHARDS - 1
            nodes[shard].ask("CLUSTER", "ADDSLOTSRANGE", first, last)

        def all_known() -> bool:
            return all(bytes(n.ask("CLUSTER", "NODES")).count(b" connected") == count for n in nodes)

        wait_until(all_known, "all nodes know each other", timeout=PATIENCE)
        for number, node in enumerate(nodes[CLUSTER_SHARDS:]):
            primary = nodes[number % CLUSTER_SHARDS]
            node.ask("CLUSTER", "REPLICATE", bytes(primary.ask("CLUSTER", "MYID")))
        cluster = RedisCluster(nodes)
        time.sleep(0.1)
        cluster.wait_whole()
        yield cluster


def why_acked_late(nodes: Sequence[EngineNode], ledger: Ledger, found: Mapping[str, list[int]]) -> list[str]:
    """What a primary acknowledged after another one had taken its place."""
    since = min(write.began for write in ledger.writes)
    engines = [node for node in nodes if isinstance(node, RedisNode)]
    promotions = [told for told in told_read(engines, since) if told.primary is None]
    return why_late_acks(ledger.lost(found), promotions)


def program(name: str) -> str:
    found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        raise FileNotFoundError(f"{name} is missing: apt-get install it, or run `make chaos`, which does")
    return found
