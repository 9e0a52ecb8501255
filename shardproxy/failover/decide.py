"""What a shard needs now. Pure: everything it depends on is in the Situation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from shardproxy.failover.adoption import Adopt, Adoption, Healths, adopt, follows
from shardproxy.failover.backoff import NO_FAILOVER_YET, Backoff
from shardproxy.failover.election import place_of
from shardproxy.failover.healing import Action, Configure, Persist, heal, why_not_trusted
from shardproxy.failover.setup import ShardSetup, record_new
from shardproxy.model import Address
from shardproxy.model.health import Cause, NodeHealth, NodeState
from shardproxy.model.replication import Role
from shardproxy.store.record import ShardRecord, ShardState


@dataclass(frozen=True, slots=True)
class Situation:
    """A shard, as seen by its controller."""

    setup: ShardSetup
    record: ShardRecord  # NEW when the store has none
    healths: Healths
    now: float
    backoff: Backoff = NO_FAILOVER_YET
    done: frozenset[Configure | Persist] = frozenset()  # once is enough
    is_paused: bool = False
    is_patient: bool = False  # nodes that are silent so far may still be heard of
    barred: frozenset[Address] = frozenset()  # replicas whose data was old when the primary fell ill


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is well, or nothing can be done; `alarm` says what an operator should know."""

    alarm: str | None = None
    is_unclear: bool = False  # the last alarm is neither renewed nor cleared
    until: float | None = None  # look again then, even without news


@dataclass(frozen=True, slots=True)
class Register:
    """Act on what was found at start."""

    found: Adoption


@dataclass(frozen=True, slots=True)
class Update:
    """Store what changed beside the primary's place."""

    record: ShardRecord
    why: str


@dataclass(frozen=True, slots=True)
class Accept:
    """The primary restarted and is still the best there is: take it as it is, in a new epoch."""

    why: str


@dataclass(frozen=True, slots=True)
class FailOver:
    reason: str
    is_resumed: bool = False  # somebody began it: it does not count as another one


@dataclass(frozen=True, slots=True)
class Hold:
    """Nobody may be promoted now, but the primary lost its data: keep what the replicas have."""

    reason: str
    until: float | None = None  # look again then, even without news


@dataclass(frozen=True, slots=True)
class Heal:
    actions: tuple[Action, ...]


Decision = Nothing | Register | Update | Accept | FailOver | Hold | Heal


def decide(situation: Situation) -> Decision:
    """Say what is to be done next."""
    setup, record, healths = situation.setup, situation.record, situation.healths
    manager = _manager(setup, healths)
    if record.state is not ShardState.NEW and not set(setup.addresses) & set(record.nodes):
        anew = replace(record_new(setup), epoch=record.epoch + 1, revision=record.revision)
        return Update(anew, "the config has other nodes here")
    if not record.is_settled and record.state is not ShardState.NEW:
        if manager is not None:
            return Nothing(f"a failover is unfinished, but {manager}")
        if record.state is ShardState.HELD:
            return _go_on_holding(situation)
        return FailOver(f"unfinished at epoch {record.epoch} ({record.state.value})", is_resumed=True)
    if record.primary is None:
        if manager is not None:
            found = adopt(setup, healths, is_patient=situation.is_patient)
            return Register(found) if isinstance(found, Adopt) else Nothing(manager)
        return Register(adopt(setup, healths, is_patient=situation.is_patient))
    if (update := _members(setup, record)) is not None:
        return update
    health = healths.get(record.primary)
    if health is None or health.verdict.state in (NodeState.UNKNOWN, NodeState.SUSPECT):
        return Nothing(is_unclear=True)
    if health.verdict.is_down:
        return _replace(situation, health, manager)
    if health.verdict.state in (NodeState.UP, NodeState.BUSY):
        return _keep(situation, health, manager)
    return Nothing(f"primary {record.primary}: {health.verdict.reason}")


def _manager(setup: ShardSetup, healths: Healths) -> str | None:
    """Who else decides about this shard: then we do not."""
    for node in setup.addresses:
        health = healths.get(node)
        if health is not None and health.manager is not None:
            return f"{health.manager} manages {node}: no automatic failover"
    return None


def _members(setup: ShardSetup, record: ShardRecord) -> Update | None:
    """Follow the config: nodes, `wait`, name, slots. A node is a member for as long as it is the primary."""
    nodes = setup.addresses
    if record.primary is not None and record.primary not in nodes:
        nodes = (*nodes, record.primary)
    wanted = (nodes, setup.wait, setup.name, setup.slots)
    if wanted == (record.nodes, record.wait, record.name, record.slots):
        return None
    joined = tuple(node for node in record.joined if node in nodes)
    processes = tuple(entry for entry in record.processes if entry[0] in nodes)
    promise = replace(record.promise, wait=setup.wait)
    changed = replace(
        record,
        nodes=nodes,
        joined=joined,
        processes=processes,
        promise=promise,
        name=setup.name,
        slots=setup.slots,
    )
    return Update(changed, "the config changed")


