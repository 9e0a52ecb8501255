"""The native module's place, for what needs no sockets: remembers what it was told, says what it is given."""

from __future__ import annotations

import json
import os
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from shardproxy.dataplane import DataPlane

if TYPE_CHECKING:
    from shardproxy.dataplane import _native

Taken = tuple[int, str, str, int, int, int, str, bool, list[bytes]]


class FakeNative:
    """As `_native.DataPlane`; applied specs by cluster, and refusals by address."""

    def __init__(self) -> None:
        self.specs: dict[str, dict[str, Any]] = {}
        self.refuses: dict[str, OSError] = {}  # address: why it cannot be listened on
        self.answers: list[tuple[int, bytes]] = []
        self.retried: list[int] = []
        self.down_news: list[tuple[str, str, str]] | None = None
        self.hint_news: list[tuple[str, str, str, str]] = []
        self.counters: dict[str, Any] = statistics()
        self.client_rows: list[dict[str, Any]] = []
        self.drained = self.stopped = False
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK)
        self._offloads: deque[Taken] = deque()

    def offload(self, token: int, *args: bytes) -> None:
        """Hand over a command, as a worker would."""
        self._offloads.append((token, "main", "primary", 7, 3, 0, "127.0.0.1:7000", True, list(args)))
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

    def limit_clients(self, most: int) -> None: ...

    def fileno(self) -> int:
        return self._wakeup

    def take(self) -> list[Taken]:
        try:
            os.eventfd_read(self._wakeup)
        except BlockingIOError:
            return []
        taken = list(self._offloads)
        self._offloads.clear()
        return taken

    def answer(self, token: int, reply: bytes) -> None:
        self.answers.append((token, reply))

    def hints(self) -> list[tuple[str, str, str, str]]:
        told, self.hint_news = self.hint_news, []
        return told

    def tell_hints(self, *hints: tuple[str, str, str, str]) -> None:
        self.hint_news += hints
        os.eventfd_write(self._wakeup, 1)

    def down(self) -> list[tuple[str, str, str]] | None:
        told, self.down_news = self.down_news, None
        return told

    def tell_down(self, *nodes: tuple[str, str, str]) -> None:
        self.down_news = list(nodes)
        os.eventfd_write(self._wakeup, 1)

    def retry(self, token: int) -> None:
        self.retried.append(token)

    def statistics(self) -> dict[str, Any]:
        return self.counters

    def clients(self, client_id: int | None = None) -> list[dict[str, Any]]:
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
        "accepted": 20,
        "refused": 21,
        "closed": {"idle": 22, "client": 23},
        "bytes_in": 24,
        "bytes_out": 25,
        "commands": {"get": {"ok": 26, "error": 27}},
        "latency": {"read": {"buckets": [[0.001, 28], [0.002, 29]], "sum": 0.5, "count": 30}},
        "offloads": 31,
        "deliveries": 32,
        "subscription_gaps": 33,
        "fresh_reads": 38,
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
    }
