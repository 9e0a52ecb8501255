"""Verdict: our judgement of a node."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field

from shardproxy.model.address import Address
from shardproxy.model.replication import Replication, Server, ShardKey


class NodeState(enum.Enum):
    UNKNOWN = "unknown"  # not heard of yet
    UP = "up"
    SUSPECT = "suspect"  # silent, but not for long enough or not agreed by its replicas
    LOADING = "loading"  # reads its data from disk
    BUSY = "busy"  # runs a long script, as it says, or is silent and was sent what may take long
    UNWRITABLE = "unwritable"  # refuses writes: its disk is full or broken
    DENIED = "denied"  # refuses us: a matter of our configuration, never a failover
    CUT_OFF = "cut off"  # we cannot reach it, but its replicas can, or nobody can tell
    DOWN = "down"  # a primary in this state has to be replaced


class Cause(enum.Enum):
    """Why a node is DOWN, or, if it is only silent, BUSY."""

    DEAD = "dead"  # nothing listens on its port
    SILENT = "silent"
    STUCK_LOADING = "stuck loading"
    UNWRITABLE = "unwritable"
    RESTARTED = "restarted"  # answers, but is not the process that held the data
    NOT_PRIMARY = "not primary"  # answers, but says it is a replica


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state, why, and since when (trio time)."""

    state: NodeState
    reason: str
    since: float
    cause: Cause | None = None

    @property
    def is_down(self) -> bool:
        return self.state is NodeState.DOWN

    @property
    def text(self) -> str:
        """What the node is, and why."""
        state = self.state.value
        return f"is {self.reason}" if self.reason.startswith(state) else f"is {state}: {self.reason}"

    @property
    def is_answering(self) -> bool:
        """It replies to us; it need not be fit for anything."""
        return self.cause not in (Cause.DEAD, Cause.SILENT) and (self.is_down or self.state in ANSWERING)


ANSWERING = frozenset({NodeState.UP, NodeState.LOADING, NodeState.BUSY, NodeState.UNWRITABLE})


@dataclass(frozen=True, slots=True)
class Busy:
    """A request that may take a node long and has no answer: since when (trio time), and whose."""

    command: str  # never its arguments
    since: float
    client: str = ""  # in words

    def text(self, now: float) -> str:
        of = f", {self.client}" if self.client else ""
        return f"busy with {self.command.replace('|', ' ').upper()} for {now - self.since:.1f} s{of}"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a node stands with those who send it requests."""

    busy: Busy | None = None  # the oldest such
    heard_at: float | None = None  # when it last sent any of them anything (trio time)


NO_STANDING = Standing()


def standing_of_all(standings: Iterable[Standing]) -> Standing:
    """How it stands with all of these together."""
    found = tuple(standings)
    busy = min((one.busy for one in found if one.busy is not None), key=lambda b: b.since, default=None)
    heard = max((one.heard_at for one in found if one.heard_at is not None), default=None)
    return Standing(busy, heard)


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Bytes that a node takes from a connection before it closes it; the defaults are the engines' own."""

    bulk: int = 512 << 20  # one argument: proto-max-bulk-len
    query: int = 1 << 30  # what is not carried out yet: client-query-buffer-limit


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """A verdict, and what the node last said of itself."""

    verdict: Verdict
    replication: Replication | None = None
    server: Server | None = None
    manager: str | None = None  # another that manages its replication, in words
    is_surveyed: bool = False  # whether that was asked
    epoch: int = 0  # of the shard's record that it was judged by
    limits: EngineLimits | None = None  # None: not asked yet, or it does not tell
    # of a replica
    synced_at: float | None = field(
        default=None, compare=False
    )  # it has all the primary had then (trio time)
    is_current: bool = False  # it follows the primary, and what it lacks is seconds old at most
    seen_as: Address | None = None  # how the primary lists it
    # of the primary
    strangers: tuple[Address, ...] = ()  # attached to it, but no members: they vouch for nothing


@dataclass(frozen=True, slots=True)
class NodeDown:
    """A memcached node that its clients' requests found down: why, and since when (trio time)."""

    reason: str
    since: float


PoolKey = tuple[str, Address]  # cluster, node
NodeKey = tuple[ShardKey, Address]


def shard_of(node: NodeKey) -> ShardKey:
    return node[0]
