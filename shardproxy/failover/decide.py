"""What a shard needs now. Pure: everything it depends on is in the Situation.

    changes of the config > somebody else's promotion > a primary that is lost > what heals a settled shard

Whoever may not act (another manager, paused, failover off) sends nothing to any engine, and follows what
others do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from shardproxy.failover import identity, quorum
from shardproxy.failover.adoption import Adopt, Adoption, Build, Healths, adopt, follows, is_heard
from shardproxy.failover.healing import Action, Configure, Persist, heal, why_not_trusted
from shardproxy.failover.memory import LEFT_BEHIND, Memory
from shardproxy.failover.places import place_of
from shardproxy.failover.setup import ShardSetup, record_new
from shardproxy.failover.voting import promise_wanted
from shardproxy.model import Address
from shardproxy.model.health import Cause, NodeHealth, NodeState
from shardproxy.model.replication import Role
from shardproxy.store.record import ShardRecord, ShardState

CATCHING_UP = 1.0  # seconds between looks at who catches up
OBJECTED = 0.2  # seconds between looks at what other proxies say: who is dead says nothing any more
SURE = 0.001  # seconds after a moment it is past, however sums of floats are rounded


@dataclass(frozen=True, slots=True)
class Situation:
    """A shard, as seen by its controller. Times are trio's."""

    setup: ShardSetup
    record: ShardRecord  # NEW when the store has none
    healths: Healths
    now: float
    memory: Memory = field(default_factory=Memory)
    allowed_at: float = 0.0  # when the next automatic failover is
    too_soon: str | None = None  # why it is not before
    served_since: float | None = None  # when every proxy had come to serve the record as it is
    done: frozenset[Configure | Persist] = frozenset()  # once is enough
    is_paused: bool = False
    is_patient: bool = False  # nodes that are silent so far may still be heard of
    objection: str | None = None  # why the primary's silence proves nothing: other proxies reach it

    @property
    def may_protect(self) -> bool:
        """Whether replicas may be kept from an empty primary: a pause is no reason to lose data."""
        return self.setup.is_automatic and _manager(self.setup, self.healths) is None

    @property
    def why_not_act(self) -> str | None:
        """The reason no engine may be sent a command unasked, or None."""
        if (manager := _manager(self.setup, self.healths)) is not None:
            return manager
        if self.is_paused:
            return "automatic failover is paused"
        return None if self.setup.is_automatic else "automatic failover is off"


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is well, or nothing can be done; `alarm` says what an operator should know."""

    alarm: str | None = None
    is_unclear: bool = False  # the last alarm is neither renewed nor cleared
    until: float | None = None  # look again then, even without news


@dataclass(frozen=True, slots=True)
class Register:
    """Act on what was found at start, or was made by somebody else."""

    found: Adoption
    must_have_data: bool = False  # its history is not the shard's: empty, it is not taken


@dataclass(frozen=True, slots=True)
class Update:
    """Store what changed beside the primary's place."""

    record: ShardRecord
    why: str


@dataclass(frozen=True, slots=True)
class Accept:
    """The primary restarted and is still the best there is: take it as it is, in a new epoch."""

    why: str
    must_have_data: bool = False  # others may hold what it lost


@dataclass(frozen=True, slots=True)
class FailOver:
    reason: str
    is_resumed: bool = False  # somebody began it: it does not count as another one
    to: Address | None = None  # nobody else is a choice
    must_have_data: bool = False  # others may hold what that one lost


@dataclass(frozen=True, slots=True)
class Hold:
    """Nobody may be promoted now, but the primary lost its data: keep what the replicas have."""

    reason: str
    until: float | None = None  # look again then, even without news
    may_touch: bool = True  # the replicas may be frozen


@dataclass(frozen=True, slots=True)
class Heal:
    actions: tuple[Action, ...]


Decision = Nothing | Register | Update | Accept | FailOver | Hold | Heal


def decide(situation: Situation) -> Decision:
    """Say what is to be done next."""
    setup, record = situation.setup, situation.record
    if record.state is ShardState.NEW:
        return _begin(situation)
    for old, new in identity.aliases(setup, record, situation.healths):
        return Update(record.renamed(old, new), f"{old} is called {new} now")
    if record.primary is None:
        return _without_primary(situation)
    if (update := _members(situation)) is not None:
        return update
    health = situation.healths.get(record.primary)
    if health is None or health.verdict.state in (NodeState.UNKNOWN, NodeState.SUSPECT):
        return Nothing(is_unclear=True)
    if health.verdict.is_down:
        return _replace(situation, health)
    if health.verdict.state in (NodeState.UP, NodeState.BUSY) and health.verdict.is_answering:
        return _keep(situation, health)
    if health.verdict.state is NodeState.CUT_OFF and (found := _promoted_by_others(situation)) is not None:
        has_left = (_has_left(situation, node, found.primary) for node in record.nodes)
        if all(has_left):  # who follows another primary tells nothing of the last one
            return Register(found)
    if health.verdict.state is NodeState.BUSY:
        return Nothing(_complaint(situation, health))
    objected = f"; {situation.objection}" if situation.objection is not None else ""
    return Nothing(f"primary {record.primary}: {health.verdict.reason}{objected}")


