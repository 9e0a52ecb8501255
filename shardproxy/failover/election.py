"""Who may be promoted, and who is best. Pure.

Candidates are frozen: they take no writes and get none, so that what they say of themselves stays true.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shardproxy.model import Address
from shardproxy.model.replication import Lineage, Replication, Role
from shardproxy.store.record import ShardRecord

# What an engine says that has no place in any history: it never was in sync, or it loads a full sync and what
# it had is gone. One that still waits for the sync keeps both; one whose primary has not written yet says 0.
NO_OFFSET = 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frozen node, as it was right after it was frozen."""

    address: Address
    replication: Replication
    run_id: str = ""
    zone: str | None = None
    can_write: bool = True  # its disk takes what it has to save
    is_loading: bool = False


@dataclass(frozen=True, slots=True)
class Electorate:
    """What a candidate is measured by."""

    lineage: Lineage | None  # the last primary's; None when it was never seen
    zone: str | None = None  # preferred among equals


@dataclass(frozen=True, slots=True)
class Choice:
    """The best candidate, or None; and why each of the others may not be promoted."""

    best: Candidate | None
    refused: tuple[tuple[Address, str], ...] = ()

    def __str__(self) -> str:
        if self.best is not None:
            return f"{self.best.address} at offset {self.best.replication.offset}"
        return "; ".join(f"{address}: {why}" for address, why in self.refused) or "no node answers"


def place_of(candidate: Candidate, lineage: Lineage) -> int | None:
    """How far into that history a candidate's data goes; None when it is of another one."""
    own = candidate.replication.lineage
    if lineage.has(own.replid, candidate.replication.offset):
        return candidate.replication.offset
    if own.replid2 and own.replid2 == lineage.replid:
        # Promoted in vain, or a primary restarted with its data: it branched off, and no client wrote since.
        return own.second_offset - 1
    return None


def why_not_electable(candidate: Candidate, electorate: Electorate) -> str | None:
    """The reason a candidate must not be promoted, or None."""
    seen = candidate.replication
    if seen.role is not Role.REPLICA or not seen.is_frozen:
        return "not frozen"
    if candidate.is_loading:
        return "loading"
    if seen.is_syncing:
        return "syncing"
    if not candidate.can_write:
        return "cannot save to disk"
    if seen.priority == 0:
        return "its priority is 0"
    if electorate.lineage is not None and place_of(candidate, electorate.lineage) is None:
        return f"its data has another history ({seen.lineage.replid:.8}) than the last primary's"
    if seen.offset == NO_OFFSET:
        return "it has never been in sync, or was in the middle of a full sync"
    return None


def choose(candidates: Sequence[Candidate], electorate: Electorate) -> Choice:
    """Choose the node with most of the data; then by priority, zone and run_id."""
    reasons = {c.address: why_not_electable(c, electorate) for c in candidates}
    electable = [c for c in candidates if reasons[c.address] is None]
    refused = tuple((address, why) for address, why in reasons.items() if why is not None)
    lineage = electorate.lineage
    if lineage is None:
        histories = {c.replication.lineage.replid for c in electable}
        if len(histories) > 1:
            why = "the last primary was never seen, and the replicas' histories differ"
            return Choice(None, (*refused, *((c.address, why) for c in electable)))
        lineage = electable[0].replication.lineage if electable else Lineage("")

    def order(candidate: Candidate) -> tuple[int, int, bool, str]:
        is_near = electorate.zone is not None and candidate.zone == electorate.zone
        return (
            -(place_of(candidate, lineage) or 0),
            candidate.replication.priority,
            not is_near,
            candidate.run_id,
        )

    return Choice(min(electable, key=order, default=None), refused)


def why_too_few(record: ShardRecord, candidates: Iterable[Candidate]) -> str | None:
    """The reason acknowledged writes could be missing from all of the candidates, or None.

    With `wait: w` a write is on the primary and w of n replicas, so of any n-w+1 of them all one has it; the
    last primary has them all, if it is still the same process. Without `wait` anybody who answers is enough,
    the best is taken. A node that came back with data from its disk counts, however much its disk has kept.
    """
    sound = [c for c in candidates if _has_data(c, record.lineage)]
    if any(c.address == record.last and record.run_id and c.run_id == record.run_id for c in sound):
        return None
    if record.wait == 0:
        return None if sound else "no node answers with the shard's data"
    needed = max(1, len(record.nodes) - record.wait)
    if len(sound) >= needed:
        return None
    return (
        f"{len(sound)} of {len(record.nodes)} nodes have the shard's data; wait: {record.wait} needs {needed}"
    )


def _has_data(candidate: Candidate, lineage: Lineage | None) -> bool:
    """Whether its word on what was acknowledged counts: it need not be fit to be promoted itself."""
    seen = candidate.replication
    if candidate.is_loading or seen.is_syncing or seen.offset == NO_OFFSET:
        return False
    return lineage is None or place_of(candidate, lineage) is not None
