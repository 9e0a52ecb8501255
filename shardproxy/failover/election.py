"""Who may be promoted, and who is best. Pure.

Candidates are frozen: they take no writes and get none, so that what they say of themselves stays true.

    sound        its data is the shard's: its word counts, and nobody with less is promoted before catching up
    electable    sound, and fit to be a primary
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from shardproxy.failover import quorum
from shardproxy.failover.places import place_of
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
    is_configured: bool = True  # by this name; else it is promoted only where nobody else can be

    def with_one_name(self, lineage: Lineage | None, other_name: str) -> Candidate:
        """The same, where two names mean the same history."""
        if lineage is None or not other_name or self.replication.lineage.replid != other_name:
            return self
        return replace(self, replication=replace(self.replication, lineage=lineage))


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom to promote, or nobody; and why each of the others may not be.

    With a `source` the best one has less than that, and is to sync from it first.
    """

    best: Candidate | None
    source: Candidate | None = None
    refused: tuple[tuple[Address, str], ...] = ()

    def __str__(self) -> str:
        if self.best is not None:
            return f"{self.best.address} at offset {self.best.replication.offset}"
        return "; ".join(f"{address}: {why}" for address, why in self.refused) or "no node answers"


def why_not_sound(candidate: Candidate, lineage: Lineage | None) -> str | None:
    """The reason a candidate's word on the shard's data does not count, or None."""
    seen = candidate.replication
    if candidate.is_loading:
        return "loading"
    if seen.is_syncing:
        return "syncing"
    if lineage is not None and place_of(seen, lineage) is None:
        return f"its data has another history ({seen.lineage.replid:.8}) than the last primary's"
    if seen.offset == NO_OFFSET:
        return "it has never been in sync, or was in the middle of a full sync"
    return None


def why_not_electable(candidate: Candidate, record: ShardRecord) -> str | None:
    """The reason a candidate must not be promoted, or None."""
    seen, lineage = candidate.replication, record.lineage
    if seen.role is not Role.REPLICA or not seen.is_frozen:
        return "not frozen"
    if (why_not := why_not_sound(candidate, lineage)) is not None:
        return why_not
    if not candidate.can_write:
        return "cannot save to disk"
    if seen.priority == 0:
        return "its priority is 0"
    if lineage is not None and not _may_be_source(candidate, record, lineage):
        return "it had lost sync with the last primary long before that was lost"
    return None


def choose(candidates: Sequence[Candidate], record: ShardRecord, zone: str | None = None) -> Choice:
    """Choose a configured node, with most of the data; then by priority, zone (the proxy's) and run_id."""
    reasons = {c.address: why_not_electable(c, record) for c in candidates}
    electable = [c for c in candidates if reasons[c.address] is None]
    refused = tuple((address, why) for address, why in reasons.items() if why is not None)
    lineage = record.lineage
    if lineage is None:
        histories = {c.replication.lineage.replid for c in electable}
        if len(histories) > 1:
            why = "the last primary was never seen, and the replicas' histories differ"
            return Choice(None, refused=(*refused, *((c.address, why) for c in electable)))
        lineage = electable[0].replication.lineage if electable else Lineage("")
    history = lineage

    def place(candidate: Candidate) -> int:
        return place_of(candidate.replication, history) or 0

    def order(candidate: Candidate) -> tuple[bool, int, int, bool, str]:
        is_near, priority = zone is not None and candidate.zone == zone, candidate.replication.priority
        return not candidate.is_configured, -place(candidate), priority, not is_near, candidate.run_id

    sound = [c for c in candidates if why_not_sound(c, history) is None]
    furthest = max(sound, key=place, default=None)
    best = min(electable, key=order, default=None)
    if best is None and furthest is not None and _may_be_source(furthest, record, history):
        # whatever the others lack or lost, who is fit to be a primary gets all of it
        best = min((c for c in candidates if c is not furthest and _is_fit(c)), key=order, default=None)
        return Choice(best, furthest if best is not None else None, refused)
    is_behind = best is not None and furthest is not None and place(furthest) > place(best)
    return Choice(best, furthest if is_behind else None, refused)


def why_too_few(record: ShardRecord, candidates: Iterable[Candidate]) -> str | None:
    """The reason acknowledged writes could be missing from all of the candidates, or None.

    The last primary has them all. Only the process that had a write has it for sure: one that restarted since
    has what its disk kept, and does not vouch. Without `wait` anybody who answers is enough, the best is
    taken.
    """
    candidates = list(candidates)
    sound = [c for c in candidates if why_not_sound(c, record.lineage) is None]
    if any(_is_last_primary(c, record) for c in sound):
        return None
    vouching = (c.address for c in sound if record.has_process(c.address, c.run_id))
    why_not = quorum.why_not_enough(record, frozenset(vouching))
    if why_not is not None or sound:
        return why_not
    return f"no node answers with the shard's data{_what_they_have(candidates, record.lineage)}"


def why_not_trusted(trusted: Address, candidates: Sequence[Candidate], *, must_have_data: bool) -> str | None:
    """The reason a node that was chosen beforehand must not be promoted, or None.

    Replicas that lost sync long ago are no choice, but to empty them for one that lost everything is none
    that is made without an operator.
    """
    chosen = next((c for c in candidates if c.address == trusted), None)
    if chosen is None:
        return f"{trusted} does not answer"
    fullest = max(candidates, key=lambda c: c.keys)
    if must_have_data and not chosen.keys and fullest.keys:
        return f"{trusted} came back without data, and {fullest.address} holds {fullest.keys} keys"
    return None


def best_of_restarted(record: ShardRecord, candidates: Sequence[Candidate]) -> Address | None:
    """Whom to trust when every member is another process than the one that was in sync, as after a power cut.

    What was in memory is gone everywhere, and an append-only file keeps no name of its history. Then the last
    primary's disk is the best there is, or the fullest one if that came back empty. Not with `wait`: what was
    acknowledged may be on any of the disks.
    """
    if record.wait or record.pending or record.last is None or record.lineage is None:
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
    best = max(
        fit, key=lambda c: (c.keys > 0 and c.address == record.last, c.keys, c.is_configured), default=None
    )
    return best.address if best is not None else None


def _is_fit(candidate: Candidate) -> bool:
    """Whether it could be a primary, if it had the data."""
    seen = candidate.replication
    is_idle = seen.is_frozen and not seen.is_syncing and not candidate.is_loading
    return is_idle and candidate.can_write and seen.priority > 0


def _may_be_source(candidate: Candidate, record: ShardRecord, lineage: Lineage) -> bool:
    """Whether what it has may become the shard's: with `wait` the quorum has seen to that."""
    return bool(record.wait) or _was_in_sync(candidate, record, lineage)


def _was_in_sync(candidate: Candidate, record: ShardRecord, lineage: Lineage) -> bool:
    """Whether it had what its primary had not long before that was lost, by what is on record of both."""
    if _is_last_primary(candidate, record):
        return True
    place = place_of(candidate.replication, lineage)
    were = record.promise.voters | {record.last}
    return candidate.address in were and place is not None and place >= record.floor


def _is_last_primary(candidate: Candidate, record: ShardRecord) -> bool:
    """It is the process that was the primary, and so has all there is."""
    return candidate.address == record.last and bool(record.run_id) and candidate.run_id == record.run_id


def _what_they_have(candidates: Iterable[Candidate], lineage: Lineage | None) -> str:
    """Why each does not count, for an operator who has to choose."""
    told = [f"{c.address}: {c.keys} keys, {why_not_sound(c, lineage)}" for c in candidates]
    return f" ({'; '.join(told)})" if told else ""
