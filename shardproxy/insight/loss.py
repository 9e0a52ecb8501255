"""What the loss of a shard's primary would mean now, by the rules that a failover goes by. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shardproxy.failover.election import Candidate, choose, why_too_few
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address
from shardproxy.model.health import NodeHealth
from shardproxy.model.replication import DEAD_END, Role
from shardproxy.store.record import ShardRecord


@dataclass(frozen=True, slots=True)
class Loss:
    """Who would be primary then, and why nobody else, or nobody."""

    promoted: Address | None
    why: str
    refused: tuple[tuple[Address, str], ...] = ()


def loss_of_primary(
    record: ShardRecord | None,
    setup: ShardSetup,
    healths: Mapping[Address, NodeHealth | None],
    *,
    zone: str | None,
    is_paused: bool = False,
) -> Loss:
    """Whom a failover would promote, were the primary lost at this moment; `zone` is the proxy's.

    What replicas said last is taken for what they would say when they are asked then.
    """
    why_not = _why_nobody(record, setup, is_paused=is_paused)
    if why_not is not None or record is None:
        return Loss(None, why_not or "")
    silent = [node for node in record.replicas if (found := healths.get(node)) is None or not _answers(found)]
    refused = tuple((node, "it does not answer") for node in silent)
    candidates = [
        candidate
        for node in record.replicas
        if (candidate := _candidate(node, healths.get(node), setup)) is not None
    ]
    if not candidates:
        return Loss(None, "no replica answers: it would wait for one, or for the primary to be back", refused)
    fenced = record.fenced()
    if (why_too_few_answer := why_too_few(fenced, candidates)) is not None:
        return Loss(None, f"acknowledged writes could be missing: {why_too_few_answer}", refused)
    choice = choose(candidates, fenced, zone)
    refused += choice.refused
    if choice.best is None:
        return Loss(None, f"no replica may be promoted: {choice}", refused)
    return Loss(choice.best.address, _why_best(choice.best, candidates, choice.source), refused)


def _why_nobody(record: ShardRecord | None, setup: ShardSetup, *, is_paused: bool) -> str | None:
    if record is None:
        return "who is primary is not known yet"
    if record.primary is None:
        return f"it has no primary now: {record.state.value}"
    if setup.decider is not None:
        return f"{setup.decider} decides about it, and is followed"
    if len(record.nodes) < 2:
        return "it has no replica"
    if is_paused:
        return "the cluster is paused: nothing is done to its nodes until shardproxy resume"
    if not setup.is_automatic:
        return "failover is not automatic (failover.enabled): shardproxy failover has it done"
    return None


def _answers(health: NodeHealth) -> bool:
    return health.verdict.is_answering and health.replication is not None


def _candidate(node: Address, health: NodeHealth | None, setup: ShardSetup) -> Candidate | None:
    """The replica as it would be once it is frozen: it keeps what it has."""
    if health is None or health.replication is None or not _answers(health):
        return None
    seen = health.replication
    if seen.role is Role.REPLICA:
        seen = replace(seen, follows=DEAD_END, is_link_up=False)
    state = health.verdict.state.value
    return Candidate(
        node,
        seen,
        run_id=health.server.run_id if health.server else "",
        zone=setup.zone_of(node),
        can_write=state != "unwritable",
        is_loading=state == "loading",
        is_configured=node in setup.addresses,
    )


def _why_best(best: Candidate, candidates: Sequence[Candidate], source: Candidate | None) -> str:
    if source is not None:
        return f"it is fit to be primary, and gets from {source.address} first what it lacks"
    if len(candidates) == 1:
        return "it is the replica that answers"
    return "it has most of the data; of those that have as much, by priority, then the proxy's zone"
