"""What a settled shard still lacks. Pure.

Whether a node may give up its dataset for the primary's is asked of both when it is told (gate.py). In any
mode it is noted who is in sync; who may not act tells nobody anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shardproxy.failover.adoption import Healths, follows
from shardproxy.failover.memory import Memory
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.model.health import NodeHealth, NodeState
from shardproxy.model.replication import Replication, Role
from shardproxy.store.record import ShardRecord, ShardState


@dataclass(frozen=True, slots=True)
class Follow:
    """Make the node a replica of the primary."""

    node: Address
    primary: Address
    was_primary: bool  # its clients missed a change: cut them


@dataclass(frozen=True, slots=True)
class Joined:
    """The node is in sync, for the first time or as another process than before."""

    node: Address
    run_id: str


@dataclass(frozen=True, slots=True)
class Persist:
    """Have the node's own config file say its part: else it would come back with the one of before."""

    node: Address
    run_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Configure:
    """Give that process the settings failover needs."""

    node: Address
    run_id: str


Action = Follow | Joined | Configure | Persist


def why_not_trusted(record: ShardRecord, health: NodeHealth | None) -> str | None:
    """The reason nobody may be made a replica of the primary now, or None.

    An empty primary that restarted would wipe them all.
    """
    if record.state is not ShardState.OK or record.primary is None:
        return f"the shard is {record.state.value}"
    if health is None or health.verdict.state is not NodeState.UP:
        return "the primary is not up"
    seen, server = health.replication, health.server
    if seen is None or server is None:
        return "the primary was not asked yet"
    if seen.role is not Role.PRIMARY:
        return "the primary says it is a replica"
    if record.run_id and server.run_id != record.run_id:
        return "the primary restarted"
    if record.lineage is not None and seen.lineage.replid != record.lineage.replid:
        return "the primary's history is not the one on record"
    return None


def heal(
    setup: ShardSetup,
    record: ShardRecord,
    healths: Healths,
    done: frozenset[Configure | Persist],
    memory: Memory,
    *,
    may_act: bool = True,
) -> Iterable[Action]:
    """What to do next; nothing when all is well or the primary is in doubt.

    A managed node has to start as nobody's replica, whatever it was: there its file is left alone. Elsewhere
    the first epoch is as the engines' files have it.
    """
    primary = record.primary
    if primary is None or why_not_trusted(record, healths.get(primary)) is not None:
        return
    seen_primary = healths[primary].replication
    if seen_primary is None:
        return
    for node in record.nodes:
        health = healths.get(node)
        if health is None or health.replication is None or not health.verdict.is_answering:
            continue
        run_id = health.server.run_id if health.server is not None else ""
        steps: list[Configure | Persist] = []
        if node in record.joined:
            steps.append(Configure(node, run_id))
        if not setup.is_managed and record.epoch > 1 and (node == primary or follows(health, seen_primary)):
            steps.append(Persist(node, run_id, record.epoch))
        if may_act:
            yield from (step for step in steps if step not in done)
        if node == primary or run_id == record.run_id:
            continue  # under another name, perhaps
        if follows(health, seen_primary):
            is_back = (
                node,
                run_id,
            ) in record.replaced  # what it had as a primary is given up, what comes is not
            is_new = node not in record.joined or not record.has_process(node, run_id) or is_back
            # the process before may have confirmed writes that this one is still getting
            if is_new and (not _vouches(record, node) or memory.has_caught_up(node, health)):
                yield Joined(node, run_id)
            continue
        is_wanted = node in setup.addresses and (node in record.joined or setup.is_managed)
        if may_act and is_wanted and not _is_on_its_way(health.replication, primary):
            yield Follow(node, primary, health.replication.role is Role.PRIMARY)


def _vouches(record: ShardRecord, node: Address) -> bool:
    return any(node in promise.voters for promise in (record.promise, *record.pending))


def _is_on_its_way(seen: Replication, primary: Address) -> bool:
    """It was told to follow that primary, and is syncing or trying to connect."""
    return seen.role is Role.REPLICA and seen.follows == primary and not seen.is_link_up
