"""The native module's place, for what needs no sockets: remembers what it was told, says what it is given."""

from __future__ import annotations

import json
import os
from collections import deque
from typing import Any, TypeAlias, cast

from shardproxy.dataplane import DataPlane, _native
from shardproxy.dataplane._native import (
    Abandoned,
    AccessEvent,
    ClientDid,
    NodeDown,
    NodeLost,
    Offloaded,
    OutOfFiles,
)

Event: TypeAlias = Offloaded | Abandoned | AccessEvent | NodeLost | NodeDown | ClientDid | OutOfFiles


class FakeNative:
    """As `_native.DataPlane`; applied specs by cluster, and refusals by address."""

    def __init__(self) -> None:
        self.specs: dict[str, dict[str, Any]] = {}
        self.refuses: dict[str, OSError] = {}  # address: why it cannot be listened on
        self.answers: list[tuple[int, bytes]] = []
        self.retried: list[int] = []
        self.counters: dict[str, Any] = statistics()
        self.client_rows: list[dict[str, Any]] = []
        self.drained = self.stopped = False
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK)
        self._events: deque[Event] = deque()

    def offload(self, token: int, *args: bytes) -> None:
        """Hand over a command, as a worker would."""
        self.tell(Offloaded(token, "main", "primary", 7, "default", 3, 0, "127.0.0.1:7000", True, args))

    def tell(self, *events: Event) -> None:
        self._events += events
        os.eventfd_write(self._wakeup, 1)

    def apply(self, cluster: bytes) -> list[tuple[str, str]]:
        spec = json.loads(cluster)
        addresses = [address for endpoint in spec["endpoints"] for address in endpoint["addresses"]]
        taken = {
            address
            for name, other in self.specs.items()
            for endpoint in other["endpoints"]
            for address in endpoint["addresses"]
            if name != spec["name"]
        }
        for address in addresses:
            if address in self.refuses:
                raise self.refuses[address]
            if address in taken:
                raise OSError(98, f"{address} is in use")
        self.specs[spec["name"]] = spec
        return [(address, address) for address in addresses]

    def remove(self, cluster: str) -> None:
        self.specs.pop(cluster, None)

    def learn(self, table: bytes) -> None: ...

    def limit(self, clients: int, dedicated: int) -> None: ...

    def fileno(self) -> int:
        return self._wakeup

    def take(self) -> list[Event]:
        try:
            os.eventfd_read(self._wakeup)
        except BlockingIOError:
            return []
        taken = list(self._events)
        self._events.clear()
        return taken

    def answer(self, token: int, reply: bytes) -> None:
        self.answers.append((token, reply))

    def retry(self, token: int) -> None:
        self.retried.append(token)

    def statistics(self) -> dict[str, Any]:
        return self.counters

    def clients(self, client_ids: list[int] | None = None) -> list[dict[str, Any]]:
        return self.client_rows

    def kill(self, client_ids: list[int]) -> int:
        return len(client_ids)

    def drain(self) -> None:
        self.drained = True

    def stop(self) -> None:
        self.stopped = True
        os.close(self._wakeup)


def dataplane_over(native: FakeNative) -> DataPlane:
    return DataPlane(cast("_native.DataPlane", native))


def statistics(clients: int = 3) -> dict[str, Any]:
    """Counters of every kind there is, no two alike."""
    node = {
        "connections": 4,
        "connects": 5,
        "connect_failures": 6,
        "requests": 7,
        "errors": 8,
        "lost": 9,
        "strangers": 14,
        "timeouts": 10,
        "bytes_in": 11,
        "bytes_out": 12,
        "queued": 13,
    }
    cluster = {
        "clients": clients,
        "blocked": 39,
        "accepted": 20,
        "refused": {"limit": 21, "security_group": 46},
        "closed": {"idle": 22, "client": 23},
        "handshakes": {"full": 47, "resumed": 48},
        "bytes_in": 24,
        "bytes_out": 25,
        "commands": {"get": {"ok": 26, "error": 27}},
        "latency": {"read": {"buckets": [[0.001, 28], [0.002, 29]], "sum": 0.5, "count": 30}},
        "offloads": 31,
        "deliveries": 32,
        "subscription_gaps": 33,
        "waiting": 5,
        "fresh_reads": 38,
        "held": 40,
        "relaxed": {"rename": {"count": 39, "example": "RENAME a:# b:#"}},
        "parked": 34,
        "parked_bytes": 35,
        "tryagain": 36,
        "indoubt": 37,
        "protocol_errors": 32,
        "nodes": {"127.0.0.1:7101": node},
    }
    return {
        "workers": [
            {"turns": 40, "age": 0.25, "clients": clients, "buffers": 41, "restarts": 42},
            {"turns": 43, "age": 0.5, "clients": 0, "buffers": 44, "restarts": 45},
        ],
        "clusters": {"main": cluster},
        "buffers": 85,
        "epoch": {"main": 6},
        "dedicated": 86,
        "lacking": 87,
        "access_untold": 88,
        "accesses": [["main", "denied", "key", 89], ["main", "login", "", 90]],
    }
