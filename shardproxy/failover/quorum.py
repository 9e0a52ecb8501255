"""Who vouches for acknowledged writes, and how many of them must. Pure; after Patroni's quorum commit.

With `wait: w` an acknowledged write is on its primary and on w of the promise's voters, so of any `needed` =
voters - w + 1 voters one has it. Proxies acknowledge by what they last heard, and a new voter has old writes
only once it has caught up. So a change begins on record, where from then on an election must satisfy both
promises, and the old one is dropped when it can no longer matter:

    promise P ──begun(Q)──> promise Q, pending (P,) ──finished──> promise Q
                            all proxies serve Q, and then all of Q's voters have caught up

Invariant, checked after each step: whoever is enough for a record includes, for every promise that may have
been kept, a voter that has any given acknowledged write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from shardproxy.model import Address
from shardproxy.store.record import Promise, ShardRecord, ShardState

MAX_PENDING = 8  # changes that nobody could finish; more would only make an election harder to satisfy


class QuorumError(Exception):
    """A step that would let an acknowledged write be forgotten; nothing was changed."""


def is_empty(promise: Promise) -> bool:
    """Whether no voter can have acknowledged a write: none is asked, or too few are there."""
    return promise.wait == 0 or promise.wait > len(promise.voters)


def begun(record: ShardRecord, promise: Promise) -> ShardRecord:
    """The record with another promise, the present one still counting."""
    if promise == record.promise:
        return record
    old = () if is_empty(record.promise) or record.promise in record.pending else (record.promise,)
    pending = tuple(p for p in (*record.pending, *old) if p != promise)
    return checked(replace(record, promise=promise, pending=pending))


def begun_among(record: ShardRecord, nodes: Iterable[Address], promise: Promise) -> ShardRecord:
    """The same where the config wants these nodes; others stay members for as long as they may vouch."""
    nodes = tuple(nodes)
    changed = begun(replace(record, nodes=tuple(dict.fromkeys((*nodes, *record.nodes)))), promise)
    keep = {*nodes, *members(changed)}
    return replace(changed, nodes=tuple(node for node in changed.nodes if node in keep))


def is_full(record: ShardRecord) -> bool:
    """Whether so many changes are under way that no other one should be begun without need."""
    return len(record.pending) >= MAX_PENDING


def promoted(record: ShardRecord, primary: Address) -> ShardRecord:
    """The record of a shard whose primary is to be that node: those that vouched before vouch for it.

    Whoever acknowledges a write of the new primary has all before it, so it need not have caught up yet. The
    one that handed over follows at once, and has whatever it acknowledged itself; one that was lost does not.
    """
    others, wait = record.promise.voters - {primary}, record.promise.wait
    if record.state is ShardState.SWITCHING and record.last is not None and record.last != primary:
        others |= {record.last}
        record = _with_witness(record, record.last)
    return begun(record, replace(record.promise, voters=others, wait=wait))


def _with_witness(record: ShardRecord, node: Address) -> ShardRecord:
    """The record, with a node that was a primary itself among those that have all that was acknowledged."""

    def counted(promise: Promise) -> Promise:
        if is_empty(promise):
            return promise
        return replace(promise, voters=promise.voters | {node}, wait=promise.wait + 1)

    record = record.with_process(node, record.run_id)
    pending = tuple(map(counted, record.pending))
    return replace(record, promise=counted(record.promise), pending=pending)


def finished(record: ShardRecord, caught_up: frozenset[Address]) -> ShardRecord:
    """The record without older promises; raise QuorumError while one may still matter.

    `caught_up`: who has all that the primary had when every proxy served this promise already.
    """
    why_not = why_not_finished(record, caught_up)
    if why_not is not None:
        raise QuorumError(f"{record.key}: {why_not}")
    return checked(replace(record, pending=()))


def why_not_finished(record: ShardRecord, caught_up: frozenset[Address]) -> str | None:
    """The reason a write of an older promise might be missing from the present voters, or None."""
    promise = record.promise
    if not promise.voters:
        return "nobody vouches yet"
    if is_empty(promise) and promise.wait:  # it would ask for nobody, and so for nobody who has what is older
        return f"writes wait for {promise.wait} nodes, and only {len(promise.voters)} vouch"
    missing = promise.voters - caught_up
    return f"{_names(missing)} must catch up first" if missing else None


def why_not_enough(record: ShardRecord, sound: frozenset[Address]) -> str | None:
    """The reason an acknowledged write could be missing from all of these nodes, or None."""
    for promise in (record.promise, *record.pending):
        if is_empty(promise):
            continue
        there = promise.voters & sound
        if len(there) < promise.needed:
            return (
                f"writes: {{wait: {promise.wait}}}: {len(there)} of {len(promise.voters)} nodes that vouch"
                f" answer and are sound, {promise.needed} must ({_names(promise.voters - there)} missing)"
            )
    return None


def members(record: ShardRecord) -> frozenset[Address]:
    """Nodes that stay in the shard for now, whatever the config says: they may alone have a write."""
    vouching = (promise.voters for promise in record.pending)
    return frozenset().union(*vouching)


def checked(record: ShardRecord) -> ShardRecord:
    """The record, if its promises are sound; raise QuorumError."""
    for promise in (record.promise, *record.pending):
        if record.primary is not None and record.primary in promise.voters and promise is record.promise:
            raise QuorumError(f"{record.key}: the primary cannot vouch for itself")
        if not promise.voters <= frozenset(record.nodes):
            strangers = _names(promise.voters - frozenset(record.nodes))
            raise QuorumError(f"{record.key}: {strangers} would vouch, but is no node of the shard")
        if not is_empty(promise) and promise.needed + promise.wait <= len(promise.voters):
            raise QuorumError(f"{record.key}: {promise} lets a write be on none of those that are needed")
    return record


def _names(nodes: Iterable[Address]) -> str:
    return ", ".join(map(str, sorted(nodes)))
