"""Who may be promoted, and who is best. Pure.

Candidates are frozen: they take no writes and get none, so that what they say of themselves stays true.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

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
    keys: int = 0  # in all its databases
    can_write: bool = True  # its disk takes what it has to save
    is_loading: bool = False

    def with_one_name(self, lineage: Lineage | None, other_name: str) -> Candidate:
        """The same, where two names mean the same history."""
        if lineage is None or not other_name or self.replication.lineage.replid != other_name:
            return self
        return replace(self, replication=replace(self.replication, lineage=lineage))


@dataclass(frozen=True, slots=True)
class Electorate:
    """What a candidate is measured by."""

    lineage: Lineage | None  # the last primary's; None when it was never seen
    zone: str | None = None  # preferred among equals
    barred: frozenset[Address] = frozenset()  # lost sync long before the primary was lost


@dataclass(frozen=True, slots=True)
class Choice:
    """The best candidate, or None; and why each of the others may not be promoted."""

    best: Candidate | None
    refused: tuple[tuple[Address, str], ...] = ()

    def __str__(self) -> str:
        if self.best is not None:
            return f"{self.best.address} at offset {self.best.replication.offset}"
        return "; ".join(f"{address}: {why}" for address, why in self.refused) or "no node answers"


def place_of(seen: Replication, lineage: Lineage) -> int | None:
    """How far into that history a node's data goes; None when it is of another one."""
    own = seen.lineage
    if lineage.has(own.replid, seen.offset):
        return seen.offset
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
    if candidate.address in electorate.barred:
        return "it had lost sync with the last primary long before that was lost"
    if electorate.lineage is not None and place_of(candidate.replication, electorate.lineage) is None:
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
            -(place_of(candidate.replication, lineage) or 0),
            candidate.replication.priority,
            not is_near,
            candidate.run_id,
        )

    return Choice(min(electable, key=order, default=None), refused)


def why_too_few(record: ShardRecord, candidates: Iterable[Candidate], wait: int | None = None) -> str | None:
    """The reason acknowledged writes could be missing from all of the candidates, or None.

    With `wait: w` a write is on the primary and w of n replicas, so of any n-w+1 of them all one has it; the
    last primary has them all. Only the process that had a write has it for sure: one that restarted since has
    what its disk kept, and does not count. Without `wait` anybody who answers is enough, the best is taken.
    `wait`: what clients are promised by now, if that may be less than what is on record.
    """
    wait = record.wait if wait is None else min(wait, record.wait)
    sound = [c for c in candidates if _has_data(c, record.lineage)]
    if any(_is_last_primary(c, record) for c in sound):
        return None
    if wait == 0:
        return None if sound else f"no node answers with the shard's data{_what_they_have(candidates)}"
    sound = [c for c in sound if record.has_process(c.address, c.run_id)]
    needed = max(1, len(record.nodes) - wait)
    if len(sound) >= needed:
        return None
    return (
        f"{len(sound)} of {len(record.nodes)} nodes answer and have been running since they were in sync;"
        f" writes: {{wait: {wait}}} needs {needed}"
    )


def best_of_restarted(record: ShardRecord, candidates: Sequence[Candidate]) -> Address | None:
    """Whom to trust when every member is another process than the one that was in sync, as after a power cut.

    What was in memory is gone everywhere, and an append-only file keeps no name of its history. Then the last
    primary's disk is the best there is, or the fullest one if that came back empty. Not with `wait`: what was
    acknowledged may be on any of the disks.
    """
    if record.wait or record.last is None or record.lineage is None:
        return None
    if not {*record.joined, record.last} <= {candidate.address for candidate in candidates}:
        return None
    processes = {**dict(record.processes), record.last: record.run_id}
    for candidate in candidates:
        before = processes.get(candidate.address)
        is_another = bool(before) and before != candidate.run_id
        if not is_another or candidate.is_loading or candidate.replication.is_syncing:
            return None
    fit = [c for c in candidates if c.can_write]
    best = max(fit, key=lambda c: (c.keys > 0 and c.address == record.last, c.keys), default=None)
    return best.address if best is not None else None


def _is_last_primary(candidate: Candidate, record: ShardRecord) -> bool:
    """It is the process that was the primary, and so has all there is."""
    return candidate.address == record.last and bool(record.run_id) and candidate.run_id == record.run_id


def _has_data(candidate: Candidate, lineage: Lineage | None) -> bool:
    """Whether its word on what was acknowledged counts: it need not be fit to be promoted itself."""
    seen = candidate.replication
    if candidate.is_loading or seen.is_syncing or seen.offset == NO_OFFSET:
        return False
    return lineage is None or place_of(seen, lineage) is not None


def _what_they_have(candidates: Iterable[Candidate]) -> str:
    """Why each does not count, for an operator who has to choose."""
    told = []
    for candidate in candidates:
        seen = candidate.replication
        what = "loading" if candidate.is_loading else "syncing" if seen.is_syncing else ""
        what = what or ("never in sync" if seen.offset == NO_OFFSET else "of another history")
        told.append(f"{candidate.address}: {candidate.keys} keys, {what}")
    return f" ({'; '.join(told)})" if told else ""