def _has_other_nodes(situation: Situation, known: set[Address | None]) -> bool:
    """Whether none of those is configured any more, by whatever name: each that is has said who it is."""
    addresses = situation.setup.addresses
    return not set(addresses) & known and all(is_heard(situation.healths.get(node)) for node in addresses)


def _manager(setup: ShardSetup, healths: Healths) -> str | None:
    """Who else decides about this shard: then we do not."""
    for node in setup.addresses:
        health = healths.get(node)
        if health is not None and health.manager is not None:
            return f"{health.manager} manages {node}: no automatic failover"
    return None


def _begin(situation: Situation) -> Decision:
    """Nobody has a record of it."""
    setup, healths = situation.setup, situation.healths
    twice = identity.named_twice(setup, healths)
    if twice is not None:
        return Nothing(
            f"{twice[0]} and {twice[1]} are one and the same process: take one of them from the config"
        )
    found = adopt(setup, healths, is_patient=situation.is_patient)
    why_not = situation.why_not_act
    if isinstance(found, Build) and why_not is not None:
        return Nothing(f"{found.why}; {why_not}")
    return Register(found)


def _without_primary(situation: Situation) -> Decision:
    """Nobody serves it: somebody began to change its primary, or it is held, or in conflict."""
    setup, record, healths = situation.setup, situation.record, situation.healths
    if _has_other_nodes(situation, {*record.joined, *record.nodes}):
        anew = replace(record_new(setup), epoch=record.epoch + 1, revision=record.revision)
        return Update(anew, "the config has other nodes here")
    if record.state is ShardState.CONFLICT:
        return Register(adopt(setup, healths, is_patient=situation.is_patient))
    why_not = situation.why_not_act
    if why_not is not None:
        found = adopt(setup, healths, is_patient=situation.is_patient)
        if isinstance(found, Adopt) and _is_rightful(situation, found):
            return Register(found, must_have_data=not _descends(record, healths, found.primary))
    if record.state is ShardState.HELD:
        return _go_on_holding(situation)
    if why_not is not None:
        return Nothing(f"a failover is unfinished, but {why_not}")
    return FailOver(f"unfinished at epoch {record.epoch} ({record.state.value})", is_resumed=True)


def _members(situation: Situation) -> Update | None:
    """Follow the config: other nodes, another `wait`, another name; and who is in sync.

    A node stays a member for as long as it is the primary, or may alone have an acknowledged write, or may be
    one that the config calls by another name now.
    """
    setup, record = situation.setup, situation.record
    if any(_may_be_member(situation, node) for node in setup.addresses):
        known = tuple(dict.fromkeys((*record.nodes, *setup.addresses)))
        changed = replace(record, nodes=known)
        return Update(changed, "the config has other nodes") if changed != record else None
    vouching = quorum.members(record) | (record.promise.voters if quorum.is_full(record) else frozenset())
    staying = sorted(vouching - set(setup.addresses))
    primary = (record.primary,) if record.primary is not None else ()
    nodes = tuple(dict.fromkeys((*setup.addresses, *primary, *staying)))
    changed = replace(record, nodes=nodes, name=setup.name)
    wanted = promise_wanted(setup, changed, situation.healths, situation.memory, situation.now)
    if wanted != record.promise and not quorum.is_full(record):
        changed = quorum.begun_among(replace(changed, nodes=record.nodes), nodes, wanted)
    elif record.pending and not quorum.why_not_finished(changed, _caught_up(situation)):
        changed = quorum.finished(changed, _caught_up(situation))
    elif record.pending and set(setup.addresses) == {record.primary} and situation.served_since is not None:
        changed = replace(changed, pending=())  # the config leaves it nobody else to ask
    if changed == record:
        return None
    joined = tuple(node for node in record.joined if node in changed.nodes)
    processes = tuple(entry for entry in record.processes if entry[0] in changed.nodes)
    replaced = tuple(entry for entry in record.replaced if entry[0] in changed.nodes)
    return Update(
        replace(changed, joined=joined, processes=processes, replaced=replaced),
        "the config, or who is in sync, changed",
    )


def _may_be_member(situation: Situation, node: Address) -> bool:
    """Whether a new name may be that of a member: nobody leaves before it has been asked who it is."""
    health = situation.healths.get(node)
    is_asked = health is not None and health.verdict.state is not NodeState.UNKNOWN
    return node not in situation.record.joined and not is_asked


