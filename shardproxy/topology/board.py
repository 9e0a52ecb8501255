"""The latest topology of every cluster, for all to read. Only the publisher writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import trio

from shardproxy.model import Topology


class TopologyBoard(Mapping[str, Topology]):
    """Cluster name to current topology. Bounded by itself: a slow reader sees the latest, not every one."""

    def __init__(self) -> None:
        self._current: dict[str, Topology] = {}
        self._changed = trio.Event()

    def __getitem__(self, cluster: str) -> Topology:
        return self._current[cluster]

    def __iter__(self) -> Iterator[str]:
        return iter(self._current)

    def __len__(self) -> int:
        return len(self._current)

    async def wait_changed(self, cluster: str, seen: Topology | None) -> Topology | None:
        """Wait for another topology of the cluster than the one seen; None when it is not served."""
        while self._current.get(cluster) == seen:
            await self._changed.wait()
        return self._current.get(cluster)

    def show(self, topology: Topology) -> None:
        """Replace a cluster's topology (the publisher only)."""
        self._current[topology.cluster] = topology
        self._notify()

    def hide(self, cluster: str) -> None:
        """Forget a cluster (the publisher only)."""
        self._current.pop(cluster, None)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
