"""What is kept of a shard: enough for any controller to finish what another one began."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from shardproxy.model import Address, Hold, SlotRange
from shardproxy.model.replication import Lineage, ShardKey

REMEMBERED = 16  # names of a dataset: one a failover


class ShardState(enum.Enum):
    NEW = "new"  # not stored yet: nobody knows its primary
    OK = "ok"  # the primary serves
    FENCING = "fencing"  # nobody may acknowledge writes
    HELD = "held"  # as FENCING, and nobody may be promoted before something outside has changed
    PROMOTING = "promoting"  # as FENCING, and the target may already be a primary
    SWITCHING = "switching"  # as PROMOTING, by a planned switchover
    CONFLICT = "conflict"  # two nodes claim to be the primary: read-only until an operator decides


@dataclass(frozen=True, slots=True)
class Promise:
    """What an acknowledgement means: `wait` of the voters have the write, beside the primary.

    A voter is a replica whose word on acknowledged writes counts: configured, in sync and fit to be promoted.
    """

    voters: frozenset[Address] = frozenset()
    wait: int = 0

    @property
    def needed(self) -> int:
        """So many voters have every acknowledged write between them; 0 where nothing can be acknowledged."""
        return max(0, len(self.voters) - self.wait + 1) if self.wait else min(1, len(self.voters))

    @property
    def proving(self) -> int:
        """So many voters that still follow prove that no promotion has frozen those it needs.

        One of `wait` is among the `needed`; without `wait` one frozen is enough, so all have to follow.
        """
        return self.wait or max(1, len(self.voters))


@dataclass(frozen=True, slots=True)
class Flapping:
    """How long the next automatic failover has to wait, in seconds from the last one (wall clock)."""

    wait: float
    since: float


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One shard as of an epoch. Epochs never go down; each has at most one target."""

    key: ShardKey
    epoch: int
    state: ShardState
    primary: Address | None  # where writes go; None while fenced
    nodes: tuple[Address, ...]  # all members, as configured
    last: Address | None = None  # the primary of the epoch before, while there is none
    target: Address | None = None  # whom this epoch makes primary, or tried to
    joined: tuple[
        Address, ...
    ] = ()  # members that have had the shard's data; others may hold data of their own
    processes: tuple[
        tuple[Address, str], ...
    ] = ()  # members and the run_id with which each was last in sync: what another process has, a disk kept
    name: str | None = None  # as configured
    slots: tuple[SlotRange, ...] = ()  # as served
    promise: Promise = Promise()
    pending: tuple[Promise, ...] = ()  # older ones: what they acknowledged may not be on the new voters yet
    replaced: tuple[
        tuple[Address, str], ...
    ] = ()  # primaries of before, and their processes: what only they have is given up
    floor: int = 0  # an offset the primary had passed a while ago: who has less lost sync long since
    flapping: Flapping | None = None
    lineage: Lineage | None = None  # of the primary's, or the last primary's, dataset
    histories: tuple[str, ...] = ()  # names (replid) that the shard's dataset had before, the latest last
    run_id: str = ""  # of the primary's process
    hold: Hold | None = None  # what waits, while slots leave or all shards are copied at one moment
    generation: int = 0  # of its slots: one more whenever some may leave (model/seal.py)
    is_mixed: bool = False  # its nodes may have keys of slots that are not its own: nobody is shown these
    revision: int = 0  # the store's, for compare-and-set; 0 = not stored yet
    changed: int = 0  # the revision at which what proxies act on last changed; the store sets it

    @property
    def wait(self) -> int:
        """Replicas that have a write before it is acknowledged."""
        return self.promise.wait

    @property
    def replicas(self) -> tuple[Address, ...]:
        """The members that are not, or were not, the primary."""
        primary = self.primary or self.last
        return tuple(node for node in self.nodes if node != primary)

    def with_process(self, node: Address, run_id: str) -> ShardRecord:
        """The node is in sync, as that process."""
        joined = self.joined if node in self.joined else (*self.joined, node)
        others = tuple(entry for entry in self.processes if entry[0] != node)
        replaced = tuple(entry for entry in self.replaced if entry[0] != node)
        return replace(self, joined=joined, processes=(*others, (node, run_id)), replaced=replaced)

    def has_process(self, node: Address, run_id: str) -> bool:
        """Whether the node was last in sync as that process."""
        return bool(run_id) and (node, run_id) in self.processes

    def with_lineage(self, lineage: Lineage | None) -> ShardRecord:
        """The dataset has another name; what it was served by before stays known for a while."""
        return replace(self, lineage=lineage, histories=self._names_served())

    def _names_served(self) -> tuple[str, ...]:
        """What the dataset was called whenever a primary served it: what others called it was in vain."""
        if self.primary is None or self.lineage is None:
            return self.histories
        now = self.lineage.replid
        return (*(name for name in self.histories if name != now), now)[-REMEMBERED:]

    def is_own_name(self, replid: str) -> bool:
        """Whether the shard's dataset is, or was, called that."""
        now = (self.lineage.replid, self.lineage.replid2) if self.lineage is not None else ()
        return bool(replid) and replid in (*self.histories, *now)

    @property
    def served(self) -> tuple[object, ...]:
        """What of it a proxy acts on."""
        return (
            self.epoch,
            self.state,
            self.primary,
            self.nodes,
            self.name,
            self.slots,
            self.promise,
            self.run_id,
            self.hold,
            self.generation,
            self.is_mixed,
        )

    @property
    def is_settled(self) -> bool:
        """Nobody is in the middle of changing its primary."""
        return self.state in (ShardState.OK, ShardState.CONFLICT)

    def fenced(self, state: ShardState = ShardState.FENCING) -> ShardRecord:
        """The next epoch, without a primary. Whom this one may have made one in vain, gives that up."""
        in_vain = self.target if self.state is ShardState.PROMOTING else None
        given_up = tuple(entry for entry in self.processes if entry[0] == in_vain)
        return replace(
            self,
            epoch=self.epoch + 1,
            state=state,
            primary=None,
            last=self.primary or self.last,
            target=None,
            histories=self._names_served(),
            replaced=(*(entry for entry in self.replaced if entry[0] != in_vain), *given_up),
        )

    def promoting(self, target: Address) -> ShardRecord:
        """The same epoch, bound to a target."""
        if self.target not in (None, target):
            raise ValueError(f"epoch {self.epoch} of {self.key} promotes {self.target}, not {target}")
        return replace(self, state=ShardState.PROMOTING, target=target)

    def settled(self, primary: Address, lineage: Lineage | None, run_id: str) -> ShardRecord:
        """The same epoch, with its primary."""
        before = ((self.last, self.run_id),) if self.last and self.last != primary else ()
        others = tuple(entry for entry in self.replaced if entry[0] not in (primary, self.last))
        return replace(
            self.with_lineage(lineage),
            state=ShardState.OK,
            primary=primary,
            last=None,
            run_id=run_id,
            replaced=(*others, *before),
            floor=0,
        )

    def renamed(self, old: Address, new: Address) -> ShardRecord:
        """The same node under another name; in another epoch where it is this one's target."""

        def name(node: Address) -> Address:
            return new if node == old else node

        def promise_renamed(promise: Promise) -> Promise:
            return replace(promise, voters=frozenset(map(name, promise.voters)))

        return replace(
            self,
            epoch=self.epoch + 1 if old == self.target else self.epoch,
            primary=name(self.primary) if self.primary else None,
            last=name(self.last) if self.last else None,
            target=name(self.target) if self.target else None,
            nodes=tuple(dict.fromkeys(map(name, self.nodes))),
            joined=tuple(dict.fromkeys(map(name, self.joined))),
            processes=tuple((name(node), run_id) for node, run_id in self.processes if node != new),
            replaced=tuple((name(node), run_id) for node, run_id in self.replaced),
            promise=promise_renamed(self.promise),
            pending=tuple(map(promise_renamed, self.pending)),
        )
