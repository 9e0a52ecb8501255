"""What the admin pages may know of the process."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from shardproxy.access.audit import NO_AUDIT, Audit
from shardproxy.access.inbound import Inbound
from shardproxy.access.statistics import LoginStatistics
from shardproxy.admin.callers import EVERYBODY, Callers
from shardproxy.caching.statistics import CachingStatistics
from shardproxy.config import Config
from shardproxy.dataplane import BoundEndpoint
from shardproxy.dataplane.hot import BigKey, Hot
from shardproxy.dataplane.statistics import Statistics, WorkerStatistics
from shardproxy.dataplane.timings import TimedRequest, Tracing
from shardproxy.dataplane.tls import CertificateFile
from shardproxy.failover.controls import Controls
from shardproxy.failover.event_log import EventLog
from shardproxy.failover.setup import ShardSetup
from shardproxy.health.monitor import Boards
from shardproxy.insight.interface import Insight, NoInsight
from shardproxy.insight.slow_desk import SlowDesk
from shardproxy.jobs.desk import JobDesk
from shardproxy.jobs.statistics import JobStatistics
from shardproxy.model import Address, Topology
from shardproxy.model.health import NO_STANDING, NodeDown, PoolKey, Standing
from shardproxy.model.replication import ShardKey
from shardproxy.nodes import NodeLinks
from shardproxy.scaling.advice import Scaled
from shardproxy.store.member import Member
from shardproxy.store.memory import MemoryDesk
from shardproxy.store.notes import Note, NoteKey
from shardproxy.store.record import ShardRecord
from shardproxy.store.statistics import StoreStatistics
from shardproxy.telemetry.statistics import SpanStatistics
from shardproxy.topology.sources.source import Source

if TYPE_CHECKING:
    from shardproxy.caching.letters import DeadLetter


@dataclass(frozen=True, slots=True)
class Status:
    """The process at one moment."""

    clusters: tuple[str, ...] = ()  # as configured, served or not yet
    endpoints: Mapping[str, tuple[BoundEndpoint, ...]] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # by which the admin API may be asked, beside localhost and IP addresses
    callers: Callers = EVERYBODY
    inbound: Inbound | None = None  # from where the admin API may be asked; None: from anywhere
    tls: ssl.SSLContext | None = None  # what the admin API speaks; None: plain HTTP
    certificates: Mapping[str, tuple[CertificateFile, ...]] = field(default_factory=dict)  # by cluster
    starting: bool = False  # it listens, and finds out which nodes are primaries
    draining: bool = False
    reloads: int = 0
    reloads_refused: int = 0


class StatusBoard:
    """The process as it is now: for all pages to read, and for the composition root to change."""

    def __init__(self, status: Status | None = None) -> None:
        self.now = status or Status()

    def change(self, **fields: Any) -> None:
        self.now = replace(self.now, **fields)


def _no_standing(cluster: str, node: Address) -> Standing:
    return NO_STANDING


class _NothingTimed:
    async def slow_log(self, cluster: str, most: int) -> Sequence[TimedRequest]:
        raise KeyError(cluster)

    def trace(self, cluster: str, pattern: bytes, limit: int) -> Tracing:
        raise KeyError(cluster)


def _nothing_slow() -> SlowDesk:
    return SlowDesk(_NothingTimed(), dict, {}, lambda _: NodeLinks())


@dataclass(frozen=True, slots=True)
class Sharing:
    """The proxies that share a store, as this one knows of them."""

    kind: str = "local"  # of store: local, etcd or kubernetes
    member: str = "self"  # this process
    members: Mapping[str, Member] = field(default_factory=dict)
    leaders: Mapping[str, str] = field(default_factory=dict)  # by cluster
    synced: Mapping[str, bool] = field(default_factory=dict)  # by cluster


async def _no_letters(cluster: str, most: int) -> Sequence[DeadLetter]:
    return ()


async def _no_kill(ids: Iterable[int]) -> int:
    return 0


async def _nothing_hot(cluster: str) -> Hot:
    return Hot()


async def _nothing_big(cluster: str) -> Sequence[BigKey]:
    return ()


def _no_workers() -> Sequence[WorkerStatistics]:
    return ()


def _no_jobs() -> JobDesk:
    return JobDesk(MemoryDesk(), dict, {}, {})


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the pages read; each is asked anew for every request.

    http.py deals it out: a page has what it shows, and only documents of the whole have all of it.
    """

    status: StatusBoard
    statistics: Callable[[], Statistics]
    clients: Callable[[], Awaitable[tuple[Mapping[str, Any], ...]]]
    topologies: Mapping[str, Topology]
    setups: Mapping[ShardKey, ShardSetup] = field(default_factory=dict)
    records: Mapping[ShardKey, ShardRecord] = field(default_factory=dict)
    boards: Boards = field(default_factory=Boards)  # of health
    events: EventLog = field(default_factory=EventLog)
    controls: Controls = field(default_factory=lambda: Controls(MemoryDesk()))
    notes: Mapping[NoteKey, Note] = field(default_factory=dict)
    down: Mapping[PoolKey, NodeDown] = field(default_factory=dict)
    store: StoreStatistics = field(default_factory=StoreStatistics)
    standing: Callable[[str, Address], Standing] = _no_standing  # of a node, with those who ask it
    audit: Audit = NO_AUDIT
    logins: LoginStatistics = field(default_factory=LoginStatistics)  # that are verified here
    sharing: Sharing = field(default_factory=Sharing)
    deciders: Mapping[str, Source] = field(default_factory=dict)  # of clusters that others decide about
    jobs: JobDesk = field(default_factory=_no_jobs)
    jobs_done: JobStatistics = field(default_factory=JobStatistics)  # by this process
    scaled: Mapping[str, Scaled] = field(default_factory=dict)  # of clusters that are led here
    caching: CachingStatistics = field(default_factory=CachingStatistics)  # of this process
    letters: Callable[[str, int], Awaitable[Sequence[DeadLetter]]] = _no_letters  # of a cluster, at most
    insight: Insight = field(default_factory=NoInsight)
    kill: Callable[[Iterable[int]], Awaitable[int]] = _no_kill  # clients; how many there were
    config: Callable[[], Config] | None = None  # as it is loaded; None: nobody knows
    hot: Callable[[str], Awaitable[Hot]] = _nothing_hot  # in a cluster
    big: Callable[[str], Awaitable[Sequence[BigKey]]] = _nothing_big
    slow: SlowDesk = field(default_factory=_nothing_slow)
    spans: SpanStatistics = field(default_factory=SpanStatistics)
    workers: Callable[[], Sequence[WorkerStatistics]] = _no_workers
