"""Puts together who does long work: one worker a kind, and the service that the leader of a cluster runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from shardproxy.config import Jobs, RedisCluster
from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.failover.chores import Chores
from shardproxy.failover.controls import Desk
from shardproxy.failover.event_log import EventLog
from shardproxy.failover.interfaces import LeaderService, Nodes, SlotDesk
from shardproxy.failover.persisting import PersistenceTools, run_persistence
from shardproxy.failover.sealing import SealTools, run_seals
from shardproxy.failover.setup import ShardSetup
from shardproxy.jobs.allowed import Allowed
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
from shardproxy.scaling.advice import Scaled
from shardproxy.scaling.decide import Rules
from shardproxy.scaling.run import ScalingTools, run_scaling
from shardproxy.store.record import ShardRecord
from shardproxy.topology.project import Configured
from shardproxy.topology.tokens import NodeTokens

KINDS = ("backup", "import", "reshard", "restore")  # of the workers below, who are not made to be counted


@dataclass(frozen=True)
class Tools:
    """What workers are built from: all is asked anew when it is needed, so a reload reaches each."""

    store: Desk
    setups: Board[ShardKey, ShardSetup]
    records: Board[ShardKey, ShardRecord]
    health: Board[NodeKey, NodeHealth]
    clusters: Board[str, Configured]  # as configured now
    nodes: Nodes  # open connections to the nodes that are watched
    links_of: Callable[[str], NodeLinks]  # new ones to a cluster's nodes, logged in; the caller enters them
    tokens: NodeTokens
    events: EventLog
    statistics: JobStatistics
    chores: Chores
    table: Callable[[], bytes]  # of commands, as JSON, with what was learned of modules
    slot_of: Callable[[str, bytes], int]  # of a cluster's key, as the data plane routes it; raise KeyError
    jobs: Callable[[], Jobs]  # what they may name, as configured now

    def allowed_of(self, cluster: str) -> Allowed:
        """What jobs on a cluster may name."""
        config, jobs = self.config_of(cluster), self.jobs()
        own = config.backups if config is not None else None
        places = (own.to,) if own is not None else ()
        files = (own.key_file,) if own is not None and own.key_file is not None else ()
        return Allowed((*places, *jobs.places), jobs.secrets, files)

    def settings_of(self, cluster: str) -> ClusterSettings:
        """What is configured of a cluster; raise KeyError."""
        return self.clusters[cluster].settings

    def config_of(self, cluster: str) -> RedisCluster | None:
        """A cluster's config, if it has shards to move the data of."""
        found = self.clusters.get(cluster)
        config = found.settings.config if found is not None else None
        return config if isinstance(config, RedisCluster) else None

    def end_of(self, cluster: str, address: Address) -> End:
        """A node, and how the threads that move bytes speak to it; raise KeyError."""
        settings = self.settings_of(cluster)
        return End(address, self.tokens.credentials(settings), settings.node_tls)


def workers_of(tools: Tools) -> Iterable[Worker]:
    """One worker of each kind."""
    from shardproxy.app.backing import backup_worker
    from shardproxy.app.importing import importing_workers
    from shardproxy.app.resharding import reshard_worker

    yield reshard_worker(tools)
    yield backup_worker(
        tools.links_of,
        tools.end_of,
        tools.config_of,
        tools.store,
        tools.allowed_of,
        tools.statistics.paused,
    )
    yield from importing_workers(tools)


class Moving:
    """The long work of one process."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.desk = JobDesk(tools.store, lambda: self._workers, tools.setups, tools.records, kinds=KINDS)
        self.statistics = tools.statistics
        self.scaled: dict[str, Scaled] = {}  # of the clusters that are led here

    @cached_property
    def _workers(self) -> Mapping[str, Worker]:
        """Made when they are first needed: what they import is of no use to who only serves."""
        return {worker.kind: worker for worker in workers_of(self._tools)}

    @property
    def services(self) -> tuple[LeaderService, ...]:
        """What runs while this process leads a cluster."""
        return (self._run_jobs, self._run_seals, self._run_persistence, self._run_scaling, self._run_backups)

    async def _run_jobs(self, desk: SlotDesk) -> None:
        tools = self._tools
        await run_jobs(
            desk,
            JobTools(tools.store, tools.store.member, lambda: self._workers, tools.events, tools.statistics),
        )

    async def _run_backups(self, desk: SlotDesk) -> None:
        tools = self._tools
        while (config := tools.config_of(desk.cluster)) is None or config.backups is None:
            await tools.clusters.wait_changed(tools.clusters.version)
        from shardproxy.app.backing import run_backups

        await run_backups(desk, tools.config_of, self.desk.start, tools.events, tools.store)

    async def _run_persistence(self, desk: SlotDesk) -> None:
        tools = self._tools
        await run_persistence(
            desk, PersistenceTools(tools.nodes, tools.store.notes, tools.events, tools.chores)
        )

    async def _run_seals(self, desk: SlotDesk) -> None:
        await run_seals(desk, SealTools(self._tools.nodes, self._tools.records))

    async def _run_scaling(self, desk: SlotDesk) -> None:
        tools = self._tools
        await run_scaling(
            desk,
            ScalingTools(
                tools.nodes,
                self.desk,
                tools.store.notes,
                tools.events,
                self._scaling_rules,
                self.scaled,
                time.time,
            ),
        )

    def _scaling_rules(self, cluster: str) -> tuple[Rules, bool] | None:
        """As configured now, and whether it acts."""
        configured = self._tools.clusters.get(cluster)
        config = configured.settings.config if configured is not None else None
        if not isinstance(config, RedisCluster) or (scaling := config.scaling) is None:
            return None
        rules = Rules(
            scaling.shards.min,
            scaling.shards.max,
            scaling.target.cpu,
            scaling.target.memory,
            scaling.cooldown.out,
            scaling.cooldown.in_,
        )
        return rules, scaling.acts
