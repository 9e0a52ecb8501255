"""Builds the worker that moves slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shardproxy.failover.interfaces import Nodes
from shardproxy.model import Address
from shardproxy.replication.interface import End
from shardproxy.reshard.parts import Parts
from shardproxy.reshard.worker import ReshardWorker
from shardproxy.wire.reply import Reply
from shardproxy.wire.resp import Argument

if TYPE_CHECKING:
    from shardproxy.app.moving import Tools


@dataclass(frozen=True, slots=True)
class _Nodes:
    """Connections that are opened for one question and closed again: moves are rare, and logins change."""

    tools: Tools
    cluster: str

    async def request_many(
        self,
        address: Address,
        requests: Sequence[Sequence[Argument]],
        *,
        timeout: float,
        run_id: str | None = None,
    ) -> list[Reply]:
        async with self.tools.links_of(self.cluster) as links:
            return await links.request_many(address, requests, timeout=timeout, run_id=run_id)


@dataclass(frozen=True, slots=True)
class ClusterEngines:
    """See reshard.parts.Engines."""

    tools: Tools
    cluster: str

    @property
    def nodes(self) -> Nodes:
        return _Nodes(self.tools, self.cluster)
