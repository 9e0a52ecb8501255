"""A silent node may only be busy: with what it was sent, for so long, and nothing else excuses it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.health.detector import Judgement, Question, judge
from shardproxy.health.history import History, history_observe, history_start
from shardproxy.health.outcome import Outcome, ProbeResult
from shardproxy.health.settings import HealthSettings
from shardproxy.health.shard import ShardHealth
from shardproxy.health.witness import Witness
from shardproxy.model import Address
from shardproxy.model.health import NO_STANDING, Busy, Cause, NodeState, Standing, standing_of_all
from shardproxy.model.replication import Lineage, Replication, Role, Server, ShardKey
from shardproxy.store.record import ShardRecord, ShardState

SETTINGS = HealthSettings()
HEARS = Witness("replica b", hears=True, why="heard it 0 s ago")
AGREES = Witness("replica b", hears=False, why="nothing heard for 1.2 s")
LINEAGE = Lineage("a" * 40)
PONG, TIMEOUT, REFUSED = Outcome.PONG, Outcome.TIMEOUT, Outcome.REFUSED


def heard_at(at: float, *later: tuple[float, Outcome], is_unreached: bool = False) -> History:
    """One that answered then, and what came of the questions since."""
    facts = Replication(Role.PRIMARY, LINEAGE, offset=5)
    history = history_observe(
        history_start(0.0), ProbeResult(at, at, PONG, replication=facts, server=Server("1"))
    )
    for moment, outcome in later:
        history = history_observe(
            history, ProbeResult(moment, moment, outcome, is_unreached=is_unreached and outcome is TIMEOUT)
        )
    return history


def verdict(
    history: History,
    now: float,
    standing: Standing,
    *witnesses: Witness,
    role: Role = Role.PRIMARY,
    explained_at: float = -1.0,
) -> Judgement:
    question = Question(history, role, now, witnesses, 1, standing=standing, explained_at=explained_at)
    return judge(question, SETTINGS)


def owes(since: float, heard: float | None = None) -> Standing:
    return Standing(Busy("eval", since, "client 10.0.0.9:5000 (id 7, name web)"), heard)


SILENT = heard_at(10.0, (10.7, TIMEOUT))
DEAD = heard_at(10.0, (10.2, REFUSED), (10.3, REFUSED))
CUT = heard_at(10.0, (10.7, TIMEOUT), (11.4, TIMEOUT), is_unreached=True)


@pytest.mark.parametrize(
    ("history", "now", "standing", "witnesses", "state", "cause"),
    [
        # what was sent before the silence, or when it began, explains it
        (SILENT, 10.9, owes(9.0), [AGREES], NodeState.SUSPECT, None),
        (SILENT, 11.1, owes(9.0), [AGREES], NodeState.BUSY, Cause.SILENT),
        (SILENT, 11.1, owes(10.25), [AGREES], NodeState.BUSY, Cause.SILENT),
        (SILENT, 19.9, owes(9.0), [AGREES], NodeState.BUSY, Cause.SILENT),
        (SILENT, 20.1, owes(9.0), [AGREES], NodeState.DOWN, Cause.SILENT),
        (SILENT, 20.1, owes(9.0), [HEARS], NodeState.CUT_OFF, None),
        # what was sent after it does not
        (SILENT, 11.1, owes(10.4), [AGREES], NodeState.DOWN, Cause.SILENT),
        # unless others heard the node since: then that is when their silence began
        (SILENT, 11.1, owes(10.6, heard=10.55), [AGREES], NodeState.BUSY, Cause.SILENT),
        (SILENT, 11.1, owes(10.6, heard=10.2), [AGREES], NodeState.DOWN, Cause.SILENT),
        # one command after another: it is counted from when any of them was answered last
        (SILENT, 25.0, owes(19.0, heard=18.95), [AGREES], NodeState.BUSY, Cause.SILENT),
        (SILENT, 29.0, owes(18.9, heard=18.95), [AGREES], NodeState.DOWN, Cause.SILENT),
        # nothing owed
        (SILENT, 11.1, NO_STANDING, [AGREES], NodeState.DOWN, Cause.SILENT),
        (SILENT, 11.1, Standing(heard_at=11.0), [AGREES], NodeState.DOWN, Cause.SILENT),
        # a process that is dead, and a host that is
        (DEAD, 10.3, owes(9.0), [AGREES], NodeState.DOWN, Cause.DEAD),
        (CUT, 11.4, owes(9.0), [AGREES], NodeState.DOWN, Cause.SILENT),
        (CUT, 11.4, owes(9.0), [HEARS], NodeState.SUSPECT, None),
    ],
)  # fmt: skip
def test_silence_is_judged_by_what_was_sent(
    history: History,
    now: float,
    standing: Standing,
    witnesses: list[Witness],
    state: NodeState,
    cause: Cause | None,
) -> None:
    judgement = verdict(history, now, standing, *witnesses)
    assert (judgement.state, judgement.cause) == (state, cause), judgement.reason


def test_one_lost_question_does_not_show_that_a_host_is_gone() -> None:
    once = heard_at(10.0, (10.7, TIMEOUT), is_unreached=True)
    assert verdict(once, 11.1, owes(9.0), AGREES).state is NodeState.BUSY
    again = history_observe(once, ProbeResult(11.0, 11.4, TIMEOUT))  # reached, if not answered
    again = history_observe(again, ProbeResult(11.6, 12.1, TIMEOUT, is_unreached=True))
    assert verdict(again, 12.1, owes(9.0), AGREES).state is NodeState.BUSY


def test_silence_is_counted_from_the_end_of_its_cause() -> None:
    """A command is over a moment before our own question is answered."""
    assert verdict(SILENT, 14.0, NO_STANDING, AGREES, explained_at=13.9).state is NodeState.SUSPECT
    assert verdict(SILENT, 14.8, NO_STANDING, AGREES, explained_at=13.9).state is NodeState.SUSPECT
    assert verdict(SILENT, 15.0, NO_STANDING, AGREES, explained_at=13.9).state is NodeState.DOWN
    assert verdict(CUT, 14.0, NO_STANDING, AGREES, explained_at=13.9).state is NodeState.DOWN


def test_who_is_busy_says_with_what() -> None:
    silent = verdict(SILENT, 13.2, owes(10.0), AGREES)
    assert silent.reason == "busy with EVAL for 3.2 s, client 10.0.0.9:5000 (id 7, name web)"
    said = history_observe(SILENT, ProbeResult(15.1, 15.1, Outcome.BUSY, "BUSY Redis is busy"))
    answering = verdict(said, 15.2, owes(10.0), AGREES)
    assert (answering.state, answering.cause) == (NodeState.BUSY, None)
    assert answering.reason.startswith(
        "busy with EVAL for 5.2 s, client 10.0.0.9:5000 (id 7, name web): it runs"
    )
    assert verdict(said, 15.2, NO_STANDING, AGREES).reason.startswith("runs a long script (BUSY")


def test_a_busy_replica_is_busy_too() -> None:
    assert verdict(SILENT, 13.2, owes(10.0), role=Role.REPLICA).state is NodeState.BUSY
    assert verdict(SILENT, 13.2, NO_STANDING, role=Role.REPLICA).state is NodeState.DOWN


def test_the_oldest_request_of_all_and_the_latest_sign_of_life_count() -> None:
    assert standing_of_all([]) == NO_STANDING
    together = standing_of_all([owes(5.0, heard=7.0), owes(4.0), Standing(heard_at=8.0)])
    assert together == Standing(owes(4.0).busy, 8.0)


# The shard

P, R = Address("p", 7001), Address("r", 7002)
RECORD = ShardRecord(
    ShardKey("c", 0), 3, ShardState.OK, P, (P, R), joined=(P, R), lineage=LINEAGE, run_id="1"
)


class Watched:
    """A shard whose primary fell silent at 0, and what its clients wait for."""

    def __init__(self) -> None:
        self.standing = NO_STANDING
        self.shard = ShardHealth(RECORD, standing_of=lambda node: self.standing if node == P else NO_STANDING)
        self.shard.update(RECORD, 0.0)
        self.primary = Replication(Role.PRIMARY, LINEAGE, 500)
        self.hear(P, 0.0, self.primary)

    def hear(self, node: Address, at: float, said: Replication) -> None:
        run_id = "1" if node == P else "2"
        self.shard.observe(
            node, ProbeResult(at, at, PONG, replication=said, server=Server(run_id), ping_period=1.0)
        )

    def at(self, now: float) -> NodeState:
        """The primary's state, as its replica tells that it is silent."""
        silent = Replication(Role.REPLICA, LINEAGE, 500, follows=P, is_link_up=True, last_io=int(now) + 1)
        self.hear(R, now, silent)
        self.shard.judge(now, SETTINGS, is_tilted=False)
        return self.shard.verdicts[P].state


