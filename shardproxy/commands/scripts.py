"""What scripts clients have loaded, so that a node that lacks one can be given it. No I/O."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

CAPACITY = 32 << 20  # bytes of scripts; applications have some dozens of a few KiB


class Scripts:
    """Script bodies by cluster and digest; the least used go first when there are too many bytes."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._bodies: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._bytes = 0

    def keep(self, cluster: str, body: bytes) -> None:
        """Remember a script the cluster's nodes have accepted."""
        key = (cluster, digest_of(body))
        if key not in self._bodies:
            self._bytes += len(body)
        self._bodies[key] = body
        self._bodies.move_to_end(key)
        while self._bytes > self._capacity:
            _, dropped = self._bodies.popitem(last=False)
            self._bytes -= len(dropped)

    def get(self, cluster: str, digest: str) -> bytes | None:
        """The script with that SHA1 (hex, any case)."""
        key = (cluster, digest.lower())
        if key not in self._bodies:
            return None
        self._bodies.move_to_end(key)
        return self._bodies[key]

    def forget(self, cluster: str) -> None:
        """Forget a cluster's scripts, as SCRIPT FLUSH does."""
        for key in [key for key in self._bodies if key[0] == cluster]:
            self._bytes -= len(self._bodies.pop(key))


def digest_of(body: bytes) -> str:
    """What EVALSHA calls a script."""
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()
