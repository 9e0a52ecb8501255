"""Puts together who does long work: one worker a kind, and the service that the leader of a cluster runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.failover.chores import Chores
from shardproxy.failover.controls import Desk
from shardproxy.failover.event_log import EventLog
from shardproxy.failover.interfaces import LeaderService, Nodes, SlotDesk
from shardproxy.failover.persisting import PersistenceTools, run_persistence
from shardproxy.failover.setup import ShardSetup
from shardproxy.jobs.desk import JobDesk
from shardproxy.jobs.interface import Worker
from shardproxy.jobs.run import JobTools, run_jobs
from shardproxy.jobs.statistics import JobStatistics
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.health import NodeHealth, NodeKey
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeLinks
from shardproxy.replication.interface import End
from shardproxy.store.record import ShardRecord
from shardproxy.topology.project import Configured
from shardproxy.topology.tokens import NodeTokens


@dataclass(frozen=True)
class Tools:
    """What workers are built from: all is asked anew when it is needed, so a reload reaches each."""

    store: Desk
    setups: Board[ShardKey, ShardSetup]
    records: Board[ShardKey, ShardRecord]
    health: Board[NodeKey, NodeHealth]
    clusters: Mapping[str, Configured]  # as configured now
    nodes: Nodes  # open connections to the nodes that are watched
    links_of: Callable[[str], NodeLinks]  # new ones to a cluster's nodes, logged in; the caller enters them
    tokens: NodeTokens
    events: EventLog
    statistics: JobStatistics
    chores: Chores

    def settings_of(self, cluster: str) -> ClusterSettings:
        """What is configured of a cluster; raise KeyError."""
        return self.clusters[cluster].settings

    def end_of(self, cluster: str, address: Address) -> End:
        """A node, and how the threads that move bytes speak to it; raise KeyError."""
        settings = self.settings_of(cluster)
        return End(address, self.tokens.credentials(settings), settings.node_tls)


def workers_of(tools: Tools) -> Iterable[Worker]:
    """One worker of each kind."""
    from shardproxy.app.importing import importing_workers

    return (*importing_workers(tools),)


class Moving:
    """The long work of one process."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.desk = JobDesk(tools.store, lambda: self._workers, tools.setups, tools.records)
        self.statistics = tools.statistics

    @cached_property
    def _workers(self) -> Mapping[str, Worker]:
        """Made when they are first needed: what they import is of no use to who only serves."""
        return {worker.kind: worker for worker in workers_of(self._tools)}

    @property
    def services(self) -> tuple[LeaderService, ...]:
        """What runs while this process leads a cluster."""
        return (self._run_jobs, self._run_persistence)

    async def _run_jobs(self, desk: SlotDesk) -> None:
        tools = self._tools
        await run_jobs(
            desk,
            JobTools(tools.store, tools.store.member, lambda: self._workers, tools.events, tools.statistics),
        )

    async def _run_persistence(self, desk: SlotDesk) -> None:
        tools = self._tools
        await run_persistence(
            desk, PersistenceTools(tools.nodes, tools.store.notes, tools.events, tools.chores)
        )
