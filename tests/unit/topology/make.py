"""Clusters, records and health to project and to follow, and a data plane that only remembers."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from shardproxy.config import Config
from shardproxy.dataplane import BoundEndpoint
from shardproxy.dataplane.spec import ClusterSettings, ClusterSpec
from shardproxy.health.monitor import Boards
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.health import NodeHealth, NodeState, Verdict
from shardproxy.model.replication import Lineage, Replication, Role, ShardKey
from shardproxy.store.memory import MemoryNotes
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.topology.follower import Follower
from shardproxy.topology.settings import settings_read

A, B, C, D = (Address("127.0.0.1", port) for port in (7101, 7102, 7103, 7104))
KEY, OTHER = ShardKey("main", 0), ShardKey("main", 1)
LINEAGE = Lineage("a" * 40)

Clusters = Mapping[str, ClusterSettings]


def clusters(**of: dict[str, Any]) -> Clusters:
    return settings_read(Config.model_validate({"clusters": of}), "7.0.15")


def redis(*shards: tuple[Address, ...] | dict[str, Any], port: int = 7000, **options: Any) -> dict[str, Any]:
    """A cluster over these shards: nodes each, or as a config has it."""
    written = [
        {**s, "nodes": [str(n) for n in s["nodes"]]}
        if isinstance(s, dict)
        else {"nodes": [str(n) for n in s]}
        for s in shards
    ]
    return {
        "engine": "redis",
        "endpoints": {"primary": f"127.0.0.1:{port}"},
        "shards": written or [{"nodes": [str(A), str(B)]}],
        **options,
    }


def memcached(*nodes: Address, port: int = 7000, **options: Any) -> dict[str, Any]:
    endpoints = {"configuration": f"127.0.0.1:{port}"}
    return {"engine": "memcached", "endpoints": endpoints, "nodes": [str(node) for node in nodes], **options}


def record(
    state: ShardState = ShardState.OK,
    primary: Address | None = A,
    nodes: tuple[Address, ...] = (A, B),
    *,
    key: ShardKey = KEY,
    changed: int = 5,
    epoch: int = 3,
    **fields: Any,
) -> ShardRecord:
    return ShardRecord(key, epoch, state, primary, nodes, changed=changed, **fields)


def seen(
    role: Role = Role.REPLICA,
    *,
    epoch: int = 3,
    state: NodeState = NodeState.UP,
    seen_as: Address | None = None,
) -> NodeHealth:
    """What health says of a node that was asked."""
    said = Replication(role, LINEAGE, 1, follows=A, is_link_up=True)
    return NodeHealth(Verdict(state, "because", 0.0), said, is_surveyed=True, epoch=epoch, seen_as=seen_as)


class FakePlane:
    """The rules of the data plane: epochs never go down, an address is one cluster's."""

    def __init__(self) -> None:
        self.specs: dict[str, ClusterSpec] = {}
        self.told: list[ClusterSpec] = []  # all that it was ever asked
        self.refuses: list[Exception] = []  # the next calls
        self.late_until = -math.inf  # a worker has not taken what it is told before that time
        self.unreachable: dict[str, OSError] = {}  # by address
        self.under_way: set[str] = set()  # clusters of which something that is held has no reply yet
        self.settles = 0  # how often that was asked
        self.settles_at_once = 0  # of these, with what was to be served
        self.gate = trio.Event()  # calls wait until it is set
        self.gate.set()

    async def apply(self, spec: ClusterSpec) -> tuple[BoundEndpoint, ...]:
        self.told.append(spec)
        await trio.lowlevel.checkpoint()
        await self.gate.wait()
        if self.refuses:
            raise self.refuses.pop(0)
        self._check(spec)
        self.specs[spec["name"]] = spec
        if trio.current_time() < self.late_until:
            raise TimeoutError("a worker has not taken it within 1 s; it will")
        return tuple(BoundEndpoint(Address.parse(a), Address.parse(a)) for a in addresses(spec))

    async def apply_settled(self, spec: ClusterSpec, within: float) -> tuple[tuple[BoundEndpoint, ...], bool]:
        endpoints = await self.apply(spec)
        self.settles_at_once += 1
        return endpoints, await self.settle(spec["name"], within)

    async def settle(self, cluster: str, within: float) -> bool:
        self.settles += 1
        await trio.sleep(within if cluster in self.under_way else 0)
        return cluster not in self.under_way

    def _check(self, spec: ClusterSpec) -> None:
        before = self.specs.get(spec["name"])
        if before is not None and spec["epoch"] < before["epoch"]:
            raise ValueError(f"epoch {spec['epoch']} is older than {before['epoch']}")
        taken = {a for name, other in self.specs.items() if name != spec["name"] for a in addresses(other)}
        for address in addresses(spec):
            if address in self.unreachable:
                raise self.unreachable[address]
            if address in taken:
                raise OSError(98, f"{address} is in use")

    def remove(self, cluster: str) -> None:
        self.specs.pop(cluster, None)

    def primaries(self, cluster: str = "main") -> list[str | None]:
        """Of each shard as served."""
        return [
            shard["nodes"][shard["primary"]]["address"] if shard["primary"] is not None else None
            for shard in self.specs[cluster]["shards"]
        ]

    @property
    def listening(self) -> dict[str, list[str]]:
        return {name: addresses(spec) for name, spec in self.specs.items()}


def addresses(spec: ClusterSpec) -> list[str]:
    return [address for endpoint in spec["endpoints"] for address in endpoint["addresses"]]


class Site:
    """A follower, and what it follows."""

    def __init__(self) -> None:
        self.plane = FakePlane()
        self.records: Board[ShardKey, ShardRecord] = Board()
        self.notebook = MemoryNotes()
        self.boards = Boards()
        self.follower = Follower(self.plane, self.records, self.notebook, self.boards)

    def put(self, *records: ShardRecord) -> None:
        for each in records:
            self.records.show(each.key, each)

    async def serve(self, wanted: Clusters) -> dict[str, list[str]]:
        served = await self.follower.serve(wanted, "test")
        return {name: [str(e.bound) for e in endpoints] for name, endpoints in served.items()}

    async def settle(self) -> None:
        """Until the follower waits for news."""
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def following(**of: dict[str, Any]) -> AsyncIterator[Site]:
    """A follower at work on these clusters."""
    site = Site()
    async with trio.open_nursery() as nursery:
        await nursery.start(site.follower.run)
        await site.serve(clusters(**of) if of else {})
        yield site
        nursery.cancel_scope.cancel()
