"""The only writer of epochs.

    proposal (base epoch) ─> inbox ─> number ─> data plane ─> board ─> whoever reads or waits
                                        └─ stale: dropped, the proposer is told

Owns the board and what is served of every cluster. Decides nothing about nodes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import structlog
import trio

from shardproxy.dataplane import BoundEndpoint
from shardproxy.dataplane.spec import ClusterSettings, ClusterSpec, cluster_spec
from shardproxy.model import Address, Topology
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.topology.board import TopologyBoard
from shardproxy.topology.epoch import Stale, topology_number
from shardproxy.topology.layout import LayoutLedger, layout_tell

INBOX_CAPACITY = 64  # a proposal is small and quickly served; proposers wait beyond this

T = TypeVar("T")

log = structlog.get_logger()


class Applier(Protocol):
    """The part of the data plane that a publisher acts on."""

    async def apply(self, spec: ClusterSpec) -> tuple[BoundEndpoint, ...]: ...

    def remove(self, cluster: str) -> None: ...


class Ledger(LayoutLedger, Protocol):
    """Remembers the highest epoch of every cluster, too, beyond this process's end."""

    def last_epoch(self, cluster: str) -> int: ...

    async def note_epoch(self, cluster: str, epoch: int) -> None:
        """It is durable when this returns; raise StoreUnavailableError."""


class ForgetfulLedger:
    """For a process whose epochs nobody compares with another one's."""

    def last_epoch(self, cluster: str) -> int:
        return 0

    async def note_epoch(self, cluster: str, epoch: int) -> None:
        return

    def last_layout(self, cluster: str) -> tuple[int, str] | None:
        return None

    async def note_layout(self, cluster: str, version: int, digest: str) -> None:
        return


@dataclass(frozen=True, slots=True)
class Facts:
    """What the publisher reads when it serves a topology."""

    readable: Mapping[ShardKey, frozenset[Address]] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=ForgetfulLedger)


@dataclass(frozen=True, slots=True)
class Published:
    """The proposal is served."""

    topology: Topology
    endpoints: tuple[BoundEndpoint, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The data plane could not serve it; what was served before still is."""

    error: OSError | ValueError | StoreUnavailableError


Outcome = Published | Stale | Refused


@dataclass(frozen=True, slots=True)
class Proposal:
    """A topology to serve, its epoch being the one it was worked out from.

    With settings they replace the cluster's; without, the cluster must be served already.
    """

    topology: Topology
    reason: str
    settings: ClusterSettings | None = None
    answer: trio.MemorySendChannel[Outcome] | None = None


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A cluster to serve no more."""

    cluster: str
    reason: str
    answer: trio.MemorySendChannel[None] | None = None


Inbox = trio.MemorySendChannel[Proposal | Withdrawal]


async def run_publisher(
    dataplane: Applier,
    board: TopologyBoard,
    requests: trio.MemoryReceiveChannel[Proposal | Withdrawal],
    facts: Facts | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve proposals one after another, until every sender of the inbox is closed."""
    facts = facts or Facts()
    settings: dict[str, ClusterSettings] = {}
    task_status.started()
    async for request in requests:
        if isinstance(request, Withdrawal):
            _withdraw(dataplane, board, settings, request)
            _tell(request.answer, None)
        else:
            _tell(request.answer, await _serve(dataplane, board, settings, facts, request))


async def publish(
    inbox: Inbox, topology: Topology, reason: str, settings: ClusterSettings | None = None
) -> Outcome:
    """Propose a topology and wait for what became of it."""
    answer, outcome = trio.open_memory_channel[Outcome](1)
    await inbox.send(Proposal(topology, reason, settings, answer))
    return await outcome.receive()


async def withdraw(inbox: Inbox, cluster: str, reason: str) -> None:
    """Have a cluster served no more, and wait until it is so."""
    answer, done = trio.open_memory_channel[None](1)
    await inbox.send(Withdrawal(cluster, reason, answer))
    await done.receive()


async def _serve(
    dataplane: Applier,
    board: TopologyBoard,
    settings: dict[str, ClusterSettings],
    facts: Facts,
    proposal: Proposal,
) -> Outcome:
    name = proposal.topology.cluster
    wanted = proposal.settings or settings.get(name)
    if wanted is None:
        return Refused(ValueError(f"cluster {name!r} is not served"))
    before = board.get(name)
    numbered = topology_number(before, proposal.topology, facts.ledger.last_epoch(name))
    if isinstance(numbered, Stale):
        log.info("proposal dropped", cluster=name, reason=proposal.reason, why=str(numbered))
        return numbered
    try:
        if before is None or numbered.epoch != before.epoch:
            await facts.ledger.note_epoch(name, numbered.epoch)
        discovery = await layout_tell(wanted, numbered, facts.ledger)
        endpoints = await dataplane.apply(cluster_spec(wanted, numbered, facts.readable, discovery))
    except TimeoutError as error:  # it has taken it, but not every worker has: no ack
        settings[name] = wanted
        board.show(numbered)
        return Refused(error)
    except (OSError, ValueError, StoreUnavailableError) as error:
        return Refused(error)
    settings[name] = wanted
    if numbered != before:
        board.show(numbered)
        log.info("topology published", cluster=name, epoch=numbered.epoch, reason=proposal.reason)
    return Published(numbered, endpoints)


def _tell(answer: trio.MemorySendChannel[T] | None, outcome: T) -> None:
    if answer is None:
        return
    with contextlib.suppress(trio.BrokenResourceError):  # the asker was cancelled and waits no more
        answer.send_nowait(outcome)


def _withdraw(
    dataplane: Applier, board: TopologyBoard, settings: dict[str, ClusterSettings], request: Withdrawal
) -> None:
    dataplane.remove(request.cluster)
    settings.pop(request.cluster, None)
    board.hide(request.cluster)
    log.info("cluster withdrawn", cluster=request.cluster, reason=request.reason)
