"""What a shard's nodes are fit for: to be served, read from, to vouch for writes, to take over. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.model.health import EngineLimits, NodeHealth, NodeKey, NodeState
from shardproxy.model.seal import Seal, seal_of
from shardproxy.store.record import ShardRecord, ShardState

Healths: TypeAlias = Mapping[Address, NodeHealth | None]


@dataclass(frozen=True, slots=True)
class Fit:
    """What health says of a shard's replicas."""

    readable: frozenset[Address] | None = None  # None: nobody knows, and all are
    voters: frozenset[Address] | None = None  # as their primary lists them; None: nobody is asked
    is_replaceable: bool = False  # where the primary cannot write, a replica takes over
    foreign: Address | None = None  # the primary, where it is a node of a Redis Cluster
    limits: EngineLimits | None = None  # that all nodes keep; None: not known
    is_asked: bool = False  # whether each node was asked for its limits, and who it is, or does not answer
    is_unsynced: bool = False  # others may have replaced the primary without our knowing
    no_writes: str | None = None  # why that may well be so: nothing is written
    seal: Seal | None = None  # what the primary is asked for after a write: slots may have left it unseen


NOT_KNOWN = Fit()
UNSEALED = (
    "slots have left it, or may at any moment, and the proxy is out of touch with its store, or hears late:"
)
NOT_ON_RECORD = "the proxy is out of touch with its store, and has never seen the shard there"
OUT_OF_TOUCH = "the proxy is out of touch with its store, so another node may be the primary:"


def fit_of(
    setup: ShardSetup,
    record: ShardRecord | None,
    reads: frozenset[Address] | None,
    healths: Mapping[NodeKey, NodeHealth],
    before: Fit,
    *,
    is_paused: bool = False,
    is_unsynced: bool = False,
    is_waited_for: bool = True,
    group: str = "",
    why_unsealed: str | None = None,
) -> Fit:
    """Judge a shard's nodes. Who is readable is as before until every node was asked in its new role.

    `reads`: those that were found fit; None: nobody looks, as when the process drains. `is_unsynced`: the
    record may not be the last one. `is_waited_for`: by those who move slots, as long as we are in touch.
    `why_unsealed`: what the primary's seal says while that counts.
    """
    members = (*setup.addresses, *(record.nodes if record is not None else ()))
    seal = seal_wanted(setup, record, group, is_unsynced=is_unsynced, is_waited_for=is_waited_for)
    is_unknown = is_unsynced and setup.decider is None and record is None
    is_shared = setup.decider is None and len(set(members)) > 1  # whoever leads may have another config
    is_unsynced = is_unsynced and is_shared
    nodes = {node: healths.get((setup.key, node)) for node in members}
    foreign = foreign_seen(setup, record, nodes, before)
    limits = limits_seen(nodes) or before.limits
    asked = before.is_asked or all(is_asked(health) for health in nodes.values())
    if record is None:
        no_writes = NOT_ON_RECORD if is_unknown else None
        return replace(
            before,
            foreign=foreign,
            limits=limits,
            is_asked=asked,
            is_unsynced=is_unsynced,
            no_writes=no_writes,
            seal=None,
        )
    is_known = reads is not None and is_looked_at(record, healths)
    return Fit(
        reads if is_known else before.readable,
        voters_seen(record, healths) if record.promise.wait or setup.wait or is_unsynced else None,
        setup.is_automatic and not is_paused and is_replaceable(record, nodes),
        foreign,
        limits,
        asked,
        is_unsynced,
        (why_unsealed if seal is not None else None)
        or (why_no_writes(record, nodes) if is_unsynced else None),
        seal,
    )


def seal_wanted(
    setup: ShardSetup, record: ShardRecord | None, group: str, *, is_unsynced: bool, is_waited_for: bool
) -> Seal | None:
    """What to ask the primary for after a write, where slots may leave it without waiting for us to know."""
    if setup.decider is not None or record is None or record.state is ShardState.NEW:
        return None
    if is_unsynced or (record.is_mixed and not is_waited_for):
        return seal_of(group, record.key, record.generation)
    return None


def why_no_writes(record: ShardRecord, nodes: Healths) -> str | None:
    """Why a primary may be none any more, where nobody tells of it; None while its replicas vouch for it.

    A promotion freezes replicas first: where enough still follow there was none.
    """
    if record.primary is None:
        return None
    health = nodes.get(record.primary)
    if health is None or not health.verdict.is_answering:
        return f"{OUT_OF_TOUCH} {record.primary} does not answer"
    promise = record.promise
    current = sum((voter := nodes.get(node)) is not None and voter.is_current for node in promise.voters)
    if current < promise.proving:
        there = f"{current} of {len(promise.voters)} replicas are" if current else "no replica is"
        return f"{OUT_OF_TOUCH} {there} in sync with {record.primary}"
    return None


def foreign_seen(
    setup: ShardSetup, record: ShardRecord | None, nodes: Healths, before: Fit
) -> Address | None:
    """The primary, or the only node, if it runs in cluster mode; as before until it was asked who it is."""
    if setup.decider == "redis-cluster":
        return None  # it is what it should be
    primary = record.primary or record.last if record is not None else None
    if primary is None and len(setup.addresses) == 1:
        primary = setup.addresses[0]
    health = nodes.get(primary) if primary is not None else None
    if health is None or health.server is None:
        return before.foreign if before.foreign == primary else None
    return primary if health.server.is_clustered else None


def is_replaceable(record: ShardRecord, nodes: Healths) -> bool:
    """Whether a replica is ready to take over, and nobody else decides about that."""
    known = [health for health in nodes.values() if health is not None]
    return all(health.manager is None for health in known) and any(
        health.is_current and health.verdict.state is NodeState.UP
        for node, health in nodes.items()
        if health is not None and node in record.joined and node != record.primary
    )


def limits_seen(nodes: Healths) -> EngineLimits | None:
    """The least that any of them takes: each may be the primary next."""
    known = [health.limits for health in nodes.values() if health is not None and health.limits is not None]
    if not known:
        return None
    return EngineLimits(min(one.bulk for one in known), min(one.query for one in known))


def is_asked(health: NodeHealth | None) -> bool:
    """Whether all is known of a node that can be, be it that it does not answer."""
    if health is None or health.verdict.state is NodeState.UNKNOWN:
        return False
    return health.is_surveyed or not health.verdict.is_answering


def is_looked_at(record: ShardRecord, healths: Mapping[NodeKey, NodeHealth]) -> bool:
    """Whether every node was asked since the shard got its roles."""
    if record.state is ShardState.NEW:
        return False
    for node in record.nodes:
        health = healths.get((record.key, node))
        if health is None or health.epoch != record.epoch or health.verdict.state is NodeState.UNKNOWN:
            return False
        if health.verdict.is_answering and health.replication is None:
            return False
    return True


def voters_seen(record: ShardRecord, healths: Mapping[NodeKey, NodeHealth]) -> frozenset[Address]:
    """How a primary may list the voters: as we call them, or as it was seen to."""
    found = (healths.get((record.key, node)) for node in record.promise.voters)
    seen = (health.seen_as for health in found if health is not None)
    return record.promise.voters.union(address for address in seen if address is not None)
