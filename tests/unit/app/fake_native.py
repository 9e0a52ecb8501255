"""The native module's place, for what needs no sockets: remembers what it was told, says what it is given."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias, cast

from shardproxy.dataplane import DataPlane, _native
from shardproxy.dataplane._native import (
    Abandoned,
    AccessEvent,
    CacheAged,
    ClientDid,
    NodeDown,
    NodeLost,
    Offloaded,
    OutOfFiles,
)

Event: TypeAlias = (
    Offloaded | Abandoned | AccessEvent | NodeLost | NodeDown | ClientDid | CacheAged | OutOfFiles
)


class FakeNative:
    """As `_native.DataPlane`; applied specs by cluster, and refusals by address."""

    def __init__(self) -> None:
        self.specs: dict[str, dict[str, Any]] = {}
        self.refuses: dict[str, OSError] = {}  # address: why it cannot be listened on
        self.answers: list[tuple[int, bytes]] = []
        self.retried: list[int] = []
        self.passed_on: list[int] = []
        self.known: list[tuple[str, bytes, float]] = []  # ages: cluster, key, for how long
        self.counters: dict[str, Any] = statistics()
        self.hot_keys: dict[str, Any] = NOTHING_HOT
        self.big_keys: list[dict[str, Any]] = []
        self.client_rows: list[dict[str, Any]] = []
        self.slow_rows: list[dict[str, Any]] = []
        self.asked_in = 0  # which thread
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

    def pass_on(self, token: int, absent: Sequence[bytes] | None = None) -> None:
        self.passed_on.append(token)

    def fresh(self, cluster: str, key: bytes, seconds: float) -> None:
        self.known.append((cluster, key, seconds))

    def statistics(self) -> dict[str, Any]:
        self.asked_in = threading.get_ident()
        return self.counters

    def counts(self, cluster: str | None = None) -> dict[str, Any]:
        clusters = self.counters["clusters"].items()
        large = ("latency", "nodes", "shards", "families")
        return {
            name: {what: count for what, count in counts.items() if what not in large}
            for name, counts in clusters
            if cluster in (None, name)
        }

    def workers(self) -> list[dict[str, Any]]:
        return list(self.counters["workers"])

    def slow_log(self, cluster: str, most: int) -> list[dict[str, Any]]:
        self.asked_in = threading.get_ident()
        return self.slow_rows[:most]

    def access_untold(self) -> int:
        return int(self.counters["access_untold"])

    def hot(self, cluster: str) -> dict[str, Any]:
        return self.hot_keys

    def big(self, cluster: str) -> list[dict[str, Any]]:
        return self.big_keys

    def clients(self, client_ids: list[int] | None = None) -> list[dict[str, Any]]:
        return self.client_rows

    def kill(self, client_ids: list[int]) -> int:
        return len(client_ids)

    def drain(self) -> None:
        self.drained = True

    def stop(self) -> None:
        self.stopped = True
        os.close(self._wakeup)


TIMES = {"fine": ((36, 28), (40, 2)), "sum": 0.5}
NOTHING_HOT = {
    "seconds": 20.0,
    "sample": 16,
    "sampled": 0,
    "by_requests": [],
    "by_bytes": [],
    "slots": [],
    "families": [],
}


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
        "latency": {"read": TIMES},
        "shards": {"3": {"latency": {"read": TIMES}, "sampled": 800, "hottest": 100}},
        "families": {"user:*": TIMES},
        "big_reply": 99,
        "offloads": 31,
        "deliveries": 32,
        "subscription_gaps": 33,
        "waiting": 5,
        "fresh_reads": 38,
        "held": 40,
        "tracking": 95,
        "tracked_keys": 96,
        "tracked_items": 97,
        "tracked_prefixes": 98,
        "slow": 61,
        "trace_dropped": 62,
        "near": {"hits": 91, "misses": 92, "bytes": 93, "keys": 94},
        "relaxed": {"rename": {"count": 39, "example": "RENAME a:# b:#"}},
        "caching": {"row:*": {"hits": 49, "misses": 50, "writes": 51, "cancelled": 52, "unhanded": 53}},
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
