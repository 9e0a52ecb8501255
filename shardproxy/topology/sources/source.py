"""What follows somebody else's decisions, and what it works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from shardproxy.dataplane.spec import ClusterSettings
from shardproxy.failover.event_log import EventLog
from shardproxy.model import Address
from shardproxy.model.board import Board
from shardproxy.model.health import NodeHealth, NodeKey
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeLinks
from shardproxy.store.interface import Notebook
from shardproxy.store.member import Member
from shardproxy.topology.sources.showing import Showing


@dataclass(frozen=True, slots=True)
class SourceInputs:
    """What a source of one cluster reads and acts on. With other settings another source begins."""

    cluster: str
    settings: ClusterSettings
    showing: Showing
    health: Board[NodeKey, NodeHealth]
    nodes: NodeLinks  # of the cluster, logged in to as its data plane does
    events: EventLog
    hints: trio.MemoryReceiveChannel[Address]  # nodes that just failed somebody
    notebook: Notebook  # what has to outlive this process
    others: Callable[[], Sequence[Member]]  # that serve the cluster too, now


@dataclass(frozen=True, slots=True)
class DeciderStatus:
    """How it stands with those who decide about a cluster, for people."""

    kind: str  # as in the config
    asked: Mapping[str, str | None]  # addresses of those who are asked: None, or why one does not answer
    trouble: str | None = None  # why what is served may be old, or is not known


class Source(Protocol):
    """One cluster's. Nothing is ever done to nodes: what operators ask for is asked of the decider."""

    async def run(self) -> None:
        """Show the records of the cluster as the decider says, until cancelled."""

    @property
    def status(self) -> DeciderStatus: ...

    async def switch_over(self, key: ShardKey, to: Address | None) -> str | None:
        """Have a shard handed over to a replica; return why that was not done, or None."""

    async def promote(self, key: ShardKey, to: Address) -> str | None:
        """Have a replica made primary whatever its data; return why that was not done, or None."""

    def why_not(self, action: str) -> str:
        """Why an action is not ours (`pause`, `resume`, `acknowledge`), and what to do instead."""