def _caught_up(situation: Situation) -> frozenset[Address]:
    """Who has all that the primary had when every proxy served the record as it is."""
    since = situation.served_since
    if since is None:
        return frozenset()
    return frozenset(
        node
        for node, health in situation.healths.items()
        if health.synced_at is not None and health.synced_at > since
    )


def _replace(situation: Situation, health: NodeHealth) -> Decision:
    """The primary is down: who takes over?"""
    setup, record, verdict = situation.setup, situation.record, health.verdict
    why = f"primary {record.primary}: {verdict.reason}"
    if (found := _promoted_by_others(situation)) is not None:
        # somebody has promoted it, an operator perhaps
        return Register(found, must_have_data=not _descends(record, situation.healths, found.primary))
    if not verdict.is_answering and _has_other_nodes(situation, {*record.joined, record.primary}):
        anew = replace(record_new(setup), epoch=record.epoch + 1, revision=record.revision)
        return Update(anew, "the config has other nodes here, and the primary is gone")
    why_not = situation.why_not_act
    has_most = record.primary is not None and _has_most(situation, record.primary, health)
    if verdict.cause in (Cause.RESTARTED, Cause.NOT_PRIMARY) and has_most:
        seen = health.replication
        if seen is not None and seen.role is Role.PRIMARY:
            return Accept(why, must_have_data=_may_miss_data(situation, health))
        if why_not is None and seen is not None and seen.is_frozen:
            why = f"{why}; nobody has more of the shard's data"
            return FailOver(why, to=record.primary, must_have_data=_may_miss_data(situation, health))
    why_wait, until = _why_wait(situation)
    if why_wait is None and verdict.cause is Cause.SILENT and situation.objection is not None:
        return Nothing(f"{why}; but {situation.objection}", until=situation.now + OBJECTED)
    if why_wait is None:
        return FailOver(why)
    if verdict.cause is Cause.RESTARTED:
        return Hold(f"{why}; {why_wait}", until, situation.may_protect)
    return Nothing(f"{why}; {why_wait}", until=until)


def _go_on_holding(situation: Situation) -> Decision:
    why = f"primary {situation.record.last} restarted without the shard's data"
    why_wait, until = _why_wait(situation)
    return FailOver(why) if why_wait is None else Hold(f"{why}; {why_wait}", until, situation.may_protect)


def _why_wait(situation: Situation) -> tuple[str | None, float | None]:
    """The reason nobody may be promoted now, and until when at least."""
    if (why_not := situation.why_not_act) is not None:
        return why_not, None
    if not _has_successor(situation):
        return "no replica that was in sync with it answers", None
    if situation.now < situation.allowed_at:
        return situation.too_soon, situation.allowed_at
    return None, None


def _promoted_by_others(situation: Situation) -> Adopt | None:
    """The sole primary, where that is another than on record and has the shard's history."""
    record, healths = situation.record, situation.healths
    found = adopt(situation.setup, healths, is_patient=situation.is_patient)
    if not isinstance(found, Adopt) or found.primary == record.primary:
        return None
    if situation.why_not_act is not None:
        return found if _is_rightful(situation, found) else None
    is_fresh = not _is_stale(record, healths, found.primary)
    return found if is_fresh and _was_promoted(situation, found.primary) else None


def _has_left(situation: Situation, node: Address, primary: Address) -> bool:
    """Whether a node does not hear the last primary: it follows that one, or nobody, or does not answer."""
    health, followed = situation.healths.get(node), situation.healths[primary].replication
    if node == primary or health is None or health.replication is None or not health.verdict.is_answering:
        return True
    return not health.replication.is_link_up or (followed is not None and follows(health, followed))


def _is_stale(record: ShardRecord, healths: Healths, node: Address) -> bool:
    """Whether it left the history long before the primary was lost: to follow it would undo writes."""
    health = healths.get(node)
    if health is None or health.replication is None or record.lineage is None:
        return False
    place = place_of(health.replication, record.lineage)
    return place is not None and place < record.floor


def _descends(record: ShardRecord, healths: Healths, node: Address) -> bool:
    """Whether a primary we did not make has the shard's history: somebody switched over by hand."""
    health = healths.get(node)
    if health is None or health.replication is None or record.lineage is None:
        return False
    lineage = health.replication.lineage
    return record.lineage.replid in (lineage.replid, lineage.replid2)


def _was_promoted(situation: Situation, node: Address) -> bool:
    """Whether somebody else made it the primary: one that only restarted as such may have old data."""
    record, healths = situation.record, situation.healths
    if not _descends(record, healths, node):
        return False
    run_id = identity.run_id_of(healths, node)
    is_known = record.has_process(node, run_id) or (node == record.last and run_id == record.run_id)
    return is_known or _has_most(situation, node, healths[node])


