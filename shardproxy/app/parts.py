"""What one process is made of: every service, each of those before it. Nothing runs yet.

store ─> coordination ─> follower ─> reloading ─────────────┐
                            │                               ├─> what is said, to others and to admin pages
                            └─> links ─> inputs of failover ┤
                                            └─> moving, supervisor
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime

from shardproxy import __version__
from shardproxy.admin.status import Status, StatusBoard
from shardproxy.app.caching import CachingDesk, CachingTools
from shardproxy.app.coordinating import Coordination
from shardproxy.app.describing import endpoints_said, own_host, reached
from shardproxy.app.links import Links
from shardproxy.app.logging_in import LoggingIn
from shardproxy.app.moving import Moving, Tools
from shardproxy.app.reading import admin_inbound, admin_names
from shardproxy.app.reloading import Reloading
from shardproxy.app.starting import Opened, bound_address
from shardproxy.commands.errands import AllTraffic, Errands
from shardproxy.coordination.fencer import AckFencer
from shardproxy.coordination.votes import VotesOfMembers
from shardproxy.failover.controller import Inputs
from shardproxy.failover.setup import FailoverSettings, ShardSetup
from shardproxy.health.monitor import Boards
from shardproxy.jobs.statistics import JobStatistics
from shardproxy.model.board import Board
from shardproxy.model.replication import ShardKey
from shardproxy.store.member import Member
from shardproxy.store.memory import MemoryNotes
from shardproxy.telemetry.statistics import SpanStatistics
from shardproxy.topology.follower import Follower
from shardproxy.topology.supervisor import Supervisor
from shardproxy.topology.tokens import NodeTokens


class Parts:
    """The services of one process, and what they share."""

    def __init__(self, opened: Opened) -> None:
        self.opened, self.store = opened, opened.store
        self.dataplane, self.audit = opened.dataplane, opened.audit
        self.admin_address = bound_address(opened.listener)
        self.host = own_host()
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.status = StatusBoard(_status(opened))
        self.boards = Boards()
        self.spans = SpanStatistics()
        self._tokens = NodeTokens()
        self.coordination = Coordination(opened.config, opened.store, self.member)
        self.follower = self._follower()
        self.logging_in = LoggingIn(
            opened.dataplane, self.follower.clusters, opened.read.logins, opened.audit
        )
        self.reloading = Reloading(opened, self.follower, self.coordination, self.logging_in, self.status)
        self.links = Links(self.follower, self._tokens)
        self.inputs = self._inputs()
        self.moving = self._moving()
        self.inputs.services = self.moving.services
        self.errands = Errands()
        self.traffic = AllTraffic(opened.dataplane, self.errands, opened.table)
        self.supervisor = self._supervisor()
        self.caching = self._caching()

    def _follower(self) -> Follower:
        """Who serves what is decided, here or elsewhere."""
        store, is_member = self.store, self.coordination.is_member
        return Follower(
            self.dataplane,
            store.records,
            store,
            self.boards,
            self._tokens.credentials,
            store.synced,
            self.coordination.peers,
            None if is_member else MemoryNotes(),
            is_member,
            lambda: store.group,
        )

    def _inputs(self) -> Inputs:
        """What failover is decided by and done with."""
        setups: Board[ShardKey, ShardSetup] = Board()
        return Inputs(
            setups,
            self.boards.health,
            self.store,
            self.links.watched,
            AckFencer(self.store, self.follower.applied, setups),
            self.coordination.events,
            VotesOfMembers(self.store),
        )

    def _moving(self) -> Moving:
        """Long work."""
        return Moving(
            Tools(
                self.store,
                self.inputs.setups,
                self.store.records,
                self.boards.health,
                self.follower.clusters,
                self.links.watched,
                self.links.of,
                self._tokens,
                self.coordination.events,
                JobStatistics(),
                self.inputs.chores,
                lambda: self.dataplane.table,
                self.dataplane.slot,
                lambda: self.reloading.config.jobs,
            )
        )

    def _supervisor(self) -> Supervisor:
        """Who watches the nodes, and decides about them."""
        return Supervisor(
            self.follower.clusters,
            self.inputs,
            self.boards,
            self.links.watched.connect,
            FailoverSettings(zone=self.opened.config.zone),
            self.traffic,
            links=self.links.of,
            may_lead=self.coordination.is_member,
        )

    def _caching(self) -> CachingDesk:
        """Rules that load and write for clients."""
        return CachingDesk(
            CachingTools(
                self.dataplane,
                self.follower.clusters,
                self.follower.topologies,
                self.store.records,
                self.links.of_caching,
                lambda: self.opened.config.source.directory,
            )
        )

    def member(self) -> Member:
        """What others are told of this process."""
        status, config = self.status.now, self.reloading.config
        return Member(
            name=self.store.member,
            label=config.name or socket.gethostname(),
            version=__version__,
            zone=config.zone,
            admin=str(reached(self.admin_address, self.host)),
            started=self._started_at,
            is_draining=status.draining,
            clients=self.dataplane.client_count(),
            endpoints=endpoints_said(config, status.endpoints, self.host, self.reloading.coming),
            epochs={name: topology.epoch for name, topology in self.follower.topologies.items()},
            automatic=self.supervisor.automatic,
        )


def _status(opened: Opened) -> Status:
    return Status(
        tuple(opened.config.clusters),
        names=admin_names(opened.config),
        callers=opened.read.callers,
        tls=opened.read.admin_tls,
        inbound=admin_inbound(opened.config),
    )
