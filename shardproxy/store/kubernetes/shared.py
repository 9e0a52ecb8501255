"""What the parts of a store have in common: the server, what was seen of it, and who we are."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from shardproxy.store.kubernetes.api import Api
from shardproxy.store.kubernetes.boards import Boards
from shardproxy.store.kubernetes.mirror import Mirror
from shardproxy.store.kubernetes.names import Kind, Names
from shardproxy.store.kubernetes.writer import Place, Writer
from shardproxy.store.statistics import StoreStatistics

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Times:
    """All in seconds. With the ttl of 6: a beat each 1.5, requests within 1, a renewal each 1."""

    ttl: float

    @property
    def beat(self) -> float:
        return self.ttl / 4

    @property
    def request(self) -> float:
        """For an answer of the API server."""
        return max(0.5, self.ttl / 6)

    @property
    def write(self) -> float:
        """For a write with all its attempts."""
        return self.ttl / 2

    @property
    def fresh(self) -> float:
        """After the last contact was sent, others may know of a change that we do not."""
        return 0.6 * self.ttl

    @property
    def echo(self) -> float:
        """In which our watch shows what we wrote."""
        return self.ttl / 6

    @property
    def gap(self) -> float:
        """Without news, of which our own heartbeats are some, it is us who hear nothing."""
        return self.beat + 2 * self.request


@dataclass(slots=True)
class Shared:
    api: Api
    names: Names
    member: str
    mirror: Mirror
    boards: Boards
    clock: Clock  # CLOCK_BOOTTIME
    times: Times
    statistics: StoreStatistics
    _writers: dict[str, Writer] = field(default_factory=dict)
    _writes: count[int] = field(default_factory=count)
    _process: str = field(default_factory=lambda: secrets.token_hex(4))

    def writer(self, name: str, kind: Kind, owners: tuple[Mapping[str, Any], ...] = ()) -> Writer:
        """What writes that object; the same for all who ask."""
        if name not in self._writers:
            self._writers[name] = Writer(
                self.api,
                self.mirror,
                Place(name, self.names.labels(kind), owners),
                lambda: f"{self._process}-{next(self._writes)}",
                self.statistics,
                patience=self.times.write,
            )
        return self._writers[name]


def pod_owner() -> tuple[Mapping[str, Any], ...]:
    """The pod that this process runs in, where its manifest says so: what it announces goes with it.

    Only that: a heartbeat outlives a pod whose node is cut off, until it has expired.
    """
    name, uid = os.environ.get("POD_NAME"), os.environ.get("POD_UID")
    if not name or not uid:
        return ()
    return ({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid},)
