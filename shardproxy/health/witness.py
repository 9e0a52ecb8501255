"""What a replica says of its primary. Pure.

A replica's `master_last_io_seconds_ago` is in whole seconds, so `n` proves a silence of more than `n - 1`.
An offset that we saw stand still proves as much silence as we watched it. Either must be longer than the
primary's pings to its replicas are apart, or a healthy idle primary would look silent. One that follows
somebody else says nothing of this primary, whatever it hears. A link that went down
before the primary fell silent says nothing of the primary: then the replica is cut off, or was told to follow
nobody, and what it holds is old.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shardproxy.health.history import History
from shardproxy.health.outcome import Outcome
from shardproxy.model import Address
from shardproxy.model.replication import Lineage, Replication, Role

FRESH = 0.5  # seconds; an older statement is not heard
PING_MARGIN = 0.1  # seconds a ping may be late
LINK_MARGIN = 1.0  # seconds: how long a link is down is told in whole ones


@dataclass(frozen=True, slots=True)
class Witness:
    """One that can tell whether a primary lives: a replica of it, or another proxy."""

    name: str
    hears: bool  # the primary, lately
    why: str
    can_write: bool = True  # a replica that could take over where writes fail for want of disk


@dataclass(frozen=True, slots=True)
class Whom:
    """A primary that replicas may tell of, and the shard's nodes."""

    address: Address
    histories: Mapping[Address, History]
    lineage: Lineage | None = None  # on record

    @property
    def history(self) -> History:
        return self.histories[self.address]


def replica_witness(address: Address, whom: Whom, now: float) -> Witness | None:
    """The replica's statement; None when there is none, or it cannot tell."""
    history, primary = whom.histories[address], whom.history
    seen, at, since = history.replication, history.replication_at, history.offset_since
    if seen is None or at is None or since is None or now - at > FRESH:
        return None
    if seen.is_syncing or seen.is_frozen:
        return None  # it does not listen to its primary as a replica in sync would
    if seen.role is Role.REPLICA and not _follows(seen, whom):
        return None
    can_write = _can_write(history, primary)
    name = f"replica {address}"
    if not seen.is_link_up:
        if not primary.is_refusing and _was_down_before(seen, primary, now):
            return None
        return Witness(name, hears=False, why="its link is down", can_write=can_write)
    silence = max(at - since, float((seen.last_io or 0) - 1))
    hears = silence <= primary.ping_period + PING_MARGIN
    why = f"nothing heard for {silence:.1f} s" if not hears else f"heard it {seen.last_io or 0} s ago"
    return Witness(name, hears=hears, why=why, can_write=can_write)


def _can_write(replica: History, primary: History) -> bool:
    """It could already when the primary was last asked: a disk they share may have been freed since."""
    if replica.last is None or replica.last.outcome is not Outcome.PONG:
        return False
    return primary.last is None or replica.outcome_since <= primary.last.asked_at


def _follows(seen: Replication, whom: Whom) -> bool:
    """Whether it is this primary that a replica follows, by whatever name."""
    if seen.follows is None or _is_name_of(seen.follows, whom.address, whom.history):
        return True
    for node, history in whom.histories.items():
        if node != whom.address and _is_name_of(seen.follows, node, history):
            return False
    replication = whom.history.replication
    lineage = replication.lineage if replication is not None else whom.lineage
    return lineage is None or seen.lineage.replid in (lineage.replid, lineage.replid2)


def _is_name_of(name: Address, node: Address, history: History) -> bool:
    return name == node or (name.port == node.port and bool(history.peer) and name.host == history.peer)


def _was_down_before(seen: Replication, primary: History, now: float) -> bool:
    """Whether the link was lost before the primary was last heard of. One that never was up was."""
    return seen.link_down_for is None or seen.link_down_for > primary.silent_for(now) + LINK_MARGIN
