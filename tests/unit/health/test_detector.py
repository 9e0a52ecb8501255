"""Verdicts, as a table: what was seen, what others say, and what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shardproxy.health.detector import Judgement, Question, judge
from shardproxy.health.history import (
    History,
    history_accept,
    history_observe,
    history_restart_timers,
    history_start,
)
from shardproxy.health.outcome import Outcome, ProbeResult, outcome_of_error
from shardproxy.health.settings import HealthSettings
from shardproxy.health.witness import Witness
from shardproxy.model import Address
from shardproxy.model.health import Cause, NodeState
from shardproxy.model.replication import Lineage, Replication, Role, Server

SETTINGS = HealthSettings()
PRIMARY = Replication(Role.PRIMARY, Lineage("a" * 40), offset=500)
REPLICA = Replication(Role.REPLICA, Lineage("a" * 40), offset=500, follows=Address("h", 1), is_link_up=True)

HEARS = Witness("replica b", hears=True, why="heard it 0 s ago")
SILENT = Witness("replica b", hears=False, why="its link is down")
SICK = replace(SILENT, can_write=False)


def seen(*results: tuple[float, Outcome], run_id: str = "1", replication: Replication = PRIMARY) -> History:
    """A history that starts at 0 with these results; those that answer come with facts."""
    history = history_start(0.0)
    for at, outcome in results:
        facts = (replication, Server(run_id)) if outcome is Outcome.PONG else (None, None)
        result = ProbeResult(at, at, outcome, replication=facts[0], server=facts[1])
        history = history_observe(history, result)
    return history


def verdict(
    history: History,
    now: float,
    *witnesses: Witness,
    role: Role = Role.PRIMARY,
    expected: int = 1,
    is_tilted: bool = False,
) -> Judgement:
    return judge(Question(history, role, now, witnesses, expected, is_tilted), SETTINGS)


PONG, REFUSED, TIMEOUT, LOST = Outcome.PONG, Outcome.REFUSED, Outcome.TIMEOUT, Outcome.LOST
ONE_REFUSAL = seen((1.0, PONG), (1.2, REFUSED))
TWO_REFUSALS = seen((1.0, PONG), (1.2, REFUSED), (1.25, REFUSED))
FROZEN = seen((1.0, PONG), (1.7, TIMEOUT))


@pytest.mark.parametrize(
    ("history", "now", "witnesses", "expected", "state", "cause"),
    [
        (seen(), 0.1, [], 1, NodeState.UNKNOWN, None),
        (seen((1.0, PONG)), 1.1, [], 1, NodeState.UP, None),
        (seen((1.0, PONG)), 1.45, [], 1, NodeState.SUSPECT, None),
        (ONE_REFUSAL, 1.21, [SILENT], 1, NodeState.SUSPECT, None),
        (TWO_REFUSALS, 1.25, [SILENT], 1, NodeState.DOWN, Cause.DEAD),
        (TWO_REFUSALS, 1.25, [SILENT, HEARS], 2, NodeState.SUSPECT, None),  # it may not know yet
        (TWO_REFUSALS, 3.6, [SILENT, HEARS], 2, NodeState.CUT_OFF, None),
        (TWO_REFUSALS, 1.25, [], 1, NodeState.SUSPECT, None),
        (TWO_REFUSALS, 3.6, [], 1, NodeState.CUT_OFF, None),
        (TWO_REFUSALS, 1.25, [], 0, NodeState.DOWN, Cause.DEAD),
        (seen((1.0, PONG), (1.2, REFUSED), (1.3, PONG)), 1.35, [SILENT], 1, NodeState.UP, None),
        (seen((0.1, REFUSED), (0.2, REFUSED)), 0.3, [SILENT], 1, NodeState.DOWN, Cause.DEAD),
        (FROZEN, 1.9, [SILENT], 1, NodeState.SUSPECT, None),
        (FROZEN, 2.0, [SILENT], 1, NodeState.DOWN, Cause.SILENT),
        (FROZEN, 2.0, [HEARS], 1, NodeState.SUSPECT, None),
        (FROZEN, 3.6, [HEARS], 1, NodeState.CUT_OFF, None),
        (FROZEN, 9.0, [], 2, NodeState.CUT_OFF, None),
        (FROZEN, 2.0, [], 0, NodeState.DOWN, Cause.SILENT),
        (seen((1.0, PONG), (1.9, LOST)), 2.1, [SILENT], 1, NodeState.DOWN, Cause.SILENT),
        (seen((1.0, Outcome.WAITING)), 1.1, [], 1, NodeState.UP, None),
        (seen((1.0, Outcome.ERROR)), 1.1, [], 1, NodeState.UP, None),
        (seen((1.0, Outcome.BUSY)), 1.1, [SILENT], 1, NodeState.BUSY, None),
    ],
)
def test_silence_and_death(
    history: History,
    now: float,
    witnesses: list[Witness],
    expected: int,
    state: NodeState,
    cause: Cause | None,
) -> None:
    judgement = verdict(history, now, *witnesses, expected=expected)
    assert (judgement.state, judgement.cause) == (state, cause), judgement.reason


def repeated(outcome: Outcome, until: float) -> History:
    times = [1.0 + 0.2 * number for number in range(round((until - 1.0) / 0.2) + 1)]
    return seen(*((at, outcome) for at in times))


@pytest.mark.parametrize(
    ("outcome", "until", "witness", "state", "cause"),
    [
        (Outcome.LOADING, 5.8, SILENT, NodeState.LOADING, None),
        (Outcome.LOADING, 6.2, SILENT, NodeState.DOWN, Cause.STUCK_LOADING),
        (Outcome.LOADING, 6.2, HEARS, NodeState.LOADING, None),
        (Outcome.MISCONF, 5.8, SILENT, NodeState.UNWRITABLE, None),
        (Outcome.MISCONF, 6.2, HEARS, NodeState.DOWN, Cause.UNWRITABLE),
        (Outcome.MISCONF, 60.0, SICK, NodeState.UNWRITABLE, None),
        (Outcome.BUSY, 60.0, SILENT, NodeState.BUSY, None),
        (Outcome.DENIED, 60.0, SILENT, NodeState.DENIED, None),
    ],
)
def test_useless_primaries_have_a_grace(
    outcome: Outcome, until: float, witness: Witness, state: NodeState, cause: Cause | None
) -> None:
    judgement = verdict(repeated(outcome, until), until + 0.01, witness)
    assert (judgement.state, judgement.cause) == (state, cause), judgement.reason


def test_one_that_cannot_save_and_says_it_is_a_replica_is_no_primary() -> None:
    history = repeated(Outcome.MISCONF, 3.0)
    told = ProbeResult(3.1, 3.1, Outcome.MISCONF, replication=REPLICA, server=Server("1"))
    judgement = verdict(history_observe(history, told), 3.11, HEARS)
    assert (judgement.state, judgement.cause) == (NodeState.DOWN, Cause.NOT_PRIMARY)


def test_denied_is_never_a_failover_however_long_and_whoever_agrees() -> None:
    history = seen((1.0, PONG), (1.2, Outcome.DENIED))
    assert verdict(history, 1000.0, SILENT).state is NodeState.DENIED


def test_another_process_under_a_primary_is_down_and_says_so() -> None:
    history = history_observe(
        seen((1.0, PONG)), ProbeResult(1.2, 1.2, PONG, replication=PRIMARY, server=Server("2"))
    )
    judgement = verdict(history, 1.21, HEARS)
    assert (judgement.state, judgement.cause) == (NodeState.DOWN, Cause.RESTARTED)
    assert verdict(history, 1.21, role=Role.REPLICA).state is NodeState.UP
    accepted = history_observe(
        history_accept(history, 1.3, "2"),
        ProbeResult(1.4, 1.4, PONG, replication=PRIMARY, server=Server("2")),
    )
    assert verdict(accepted, 1.41).state is NodeState.UP


def test_a_restarted_primary_that_still_loads_is_not_waited_for_where_a_replica_has_the_data() -> None:
    loading = ProbeResult(1.2, 1.2, Outcome.LOADING, server=Server("2"))
    history = history_observe(seen((1.0, PONG)), loading)
    assert verdict(history, 1.21, SILENT).cause is Cause.RESTARTED
    assert verdict(history, 1.21).state is NodeState.LOADING


def test_a_primary_that_says_it_is_a_replica_is_down() -> None:
    history = seen((1.0, PONG), replication=REPLICA)
    assert verdict(history, 1.1).cause is Cause.NOT_PRIMARY
    assert verdict(history, 1.1, role=Role.REPLICA).state is NodeState.UP


def test_facts_from_before_a_change_of_roles_do_not_count() -> None:
    history = history_accept(history_start(0.0), 2.0, "1")
    old = ProbeResult(1.9, 2.1, PONG, replication=REPLICA, server=Server("0"))
    assert verdict(history_observe(history, old), 2.2).state is NodeState.UP


def test_after_a_stall_of_ours_who_was_well_is_and_nobody_else_is_anything() -> None:
    well, refusing = seen((1.0, PONG)), seen((1.0, PONG), (1.2, REFUSED), (1.3, REFUSED))
    assert verdict(history_restart_timers(well, 9.0), 9.1).state is NodeState.UP
    assert verdict(history_restart_timers(well, 9.0), 9.5).state is NodeState.SUSPECT
    assert verdict(history_restart_timers(well, 9.0), 10.0, SILENT).state is NodeState.DOWN
    assert verdict(history_restart_timers(refusing, 9.0), 9.1, SILENT).state is NodeState.UNKNOWN
    assert verdict(history_restart_timers(FROZEN, 9.0), 9.1, SILENT).state is NodeState.UNKNOWN


def test_silence_is_counted_from_the_first_question() -> None:
    """Many nodes are asked one after another; some wait for seconds until it is their turn."""
    history = history_start(0.0)
    assert verdict(history, 60.0, expected=0).state is NodeState.UNKNOWN
    asked = history_observe(history, ProbeResult(60.0, 60.5, TIMEOUT))
    assert verdict(asked, 60.6, expected=0).state is NodeState.UNKNOWN
    assert verdict(asked, 61.0, expected=0).cause is Cause.SILENT


def test_what_is_said_does_not_count_while_it_is_not_known_who_speaks() -> None:
    """A survey that was under way when the shard got new roles is asked again."""
    history = history_accept(history_start(0.0), 2.0, None)
    late = ProbeResult(1.9, 2.1, PONG, replication=REPLICA, server=Server("1"), is_surveyed=True)
    history = history_observe(history, late)
    assert history.surveyed_at is not None
    assert history.surveyed_at < history.accepted_at
    history = history_observe(history, ProbeResult(2.2, 2.2, PONG, replication=REPLICA))
    assert history.replication is None
    history = history_observe(history, replace(late, asked_at=2.4, at=2.4))
    assert (history.replication, history.server) == (REPLICA, Server("1"))
    history = history_observe(history, ProbeResult(2.6, 2.6, PONG, replication=replace(REPLICA, offset=7)))
    assert history.replication is not None
    assert history.replication.offset == 7


def test_results_from_before_a_stall_do_not_count() -> None:
    history = replace(history_start(0.0), since=5.0)
    assert history_observe(history, ProbeResult(4.9, 5.5, TIMEOUT)) == history


def test_in_doubt_about_ourselves_we_need_a_witness() -> None:
    assert verdict(FROZEN, 2.0, expected=0, is_tilted=True).state is NodeState.SUSPECT
    assert verdict(FROZEN, 2.0, SILENT, is_tilted=True).state is NodeState.DOWN


def test_replicas_are_down_later_and_without_witnesses() -> None:
    assert verdict(FROZEN, 2.9, role=Role.REPLICA, expected=0).state is NodeState.SUSPECT
    assert verdict(FROZEN, 3.1, role=Role.REPLICA, expected=0).cause is Cause.SILENT
    assert verdict(TWO_REFUSALS, 1.3, role=Role.REPLICA, expected=0).cause is Cause.DEAD


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("LOADING Redis is loading the dataset in memory", Outcome.LOADING),
        ("MASTERDOWN Link with MASTER is down", Outcome.WAITING),
        ("MISCONF Redis is configured to save RDB snapshots", Outcome.MISCONF),
        ("BUSY Redis is busy running a script.", Outcome.BUSY),
        ("NOAUTH Authentication required.", Outcome.DENIED),
        ("WRONGPASS invalid username-password pair or user is disabled.", Outcome.DENIED),
        ("NOPERM this user has no permissions to run the 'ping' command", Outcome.DENIED),
        ("ERR AUTH <password> called without any password configured", Outcome.DENIED),
        ("ERR max number of clients reached", Outcome.ERROR),
    ],
)
def test_classes_of_error_replies(text: str, outcome: Outcome) -> None:
    assert outcome_of_error(text) is outcome