def test_a_shard_waits_for_its_busy_primary_and_no_longer() -> None:
    watched = Watched()
    watched.standing = owes(0.05)
    assert watched.at(0.5) is NodeState.SUSPECT
    assert not watched.shard.looks_down, "its silence is no sign that we are cut off"
    assert watched.at(1.5) is NodeState.BUSY
    assert watched.shard.busy == (P,)
    assert not watched.shard.verdicts[P].is_answering
    assert watched.at(5.0) is NodeState.BUSY
    assert watched.shard.plan(SETTINGS, None) <= 5.1, "the cause may be over at any time"
    watched.standing = Standing(heard_at=5.05)
    assert watched.at(5.1) is NodeState.SUSPECT
    assert watched.at(5.9) is NodeState.SUSPECT
    assert watched.at(6.1) is NodeState.DOWN


def test_a_shard_whose_primary_answers_again_asks_nobody_for_excuses() -> None:
    watched = Watched()
    watched.standing = owes(0.05)
    assert watched.at(3.0) is NodeState.BUSY
    watched.hear(P, 3.1, watched.primary)
    assert watched.at(3.2) is NodeState.UP
    assert watched.shard.busy == ()
    watched.standing = NO_STANDING
    assert watched.at(4.05) is NodeState.SUSPECT
    assert watched.at(4.3) is NodeState.DOWN


def test_nothing_is_read_from_a_busy_replica() -> None:
    shard = ShardHealth(RECORD)
    shard.update(RECORD, 0.0)
    follows = Replication(Role.REPLICA, LINEAGE, 500, follows=P, is_link_up=True, last_io=0)
    for node, said in ((P, Replication(Role.PRIMARY, LINEAGE, 500)), (R, follows)):
        shard.observe(node, ProbeResult(1.0, 1.0, PONG, replication=said, server=Server("1")))
    shard.judge(1.0, SETTINGS, is_tilted=False)
    assert shard.readable(None, 1.0) == {R}
    shard.observe(R, ProbeResult(1.1, 1.1, Outcome.BUSY, "BUSY Redis is busy"))
    shard.judge(1.1, SETTINGS, is_tilted=False)
    assert shard.readable(None, 1.1) == frozenset()
    assert shard.verdicts[R].is_answering
    assert replace(shard.verdicts[R], cause=Cause.SILENT).is_answering is False