def _replace(situation: Situation, health: NodeHealth, manager: str | None) -> Decision:
    """The primary is down: who takes over?"""
    setup, record, healths = situation.setup, situation.record, situation.healths
    verdict = health.verdict
    why = f"primary {record.primary}: {verdict.reason}"
    if verdict.cause is Cause.NOT_PRIMARY:
        found = adopt(setup, healths, is_patient=situation.is_patient)
        if isinstance(found, Adopt) and _descends(record, healths.get(found.primary)):
            return Register(found)
    if verdict.cause is Cause.RESTARTED and (
        manager is not None or not setup.is_automatic or _is_best_after_restart(situation, health)
    ):
        return Accept(why)
    if manager is not None:
        return Nothing(f"{why}; {manager}")
    why_wait, until = _why_wait(situation)
    if why_wait is None:
        return FailOver(why)
    if verdict.cause is Cause.RESTARTED:
        return Hold(f"{why}; {why_wait}", until)
    return Nothing(f"{why}; {why_wait}", until=until)


def _go_on_holding(situation: Situation) -> Decision:
    why_wait, until = _why_wait(situation)
    if why_wait is None:
        return FailOver(f"primary {situation.record.last} restarted without the shard's data")
    return Hold(f"primary {situation.record.last} restarted without the shard's data; {why_wait}", until)


def _why_wait(situation: Situation) -> tuple[str | None, float | None]:
    """The reason nobody may be promoted now, and until when at least."""
    if not _has_successor(situation):
        return "no replica that was in sync with it answers", None
    if situation.is_paused or not situation.setup.is_automatic:
        return f"automatic failover is {'paused' if situation.is_paused else 'off'}", None
    too_soon = situation.backoff.why_not(situation.now)
    return too_soon, None if too_soon is None else situation.backoff.allowed_at()


def _descends(record: ShardRecord, health: NodeHealth | None) -> bool:
    """Whether a primary we did not make has the shard's history: somebody switched over by hand."""
    if health is None or health.replication is None or record.lineage is None:
        return False
    lineage = health.replication.lineage
    return record.lineage.replid in (lineage.replid, lineage.replid2)


def _is_best_after_restart(situation: Situation, health: NodeHealth) -> bool:
    """Whether no member has data that the restarted primary lacks: each has less, or follows it already."""
    record, seen = situation.record, health.replication
    if seen is None:
        return False
    place = place_of(seen, record.lineage) if record.lineage is not None else None
    for node in record.joined:
        if node == record.primary or node in situation.barred:
            continue
        other = situation.healths.get(node)
        if follows(other, seen):
            continue
        known = other.replication if other is not None else None
        if place is None or known is None or record.lineage is None:
            return False
        theirs = place_of(known, record.lineage)
        if theirs is None or theirs > place:
            return False
    return True


def _has_successor(situation: Situation) -> bool:
    record, healths = situation.record, situation.healths
    primary = record.primary or record.last
    return any(
        node in record.joined and (health := healths.get(node)) is not None and health.verdict.is_answering
        for node in record.nodes
        if node != primary and node not in situation.barred
    )


def _keep(situation: Situation, health: NodeHealth, manager: str | None) -> Decision:
    """The primary is well: keep the record true, and bring the others back to it."""
    setup, record, healths = situation.setup, situation.record, situation.healths
    seen, server = health.replication, health.server
    if seen is None or server is None or seen.role is not Role.PRIMARY:
        return Nothing(is_unclear=True)
    if record.run_id in ("", server.run_id) and (record.lineage, record.run_id) != (
        seen.lineage,
        server.run_id,
    ):
        renamed = replace(record, lineage=seen.lineage, run_id=server.run_id)
        return Update(renamed, "the primary's history has a new name")
    if manager is not None:
        return Nothing(manager)
    actions = tuple(heal(setup, record, healths, situation.done))
    return Heal(actions) if actions else Nothing(_complaint(health))


def _complaint(health: NodeHealth) -> str | None:
    return health.verdict.reason if health.verdict.state is NodeState.BUSY else None


def switchover_target(
    record: ShardRecord, healths: Mapping[Address, NodeHealth], to: Address | None
) -> Address | str:
    """The replica to hand over to, or the reason there is none."""
    health = healths.get(record.primary) if record.primary is not None else None
    why_not = why_not_trusted(record, health)
    if why_not is not None:
        return why_not
    primary = health.replication if health is not None else None
    if primary is None:
        return "the primary was not asked yet"
    if to is not None:
        if to == record.primary:
            return f"{to} is the primary already"
        if to not in record.nodes:
            return f"{to} is not a node of this shard"
        return to if follows(healths.get(to), primary) else f"{to} is not in sync with the primary"
    fit = [
        node
        for node in record.nodes
        if node != record.primary
        and follows(health := healths.get(node), primary)
        and health is not None
        and health.replication is not None
        and health.replication.priority > 0
    ]
    if not fit:
        return "no replica is in sync with the primary"
    return min(fit, key=lambda node: _distance(healths[node]))


def _distance(health: NodeHealth) -> tuple[int, int]:
    seen = health.replication
    return (-seen.offset, seen.priority) if seen is not None else (0, 0)
