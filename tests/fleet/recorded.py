"""What proxies put into etcd, read from its own history: live, or afterwards."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shardproxy.store.codec import record_decode
from shardproxy.store.etcd.keys import LEADER, SHARD, Keys
from shardproxy.store.record import ShardRecord
from tests.fixtures.etcd import Etcd

TIMEOUT = 5.0  # seconds without a word


@dataclass(frozen=True, slots=True)
class Put:
    """A key's new value; None = it was deleted."""

    revision: int
    kind: str
    names: tuple[str, ...]
    value: bytes | None

    @property
    def record(self) -> ShardRecord | None:
        """The shard's record, if it is one."""
        if self.kind != SHARD or self.value is None:
            return None
        return record_decode(json.loads(self.value), self.revision)

    @property
    def is_leader(self) -> bool:
        return self.kind == LEADER


class Recorded:
    """All below one prefix."""

    def __init__(self, etcd: Etcd, prefix: str) -> None:
        self._etcd = etcd
        self._keys = Keys(prefix)

    def revision(self) -> int:
        """The latest of the whole store."""
        found = self._ask("/v3/kv/range", {"key": encode("\0"), "limit": "1"})
        return int(found["header"]["revision"])

    def leader(self, cluster: str = "main") -> str | None:
        """The member that leads a cluster."""
        found = self._ask("/v3/kv/range", {"key": encode(self._keys.leader(cluster))})
        values = [base64.b64decode(kv["value"]).decode() for kv in found.get("kvs", ())]
        return values[0] if values else None

    def since(self, revision: int) -> list[Put]:
        """All that was put after that revision, in order; it was not compacted away."""
        last = self.revision()
        found: list[Put] = []
        if last <= revision:
            return found
        # A watch of everything, not of ours: its last event is then the last revision for certain.
        for put in self.watch(revision + 1):
            found.append(put)
            if put.revision >= last:
                break
        return [put for put in found if put.kind]

    def watch(self, start: int = 0, timeout: float = TIMEOUT) -> Iterator[Put]:
        """What is put from now on, or from that revision on; ends when nothing was for so long."""
        created: dict[str, str] = {"key": encode("\0"), "range_end": encode("\0")}
        if start:
            created["start_revision"] = str(start)
        with self._open("/v3/watch", {"create_request": created}, timeout) as stream:
            try:
                for line in stream:
                    for event in json.loads(line)["result"].get("events", ()):
                        yield self._put(event)
            except TimeoutError:
                return

    def _put(self, event: dict[str, Any]) -> Put:
        kv = event["kv"]
        key = base64.b64decode(kv["key"]).decode()
        is_gone = event.get("type") == "DELETE"
        value = None if is_gone else base64.b64decode(kv.get("value", ""))
        if not key.startswith(self._keys.first):
            return Put(int(kv["mod_revision"]), "", (), value)
        kind, *names = self._keys.parts(key)
        return Put(int(kv["mod_revision"]), kind, tuple(names), value)

    def _ask(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        with self._open(path, body, TIMEOUT) as answer:
            return dict(json.loads(answer.read()))

    def _open(self, path: str, body: object, timeout: float) -> Any:
        request = urllib.request.Request(self._etcd.running[0] + path, data=json.dumps(body).encode())
        return urllib.request.urlopen(request, timeout=timeout)


def encode(key: str) -> str:
    return base64.b64encode(key.encode()).decode()


class Seen(threading.Thread):
    """Watches beside a test, and tells when each thing was put by this machine's monotonic clock."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__(daemon=True)
        self._recorded = recorded
        self.puts: list[tuple[float, Put]] = []
        self.start()

    def run(self) -> None:
        for put in self._recorded.watch(timeout=60.0):
            self.puts.append((time.monotonic(), put))
