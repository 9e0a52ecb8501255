"""Requests as the workers timed them, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shardproxy.dataplane import _native


@dataclass(frozen=True, slots=True)
class Phases:
    """Where the time of a request went: microseconds, None where it is not known."""

    waited: int | None = None  # for its turn: behind others, or for room in a queue
    parked: int | None = None  # for a primary, the end of a hold or of a pause
    upstream: int | None = None  # until its node, or the control plane, had answered
    client: int | None = None  # until its client had taken the reply


@dataclass(frozen=True, slots=True)
class TimedRequest:
    """One request that took long, was traced or was sampled."""

    id: int  # later ones have higher ones
    at: int  # when it came: microseconds since 1970
    microseconds: int
    phases: Phases
    command: str  # lower case; of a subcommand `container|subcommand`
    arguments: tuple[bytes, ...]  # its name and keys, bounded as in an engine's slow log
    key: bytes | None  # the first, or the one that a trace is about
    client_id: int  # 0: it had gone
    client: str  # its address
    name: bytes
    user: str
    db: int
    slot: int | None
    shard: int | None
    node: str  # its address; empty where none answered
    request_bytes: int
    reply_bytes: int
    outcome: str  # ok, error, or gone: its client went before it had the reply
    error: str  # the first word of an error
    cluster: str = ""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> TimedRequest:
        """Take the native module's plain values."""
        phases = Phases(**values["phases"])
        return cls(**{**values, "phases": phases, "arguments": tuple(values["arguments"])})


@dataclass(frozen=True, slots=True)
class Traced:
    """Some of what a trace found; the counts are since its begin."""

    requests: tuple[TimedRequest, ...]
    seen: int
    dropped: int
    is_over: bool  # these are the last


class Tracing:
    """Requests are traced as long as this is referred to, or until it is closed."""

    def __init__(self, native: _native.Tracing) -> None:
        self._native: _native.Tracing | None = native

    def stop(self) -> None:
        """Look for no more; what was found can still be taken."""
        if self._native is not None:
            self._native.stop()

    def take(self, most: int) -> Traced:
        """Up to so many of what was found and not taken yet, the oldest first."""
        if self._native is None:
            return Traced((), 0, 0, is_over=True)
        found = self._native.take(most)
        requests = tuple(map(TimedRequest.read, found["records"]))
        return Traced(requests, found["seen"], found["dropped"], found["is_over"])

    def close(self) -> None:
        self._native = None
