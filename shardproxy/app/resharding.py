"""Builds the worker that moves slots."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from shardproxy.config import RedisCluster
from shardproxy.model import Address
from shardproxy.nodes import NodeLinks
from shardproxy.replication.copier import EngineCopier
from shardproxy.replication.interface import CopyPlan, End
from shardproxy.reshard.parts import Engines, Parts
from shardproxy.reshard.worker import ReshardWorker

if TYPE_CHECKING:
    from shardproxy.app.moving import Tools


@dataclass(frozen=True, slots=True)
class ClusterEngines:
    """See reshard.parts.Engines."""

    tools: Tools
    cluster: str
    nodes: NodeLinks

    @property
    def families(self) -> tuple[tuple[str, str], ...]:
        config = self.tools.settings_of(self.cluster).config
        rules = config.families if isinstance(config, RedisCluster) else ()
        return tuple((rule.match, rule.hash) for rule in rules)

    def end_of(self, address: Address) -> End:
        return self.tools.end_of(self.cluster, address)

    def slot_of(self, key: bytes) -> int:
        return self.tools.slot_of(self.cluster, key)


def reshard_worker(tools: Tools) -> ReshardWorker:
    """The worker for jobs of kind `reshard`."""

    @asynccontextmanager
    async def engines(cluster: str) -> AsyncIterator[Engines]:
        async with tools.links_of(cluster) as links:
            yield ClusterEngines(tools, cluster, links)

    async def copier_start(plan: CopyPlan) -> EngineCopier:
        await trio.lowlevel.checkpoint()
        return EngineCopier.start(plan, table=tools.table())

    return ReshardWorker(Parts(engines, copier_start, tools.statistics.paused, tools.statistics.moved))
