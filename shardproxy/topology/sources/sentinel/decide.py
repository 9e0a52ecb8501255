"""What the Sentinels' words and the nodes' own mean for one shard. Pure.

    answers (of N Sentinels) ─> named by more than half ─┐
    what nodes say of themselves ────────────────────────┼─> Serve, Park or Stay
    what is served ──────────────────────────────────────┘

No hint, no single Sentinel and no single node moves a primary: more than half of the configured Sentinels
name it, by no older failover than the one that is served, and it says itself that it is a primary.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from shardproxy.model import Address
from shardproxy.model.replication import Lineage, Role
from shardproxy.topology.sources.nodes import Seen
from shardproxy.topology.sources.sentinel.answers import Answer

MAX_REPLICAS = 16  # of a shard; Sentinel lists whatever has ever been one


@dataclass(frozen=True, slots=True)
class Served:
    """What is shown of a shard."""

    primary: Address  # or whom requests wait for
    epoch: int  # config-epoch
    run_id: str = ""
    replicas: tuple[Address, ...] = ()
    lineage: Lineage | None = None
    voters: frozenset[Address] = frozenset()
    processes: Mapping[Address, str] | None = None  # the run_id of each replica when it last followed
    is_parked: bool = False
    is_careful: bool = False  # it may have been replaced without our hearing of it


class Waits(enum.Enum):
    """What a primary that answers is held back for; one node's, or one Sentinel's, word can do no more."""

    RIVAL = enum.auto()  # a replica was promoted: the others have not heard of it yet
    CLAIM = enum.auto()  # a Sentinel says that it is about to promote one


@dataclass(frozen=True, slots=True)
class View:
    """All that is known of a shard at one moment, each node under one spelling."""

    total: int  # Sentinels in the config
    answers: tuple[Answer, ...]  # of those that answer, and know the name
    served: Served | None = None
    nodes: Mapping[Address, Seen] | None = None
    why_down: str | None = None  # what ails the primary that is served, as health has it
    is_handing_over: bool = False  # the primary that is served was asked to: it gets nothing more
    heeds: frozenset[Waits] = frozenset(Waits)  # what there is still patience for
    is_alone: bool = False  # for so long no primary was named by most that another may have been promoted


@dataclass(frozen=True, slots=True)
class Serve:
    """That primary, as that process, with those replicas."""

    primary: Address
    epoch: int
    run_id: str
    lineage: Lineage
    replicas: tuple[Address, ...]
    voters: frozenset[Address]  # that follow, and are fit to be promoted
    processes: Mapping[Address, str]
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Park:
    """Nothing is sent: requests wait for a primary."""

    why: str
    waits_for: Waits | None = None  # the primary that is named answers: that has to be over some time


@dataclass(frozen=True, slots=True)
class Stay:
    """As it is; `trouble` says what an operator should know."""

    trouble: str | None = None
    is_careful: bool = False  # writes count once every replica that might have been promoted has them


Decision = Serve | Park | Stay


@dataclass(frozen=True, slots=True)
class Named:
    """Whom more than half of the Sentinels name."""

    primary: Address
    epoch: int  # that as many of them have reached: one that exaggerates counts for nothing


def majority(total: int) -> int:
    return total // 2 + 1


def named_by_most(answers: Sequence[Answer], total: int) -> Named | None:
    """The primary that is named by more than half of all Sentinels, silent ones counted."""
    for primary in {answer.primary for answer in answers}:
        epochs = sorted((answer.epoch for answer in answers if answer.primary == primary), reverse=True)
        if len(epochs) >= majority(total):
            return Named(primary, epochs[majority(total) - 1])
    return None


def listed_by_most(answers: Sequence[Answer], total: int) -> tuple[Address, ...]:
    """Replicas that as many list, and do not find down; in the order of their addresses."""
    votes: dict[Address, int] = {}
    for answer in answers:
        for address in {replica.address for replica in answer.replicas if not replica.is_down}:
            votes[address] = votes.get(address, 0) + 1
    found = sorted(address for address, count in votes.items() if count >= majority(total))
    return tuple(found[:MAX_REPLICAS])


def nodes_to_ask(view: View) -> frozenset[Address]:
    """Whose own word is needed now, fresher than what health knows of members."""
    named = named_by_most(view.answers, view.total)
    listed = listed_by_most(view.answers, view.total)
    served = view.served
    if served is None:
        return frozenset((named.primary, *listed)) if named is not None else frozenset()
    members = (served.primary, *served.replicas)
    if named is not None and named.primary != served.primary:
        return frozenset((named.primary, *members, *listed))
    if served.is_parked or view.why_down is not None or _rival(view, served) is not None:
        return frozenset((*members, *listed))
    return frozenset(listed) - set(members)


def decide(view: View) -> Decision:
    """What to show now."""
    named = named_by_most(view.answers, view.total)
    served = view.served
    if named is None:
        return _without_majority(view)
    seen = (view.nodes or {}).get(named.primary)
    if served is not None and named.primary == served.primary:
        return _as_named(view, served, named, seen)
    if served is not None and named.epoch < served.epoch:
        return _unless_down(
            view,
            f"the Sentinels name {named.primary} as of config-epoch {named.epoch},"
            f" but {served.primary} is primary as of {served.epoch}",
        )
    if seen is None or seen.replication.role is not Role.PRIMARY:
        what = "does not answer" if seen is None else "says it is a replica"
        return _unless_down(view, f"the Sentinels name {named.primary}, which {what}")
    return _serve(view, named, seen)


def _as_named(view: View, served: Served, named: Named, seen: Seen | None) -> Decision:
    """The Sentinels name whom we serve, or wait for."""
    if view.is_handing_over:
        return Park(f"primary {served.primary} hands over")
    rival = _rival(view, served)
    if seen is None and rival is None:
        return _unless_down(view, None)
    if seen is not None and seen.replication.role is not Role.PRIMARY:
        return Park(f"primary {served.primary} says it is a replica")
    if rival is not None and (Waits.RIVAL in view.heeds or seen is None):
        return Park(f"{rival} was promoted, and the Sentinels do not name it yet", Waits.RIVAL)
    assert seen is not None, "else it is down, or there is a rival"
    if Waits.CLAIM in view.heeds and _is_claimed(view.answers, served.primary):
        return Park(f"a Sentinel is replacing {served.primary}", Waits.CLAIM)
    epoch = max(named.epoch, served.epoch)
    trouble = f"{rival} says it is a primary, too" if rival is not None else None
    return _serve(view, Named(named.primary, epoch), seen, trouble)


def _without_majority(view: View) -> Decision:
    missing = view.total - len(view.answers)
    why = f"fewer than {majority(view.total)} of {view.total} Sentinels name the same primary"
    if missing:
        why += f" ({missing} do not answer, or do not know it)"
    decision = _unless_down(view, why)
    return replace(decision, is_careful=view.is_alone) if isinstance(decision, Stay) else decision


def _unless_down(view: View, trouble: str | None) -> Decision:
    """Go on with what is served, but not with a primary that is down."""
    served = view.served
    if served is None or served.is_parked or view.why_down is None:
        return Stay(trouble)
    return Park(f"primary {served.primary} {view.why_down}")


def _is_claimed(answers: Sequence[Answer], primary: Address) -> bool:
    """Whether a Sentinel says that it replaces that primary, and has not done so yet.

    It says so some tenths of a second before it promotes a replica: what is acknowledged later may be lost.
    """
    return any(answer.is_failing_over and answer.primary == primary for answer in answers)


def _rival(view: View, served: Served) -> Address | None:
    """A member that followed, and says now, as the same process, that it is a primary: it was promoted."""
    for node, run_id in (served.processes or {}).items():
        seen = (view.nodes or {}).get(node)
        if node != served.primary and _is_primary(seen) and seen is not None and seen.run_id == run_id:
            return node
    return None


def _serve(view: View, named: Named, seen: Seen, trouble: str | None = None) -> Serve:
    members = _replicas(view, named.primary)
    nodes = view.nodes or {}
    before = view.served.processes if view.served is not None and view.served.processes else {}
    following = {node for node in members if _follows(nodes.get(node), named.primary)}
    processes = {
        node: nodes[node].run_id if node in following else before[node]
        for node in members
        if node in following or node in before
    }
    fit = {node for node in following if nodes[node].replication.priority > 0}
    silent = {node for node in members if node not in nodes}
    voters = frozenset(fit | (silent & view.served.voters if view.served is not None else set()))
    return Serve(
        named.primary,
        named.epoch,
        seen.run_id,
        seen.replication.lineage,
        members,
        voters,
        processes,
        trouble,
    )


def _replicas(view: View, primary: Address) -> tuple[Address, ...]:
    """Listed and not down, and following; who was a member stays while it does not say otherwise for good.

    Right after a failover the others still follow the last primary, which is none of them before it follows.
    """
    served = view.served
    listed = set(listed_by_most(view.answers, view.total)) - {primary}
    nodes = view.nodes or {}
    staying = set(served.replicas) if served is not None else set()
    found: Iterable[Address] = (
        node
        for node in listed
        if _follows(nodes.get(node), primary) or (node in staying and not _is_primary(nodes.get(node)))
    )
    return tuple(sorted(found))


def _is_primary(seen: Seen | None) -> bool:
    return seen is not None and seen.replication.role is Role.PRIMARY


def _follows(seen: Seen | None, primary: Address) -> bool:
    return seen is not None and seen.replication.role is Role.REPLICA and seen.replication.follows == primary