def _is_rightful(situation: Situation, found: Adopt) -> bool:
    """Whether whoever may not decide follows that primary: it was promoted, or all the others follow it."""
    record, healths = situation.record, situation.healths
    if _was_promoted(situation, found.primary):
        return True
    seen = healths[found.primary].replication
    others = [node for node in record.joined if node != found.primary]
    return seen is not None and all(follows(healths.get(node), seen) for node in others)


def _has_most(situation: Situation, primary: Address, health: NodeHealth) -> bool:
    """Whether no member has data that a restarted node lacks: each has less, or follows it already."""
    record, seen = situation.record, health.replication
    if seen is None:
        return False
    place = place_of(seen, record.lineage) if record.lineage is not None else None
    for node in record.joined:
        if node == primary or _is_left_behind(situation, node):
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


def _may_miss_data(situation: Situation, health: NodeHealth) -> bool:
    """Whether a member does not follow the primary that restarted, and so may have what that lost."""
    record, seen = situation.record, health.replication
    others = (node for node in record.joined if node != record.primary)
    return seen is None or not all(follows(situation.healths.get(node), seen) for node in others)


def _is_left_behind(situation: Situation, node: Address) -> bool:
    return not situation.record.wait and situation.memory.is_left_behind(node, situation.now)


def _has_successor(situation: Situation) -> bool:
    """Whether anybody who answers might be promoted: without `wait`, nobody but who was in sync."""
    record, healths = situation.record, situation.healths
    joined = set(record.joined)
    fit = joined if record.wait or record.lineage is None else joined & record.promise.voters
    return any(
        node in fit and (health := healths.get(node)) is not None and health.verdict.is_answering
        for node in record.nodes
        if node != (record.primary or record.last) and not _is_left_behind(situation, node)
    )


def _keep(situation: Situation, health: NodeHealth) -> Decision:
    """The primary is well: keep the record true, and bring the others back to it."""
    setup, record, healths = situation.setup, situation.record, situation.healths
    seen, server = health.replication, health.server
    if seen is None or server is None or seen.role is not Role.PRIMARY:
        return Nothing(is_unclear=True)
    if record.run_id in ("", server.run_id) and (record.lineage, record.run_id) != (
        seen.lineage,
        server.run_id,
    ):
        renamed = replace(record.with_lineage(seen.lineage), run_id=server.run_id)
        return Update(renamed, "the primary's history has a new name")
    may_act = situation.why_not_act is None
    actions = tuple(heal(setup, record, healths, situation.done, situation.memory, may_act=may_act))
    if actions:
        return Heal(actions)
    return Nothing(_complaint(situation, health), until=_look_again_at(situation))


def _look_again_at(situation: Situation) -> float | None:
    """When who vouches may change without news: one catches up, or is behind for too long."""
    record, now, memory = situation.record, situation.now, situation.memory
    voters = record.promise.voters
    is_new = any(
        (run_id := identity.run_id_of(situation.healths, node)) and not record.has_process(node, run_id)
        for node in voters
    )
    too_late = (since + LEFT_BEHIND for node, since in memory.apart_since.items() if node in voters)
    moments = [at + SURE for at in too_late if at + SURE > now]
    if record.pending or is_new:
        moments.append(now + CATCHING_UP)
    return min(moments, default=None)


def _complaint(situation: Situation, health: NodeHealth) -> str | None:
    """What an operator should know of a shard that is served."""
    twice = identity.named_twice(situation.setup, situation.healths)
    if twice is not None:
        return f"{twice[0]} and {twice[1]} are one and the same process: take one of them from the config"
    if (manager := _manager(situation.setup, situation.healths)) is not None:
        return manager
    if health.verdict.state is NodeState.BUSY:
        return f"primary {situation.record.primary} {health.verdict.text}"
    return None


def switchover_target(
    setup: ShardSetup, record: ShardRecord, healths: Mapping[Address, NodeHealth], to: Address | None
) -> Address | str:
    """The replica to hand over to, or the reason there is none.

    A member that the config has no more is none: it stays only for what it alone may have.
    """
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
        if to not in setup.addresses:
            return f"{to} is not in the config any more"
        return to if follows(healths.get(to), primary) else f"{to} is not in sync with the primary"
    fit = [
        node
        for node in record.nodes
        if node != record.primary
        and node in setup.addresses
        and follows(health := healths.get(node), primary)
        and health is not None
        and health.replication is not None
        and health.replication.priority > 0
    ]
    if not fit:
        return "no configured replica is in sync with the primary"
    return min(fit, key=lambda node: _distance(healths[node]))


def _distance(health: NodeHealth) -> tuple[int, int]:
    seen = health.replication
    return (-seen.offset, seen.priority) if seen is not None else (0, 0)
