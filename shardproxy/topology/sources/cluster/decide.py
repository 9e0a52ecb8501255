"""What is believed of what the nodes of a Redis Cluster say: one layout, or why there is none. Pure.

    views ─> claims, by node ─> painted over each other, the lowest epoch first ─> whose each slot is

A claim to slots is believed when the node says so itself, or most of the primaries say so of it. So one
node that was cut off, or knows less, changes nothing: what it says of others is not believed, and what it
says of itself has a lower epoch than that of its successor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from shardproxy.model import SLOT_COUNT, Address, SlotRange
from shardproxy.topology.sources.cluster.view import Member, View

Slots = tuple[SlotRange, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A primary with its replicas, and its slots."""

    primary: str  # ids
    address: Address
    replicas: tuple[tuple[str, Address], ...]
    slots: Slots
    epoch: int
    run_id: str = ""  # of the primary's process, if it was asked

    @property
    def ids(self) -> frozenset[str]:
        return frozenset({self.primary, *(node for node, _ in self.replicas)})


@dataclass(frozen=True, slots=True)
class ClusterLayout:
    """All that have slots, in the order of these."""

    groups: tuple[Group, ...]
    epoch: int  # the highest of theirs

    @property
    def addresses(self) -> tuple[Address, ...]:
        return tuple(
            address
            for group in self.groups
            for address in (group.address, *(address for _, address in group.replicas))
        )


def decide(views: Sequence[View]) -> ClusterLayout | str:
    """Say who has which slots by what these nodes say; or why that is not known."""
    if not views:
        return "none of its nodes answers"
    own = {view.me.id: view for view in views}
    voters = _voters(views)
    believed = [
        member
        for node in sorted({node for view in views for node in view.members})
        if (member := _believed(node, views, own, voters)) is not None
    ]
    owners = _paint(member for member in believed if member.is_primary and member.slots)
    if None in owners:
        return f"nobody is known to have slot {owners.index(None)}"
    slots = _ranges(owners)
    members = {member.id: member for member in believed}
    groups = tuple(
        _group(members[node], slots[node], members.values(), own)
        for node in sorted(slots, key=lambda node: slots[node][0])
        if members[node].address is not None
    )
    if len(groups) < len(slots):
        return "nobody knows where all primaries are"
    return ClusterLayout(groups, max(group.epoch for group in groups))


def _voters(views: Sequence[View]) -> frozenset[str]:
    """Whose word counts: the primaries, by the newest that is known of them."""
    newest = max(views, key=lambda view: max(member.epoch for member in view.members.values()))
    return newest.primaries


def _believed(
    node: str, views: Sequence[View], own: Mapping[str, View], voters: frozenset[str]
) -> Member | None:
    """A member as it is by what it says itself, and by most of the primaries: by the newer of the two."""
    said = Counter(
        _essence(view.members[node]) for view in views if view.me.id in voters and node in view.members
    )
    claims = [claim for claim, count in said.items() if count * 2 > len(voters)]
    member = own[node].me if node in own else None
    for claim in claims:
        if member is None or claim.epoch > member.epoch:
            member = next(
                view.members[node]
                for view in views
                if view.me.id in voters and node in view.members and _essence(view.members[node]) == claim
            )
    if member is None or member.address is None:
        return None
    failures = sum(view.members[node].has_failed for view in views if node in view.members)
    if node not in own and not member.is_primary and (member.has_failed or failures * 2 > len(views)):
        return None  # a replica that is gone
    return member


@dataclass(frozen=True, slots=True)
class _Essence:
    """What nodes have to agree on to say the same of one."""

    is_primary: bool
    primary_id: str | None
    epoch: int
    slots: Slots


def _essence(member: Member) -> _Essence:
    # a replica shows its primary's epoch, and nodes hear of that one after another
    epoch = member.epoch if member.is_primary else 0
    return _Essence(member.is_primary, member.primary_id, epoch, member.slots)


def _paint(members: Iterable[Member]) -> list[str | None]:
    """Whose each slot is: that of the highest epoch that claims it."""
    owners: list[str | None] = [None] * SLOT_COUNT
    for member in sorted(members, key=lambda member: (member.epoch, member.id)):
        for slots in member.slots:
            owners[slots.first : slots.last + 1] = [member.id] * len(slots)
    return owners


def _ranges(owners: Sequence[str | None]) -> dict[str, Slots]:
    slots: dict[str, Slots] = {}
    first = 0
    for owner, run in groupby(owners):
        count = sum(1 for _ in run)
        if owner is not None:
            slots[owner] = (*slots.get(owner, ()), SlotRange(first, first + count - 1))
        first += count
    return slots


def _group(primary: Member, slots: Slots, members: Iterable[Member], own: Mapping[str, View]) -> Group:
    replicas = tuple(
        (member.id, member.address)
        for member in members
        if not member.is_primary and member.primary_id == primary.id and member.address is not None
    )
    address = primary.address
    assert address is not None  # whoever has none is not in a group
    run_id = own[primary.id].run_id if primary.id in own else ""
    return Group(primary.id, address, replicas, slots, primary.epoch, run_id)
