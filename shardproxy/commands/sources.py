"""What code clients have loaded, so that a node that lacks it can be given it. No I/O."""

from __future__ import annotations

from collections import OrderedDict

CAPACITY = 32 << 20  # bytes of code; applications have some dozens of scripts of a few KiB
ENTRY = 256  # bytes that go with each; so a million scripts of one byte do not count as a million bytes


class Sources:
    """Code by cluster and name; the least used goes first when there is too much."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._bodies: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._bytes = 0

    def keep(self, cluster: str, name: str, body: bytes) -> None:
        """Remember what the cluster's nodes have accepted, unless it is more than all may be."""
        self.forget(cluster, name)
        if len(body) + ENTRY > self._capacity:
            return
        self._bodies[(cluster, name)] = body
        self._bytes += len(body) + ENTRY
        while self._bytes > self._capacity:
            self._drop(next(iter(self._bodies)))

    def get(self, cluster: str, name: str) -> bytes | None:
        """The code of that name."""
        key = (cluster, name)
        if key not in self._bodies:
            return None
        self._bodies.move_to_end(key)
        return self._bodies[key]

    def all(self, cluster: str) -> dict[str, bytes]:
        """All code of a cluster by name, that kept first coming first."""
        return {name: body for (owner, name), body in self._bodies.items() if owner == cluster}

    def forget(self, cluster: str, name: str) -> None:
        if (cluster, name) in self._bodies:
            self._drop((cluster, name))

    def forget_all(self, cluster: str) -> None:
        for name in self.all(cluster):
            self._drop((cluster, name))

    def _drop(self, key: tuple[str, str]) -> None:
        self._bytes -= len(self._bodies.pop(key)) + ENTRY
