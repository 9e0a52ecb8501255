"""What pages ask of insight, and why it may refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

Lines = AsyncIterator[dict[str, Any]]


class InsightError(Exception):
    """It cannot be told; `status` is that of HTTP, and the text says what to do."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to be explained. `endpoint`, `zone`: where it comes in, if not as usual."""

    cluster: str
    args: tuple[bytes, ...]
    user: str | None = None
    zone: str | None = None
    endpoint: str | None = None


class Insight(Protocol):
    """All raise InsightError."""

    def explain(self, asked: Asked) -> dict[str, Any]: ...

    async def usage(self, cluster: str | None, keys: int) -> dict[str, Any]:
        """Figures by cluster; `keys` of each shard are looked at."""

    async def advice(self, cluster: str | None) -> dict[str, Any]:
        """Findings by cluster."""

    def scan(self, cluster: str, *, rate: int, limit: int, samples: int) -> Lines:
        """The largest keys; one scan of a cluster at a time. Close it when it is not wanted any more."""


class NoInsight:
    """Where nothing is served."""

    def explain(self, asked: Asked) -> dict[str, Any]:
        raise InsightError(404, f"no cluster {asked.cluster}: none is served")

    async def usage(self, cluster: str | None, keys: int) -> dict[str, Any]:
        return {}

    async def advice(self, cluster: str | None) -> dict[str, Any]:
        return {}

    def scan(self, cluster: str, *, rate: int, limit: int, samples: int) -> Lines:
        raise InsightError(404, f"no cluster {cluster}: none is served")
