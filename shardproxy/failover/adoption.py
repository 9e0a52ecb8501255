"""The primary of a shard that nobody has a record of, or whose primary changed without us. Pure.

one primary, the rest follow it     adopt it
none, or empty ones, and managed    build: the node with the data, else the first of the config
two with data                       conflict: read-only until an operator says which
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.model.health import NodeHealth, NodeState
from shardproxy.model.replication import Replication, Role

Healths = Mapping[Address, NodeHealth]


@dataclass(frozen=True, slots=True)
class Adopt:
    """This node is the primary already."""

    primary: Address
    joined: tuple[Address, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Build:
    """Make this node the primary, if none of the others holds other data (to be asked first)."""

    candidates: tuple[Address, ...]  # the first is preferred
    why: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nobody may be the primary until an operator has decided."""

    why: str


@dataclass(frozen=True, slots=True)
class NotYet:
    """Not enough is known."""

    why: str


Adoption = Adopt | Build | Conflict | NotYet


def is_heard(health: NodeHealth | None) -> bool:
    """It has said what it is, or it is known not to answer."""
    if health is None or health.verdict.state is NodeState.UNKNOWN:
        return False
    return not health.verdict.is_answering or (health.replication is not None and health.is_surveyed)


def follows(replica: NodeHealth | None, primary: Replication) -> bool:
    """Whether it is a replica in sync with that primary: names may differ, the history does not."""
    seen = replica.replication if replica is not None else None
    return (
        seen is not None
        and seen.role is Role.REPLICA
        and seen.is_link_up
        and seen.lineage.replid == primary.lineage.replid
    )


def adopt(setup: ShardSetup, healths: Healths, *, is_patient: bool) -> Adoption:
    """Find the primary; `is_patient` while silent nodes may still be heard of."""
    unheard = [node for node in setup.addresses if not is_heard(healths.get(node))]
    if unheard and is_patient:
        return NotYet(f"waiting for {', '.join(map(str, unheard))}")
    seen = {
        node: health.replication
        for node in setup.addresses
        if (health := healths.get(node)) is not None
        and health.replication is not None
        and health.verdict.is_answering
    }
    if not seen:
        return NotYet(_why_nobody_is_seen(setup, healths))
    primaries = [node for node, replication in seen.items() if replication.role is Role.PRIMARY]
    if len(primaries) == 1:
        return _adopt_one(setup, healths, seen, primaries[0])
    if len(primaries) > 1:
        return _adopt_of_several(setup, healths, seen, primaries)
    if not setup.is_managed:
        return NotYet("no node is a primary, and replication is not managed")
    return _build(setup, seen)


def _why_nobody_is_seen(setup: ShardSetup, healths: Healths) -> str:
    known = [(node, health.verdict) for node in setup.addresses if (health := healths.get(node)) is not None]
    denied = [f"{node} {verdict.reason}" for node, verdict in known if verdict.state is NodeState.DENIED]
    if denied:
        return f"no node lets the proxy in, see node_auth: {denied[0]}"
    if any(verdict.is_answering for _, verdict in known):
        return "no node says what it is: may the proxy's user call INFO?"
    return "no node answers"


def _adopt_one(
    setup: ShardSetup, healths: Healths, seen: Mapping[Address, Replication], primary: Address
) -> Adoption:
    joined = tuple(node for node in seen if follows(healths.get(node), seen[primary]))
    strays = [
        node
        for node, replication in seen.items()
        if node != primary and node not in joined and replication.is_link_up
    ]
    if strays and not setup.is_managed:
        return Conflict(f"{primary} is a primary, but {strays[0]} follows another one")
    why = f"{primary} is the only primary, {len(joined)} of {len(setup.nodes) - 1} replicas follow it"
    return Adopt(primary, (primary, *joined), why)


def _adopt_of_several(
    setup: ShardSetup, healths: Healths, seen: Mapping[Address, Replication], primaries: list[Address]
) -> Adoption:
    """Several are primaries: one that has replicas, beside others without, is the one that is used."""
    followed = [
        primary
        for primary in primaries
        if any(follows(healths.get(node), seen[primary]) for node in seen if node != primary)
    ]
    if len(followed) > 1:
        return Conflict(f"{' and '.join(map(str, followed))} are both primaries with replicas")
    if setup.is_managed and followed:  # the others keep what they hold until they are emptied
        return _adopt_one(setup, healths, seen, followed[0])
    if setup.is_managed:
        return Build(tuple(primaries), "no replication yet")
    return Conflict(f"{' and '.join(map(str, primaries))} are all primaries")


def _build(setup: ShardSetup, seen: Mapping[Address, Replication]) -> Adoption:
    """All are replicas of nobody we know: as safely started nodes are, or after all were lost at once."""
    if len(seen) < len(setup.nodes):
        missing = [str(node) for node in setup.addresses if node not in seen]
        return NotYet(f"no node is a primary, and {', '.join(missing)} may have the newest data")
    order = {node: place for place, node in enumerate(setup.addresses)}
    best = sorted(seen, key=lambda node: (-seen[node].offset, order[node]))
    return Build(tuple(best), "no node is a primary")
