"""What took long in a cluster, and what passes just now: asks the workers, and nodes for their part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import trio

from shardproxy.config import Cluster
from shardproxy.dataplane.timings import TimedRequest, Tracing
from shardproxy.insight.slow import EngineCall, SlowRequest, calls_read, slow_requests
from shardproxy.model import Address, Engine, Topology
from shardproxy.nodes import NodeError, NodeFailure, NodeLinks

ENTRIES = 128  # of a node's log, at most
CALLS = 8192  # of all logs together, about: an entry may have 4 KiB
FEWEST = 16  # of a node's log, however many nodes are asked
PATIENCE = 1.0  # seconds for all nodes: what none of them says in time is not known


class Timed(Protocol):
    """The part of the data plane that times requests."""

    async def slow_log(self, cluster: str, most: int) -> Sequence[TimedRequest]: ...

    def trace(self, cluster: str, pattern: bytes, limit: int) -> Tracing: ...


class SlowDesk:
    """Answers who asks where the time went."""

    def __init__(
        self,
        timed: Timed,
        clusters: Callable[[], Mapping[str, Cluster]],
        topologies: Mapping[str, Topology],
        links_of: Callable[[str], NodeLinks],
    ) -> None:
        self._timed = timed
        self._clusters = clusters
        self._topologies = topologies
        self._links_of = links_of

    @property
    def clusters(self) -> tuple[str, ...]:
        """The names of those that are served."""
        return tuple(sorted(self._topologies))

    def threshold(self, cluster: str) -> float | None:
        """Seconds from which on its requests are slow; None: none are."""
        config = self._clusters().get(cluster)
        return config.slow_log.threshold if config is not None else None

    async def slow(self, cluster: str, limit: int) -> tuple[SlowRequest, ...]:
        """Its requests that took long, the newest first; raise KeyError of an unknown cluster."""
        requests = await self._timed.slow_log(cluster, limit)
        calls = await self._calls(cluster, requests)
        # who watches many nodes asks for this every few seconds, and failover must not wait for it
        return await trio.to_thread.run_sync(slow_requests, requests, calls)

    def trace(self, cluster: str, pattern: bytes, limit: int) -> Tracing:
        """As `DataPlane.trace`."""
        return self._timed.trace(cluster, pattern, limit)

    async def _calls(self, cluster: str, requests: Sequence[TimedRequest]) -> list[EngineCall]:
        """What the nodes that answered these have in their own logs; nothing of a node that does not say."""
        topology = self._topologies.get(cluster)
        if topology is None or topology.engine is not Engine.REDIS:
            return []
        wanted = {request.node for request in requests}
        nodes = [node.address for node in topology.nodes if str(node.address) in wanted]
        entries = entries_of(len(nodes))
        found: list[EngineCall] = []
        with trio.move_on_after(PATIENCE):
            async with self._links_of(cluster) as links, trio.open_nursery() as nursery:
                for address in nodes:
                    nursery.start_soon(_ask, links, address, entries, found)
        return found


def entries_of(nodes: int) -> int:
    """How much of its log each of so many nodes is asked for."""
    return min(ENTRIES, max(FEWEST, CALLS // max(1, nodes)))


async def _ask(links: NodeLinks, address: Address, entries: int, found: list[EngineCall]) -> None:
    try:
        found += calls_read(str(address), await links.request(address, "SLOWLOG", "GET", entries))
    except (NodeFailure, NodeError):
        return
