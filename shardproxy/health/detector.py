"""From what was seen of a node, and what others say of it, to a verdict. Pure: no clock, no I/O.

    a primary is DOWN when
        dead         two connections were refused, or one after our own was closed, and every replica that
                     answers has lost its link
        silent       no sign of life for `down_after`, and every replica that answers agrees
        restarted    another process answers than the one that held the data
        a replica    it says so itself
        useless      loading, or refusing writes, for longer than the grace, and a replica is better

We cannot reach it but a replica can: then it is we who are cut off, and nothing is wrong with the primary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shardproxy.health.history import History
from shardproxy.health.outcome import Outcome
from shardproxy.health.settings import HealthSettings
from shardproxy.health.witness import Witness
from shardproxy.model.health import Cause, NodeState
from shardproxy.model.replication import Role

SURE = 0.001  # seconds after a moment it is past, however sums of floats are rounded


@dataclass(frozen=True, slots=True)
class Judgement:
    """A state and why; `since` is added by who remembers the one before."""

    state: NodeState
    reason: str
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """All that a verdict on one node is made from."""

    history: History
    role: Role  # it should have
    now: float
    witnesses: Sequence[Witness] = ()  # those that answer
    expected_witnesses: int = 0  # those there should be
    is_tilted: bool = False  # our own view is in doubt: nothing without a witness
    is_early: bool = False  # it has just told of another role, and the others were not asked since


def judge(question: Question, settings: HealthSettings) -> Judgement:
    """Judge a node."""
    history, now = question.history, question.now
    last = history.last
    if last is not None and last.outcome is Outcome.DENIED:
        return Judgement(NodeState.DENIED, last.why)
    if last is None:
        return Judgement(NodeState.UNKNOWN, "not asked yet")
    silent_for = history.silent_for(now)
    if history.alive_at is None:
        if silent_for < settings.down_after and not history.is_refusing:
            return Judgement(NodeState.UNKNOWN, last.why)
    elif silent_for < suspect_after(question.role, settings) and history.alive_at == last.at:
        return _judge_alive(question, last.outcome, settings)
    return _judge_silent(question, silent_for, settings)


def next_change(history: History, role: Role, after: float, settings: HealthSettings) -> float:
    """When, after that time, a judgement may become another one although nothing new is heard of the node."""
    heard, same = history.heard_at, history.outcome_since
    moments = (
        heard + suspect_after(role, settings),
        heard + settings.down_after,
        heard + _down_after(role, settings),
        heard + settings.down_after + settings.witness_grace,
        same + settings.loading_grace,
        same + settings.unwritable_grace,
    )
    return min((at + SURE for at in moments if at + SURE > after), default=math.inf)


def suspect_after(role: Role, settings: HealthSettings) -> float:
    """Seconds of silence after which a node is not simply up any more."""
    return settings.suspect_after if role is Role.PRIMARY else _down_after(role, settings)


def _down_after(role: Role, settings: HealthSettings) -> float:
    """Replicas are asked less often: their verdict only moves reads."""
    return settings.down_after + (settings.replica_interval if role is Role.REPLICA else 0.0)


def _judge_silent(question: Question, silent_for: float, settings: HealthSettings) -> Judgement:
    last = question.history.last
    why = f"no reply for {silent_for:.1f} s" + (f": {last.why}" if last else "")
    if question.history.is_refusing:
        why, cause = "connections refused: the process is dead", Cause.DEAD
    elif silent_for >= _down_after(question.role, settings):
        cause = Cause.SILENT
    else:
        return Judgement(NodeState.SUSPECT, why)
    if question.role is Role.REPLICA:
        return Judgement(NodeState.DOWN, why, cause)
    judged = _ask_witnesses(question, why, cause)
    if judged.state is NodeState.CUT_OFF and silent_for < settings.down_after + settings.witness_grace:
        return Judgement(NodeState.SUSPECT, judged.reason)  # they may not have noticed yet
    return judged


def _ask_witnesses(question: Question, why: str, cause: Cause) -> Judgement:
    """A primary we cannot reach: what do those say who should hear it?"""
    for witness in question.witnesses:
        if witness.hears:
            return Judgement(NodeState.CUT_OFF, f"{why}; but {witness.name} {witness.why}")
    if question.witnesses:
        agreed = "; ".join(f"{witness.name}: {witness.why}" for witness in question.witnesses)
        return Judgement(NodeState.DOWN, f"{why}; {agreed}", cause)
    if question.expected_witnesses:
        return Judgement(NodeState.CUT_OFF, f"{why}; and no replica that was in sync with it can tell more")
    if question.is_tilted:
        return Judgement(NodeState.SUSPECT, f"{why}; nobody to ask, and our own view is in doubt")
    return Judgement(NodeState.DOWN, f"{why}; it has no replicas", cause)


def _judge_alive(question: Question, outcome: Outcome, settings: HealthSettings) -> Judgement:
    history, lasted = question.history, question.now - question.history.outcome_since
    why = history.last.why if history.last else outcome.value
    match outcome:
        case Outcome.LOADING:
            return _judge_loading(question, why, lasted, settings)
        case Outcome.BUSY:
            return Judgement(NodeState.BUSY, why)
    if question.role is Role.PRIMARY and (changed := _judge_changed(question)) is not None:
        return changed
    if outcome is Outcome.MISCONF:
        return _judge_unwritable(question, why, lasted, settings)
    return Judgement(NodeState.UP, why)


def _judge_changed(question: Question) -> Judgement | None:
    """One that is not the primary it was, whatever else is wrong with it."""
    history = question.history
    if history.is_restarted:
        why = "it restarted: another process answers (run_id changed)"
        return Judgement(NodeState.DOWN, why, Cause.RESTARTED)
    if history.is_acting_replica and question.is_early:
        return Judgement(NodeState.SUSPECT, "it says it is a replica: who is the primary now?")
    if history.is_acting_replica:
        return Judgement(NodeState.DOWN, "it says it is a replica", Cause.NOT_PRIMARY)
    return None


def _judge_loading(question: Question, why: str, lasted: float, settings: HealthSettings) -> Judgement:
    """One that loads has restarted. Where a replica has the data, it is the sooner ready."""
    agreed = question.witnesses and not any(witness.hears for witness in question.witnesses)
    if question.role is Role.PRIMARY and agreed:
        if question.history.is_restarted:
            return Judgement(NodeState.DOWN, f"it restarted and {why}", Cause.RESTARTED)
        if lasted >= settings.loading_grace:
            return Judgement(NodeState.DOWN, f"{why} for {lasted:.1f} s", Cause.STUCK_LOADING)
    return Judgement(NodeState.LOADING, why)


def _judge_unwritable(question: Question, why: str, lasted: float, settings: HealthSettings) -> Judgement:
    can_replace = any(witness.can_write for witness in question.witnesses)
    if question.role is Role.PRIMARY and lasted >= settings.unwritable_grace and can_replace:
        return Judgement(NodeState.DOWN, f"{why} for {lasted:.1f} s", Cause.UNWRITABLE)
    return Judgement(NodeState.UNWRITABLE, why)
