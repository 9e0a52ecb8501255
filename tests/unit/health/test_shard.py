"""One shard: what is shown of its nodes, and when that has to be judged anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.health.outcome import Outcome, ProbeResult
from shardproxy.health.settings import HealthSettings
from shardproxy.health.shard import News, ShardHealth
from shardproxy.health.staleness import CURRENT_WITHIN
from shardproxy.model import Address
from shardproxy.model.health import Cause, NodeState
from shardproxy.model.replication import (
    AttachedReplica,
    Lineage,
    Replication,
    Role,
    Server,
    ShardKey,
)
from shardproxy.store.record import ShardRecord, ShardState

SETTINGS = HealthSettings()
P, R = Address("p", 7001), Address("r", 7002)
LINEAGE = Lineage("a" * 40)
RECORD = ShardRecord(
    ShardKey("c", 0),
    3,
    ShardState.OK,
    P,
    (P, R),
    joined=(P, R),
    processes=((R, "2"),),
    lineage=LINEAGE,
    run_id="1",
)


def primary(offset: int, *attached: Address) -> Replication:
    listed = tuple(AttachedReplica(address, True, offset) for address in attached)
    return Replication(Role.PRIMARY, LINEAGE, offset, attached=listed)


def replica(offset: int, **changes: object) -> Replication:
    seen = Replication(Role.REPLICA, LINEAGE, offset, follows=P, is_link_up=True, last_io=0)
    return replace(seen, **changes)  # type: ignore[arg-type]


def told(at: float, replication: Replication, run_id: str = "1", **changes: object) -> ProbeResult:
    result = ProbeResult(
        at,
        at,
        Outcome.PONG,
        replication=replication,
        server=Server(run_id),
        ping_period=1.0,
        is_surveyed=True,
    )
    return replace(result, **changes)  # type: ignore[arg-type]


def shard_at(now: float = 0.0) -> ShardHealth:
    shard = ShardHealth(RECORD)
    shard.update(RECORD, now)
    return shard


def judged(shard: ShardHealth, now: float) -> ShardHealth:
    shard.judge(now, SETTINGS, is_tilted=False)
    return shard


def run(
    until: float, primary_offset: Callable[[float], int], replica_offset: Callable[[float], int]
) -> ShardHealth:
    """Both are asked once a second, the replica a little later."""
    shard = shard_at()
    for second in range(int(until) + 1):
        shard.observe(P, told(float(second), primary(primary_offset(second), R)))
        shard.observe(R, told(second + 0.3, replica(replica_offset(second + 0.3)), "2"))
    return judged(shard, int(until) + 0.31)


def written(at: float) -> int:
    return round(1000 * at)


@pytest.mark.parametrize(
    ("primary_offset", "replica_offset", "is_current"),
    [
        (written, lambda at: written(at - 0.05), True),
        (written, lambda at: written(at - 2.5), True),  # it lags, but not for long
        (written, lambda at: written(at - 5.0), False),
        (written, lambda at: written(min(at, 20.0)), False),  # a silent cut: its link is still up
        (lambda at: 500, lambda at: 500, True),  # nobody writes
        (
            lambda at: 500 + 14 * (int(at) // 10),
            lambda at: 500 + 14 * (int(at) // 10),
            True,
        ),  # but rare pings
        (lambda at: 500 + 14 * int(at), lambda at: 500 + 14 * min(int(at), 20), False),
    ],
)
def test_a_replica_is_current_by_the_age_of_its_offset(
    primary_offset: Callable[[float], int], replica_offset: Callable[[float], int], is_current: bool
) -> None:
    assert run(30.0, primary_offset, replica_offset).health(R, 30.31).is_current is is_current


def test_a_silent_cut_is_known_within_seconds_and_does_not_flap() -> None:
    shard, changes, was = shard_at(), [], None
    for tenth in range(600):
        at = tenth / 10
        if tenth % 10 == 0:
            shard.observe(P, told(at, primary(written(at), R)))
        if tenth % 10 == 3:
            is_cut = 20 <= at < 40
            shard.observe(R, told(at, replica(written(20.0 if is_cut else at)), "2"))
            judged(shard, at)
            if shard.health(R, at).is_current is not was:
                was = shard.health(R, at).is_current
                changes.append((at, was))
    (_, first), (lost_at, lost), (found_at, found) = changes
    assert (first, lost, found) == (True, False, True)
    assert 20 + CURRENT_WITHIN <= lost_at <= 20 + CURRENT_WITHIN + 2.5
    assert found_at <= 41


def test_a_replica_has_what_the_primary_had_when_it_was_seen_to_have_as_much() -> None:
    shard = run(10.0, written, lambda at: written(min(at, 7.5)))
    assert shard.health(R, 10.31).synced_at == 7.0
    assert shard.health(P, 10.31).synced_at is None


def test_a_frozen_primary_does_not_make_its_replicas_old() -> None:
    shard = run(10.0, written, written)
    for second in range(11, 30):
        shard.observe(P, ProbeResult(second, second + 0.5, Outcome.TIMEOUT))
        shard.observe(R, told(second + 0.3, replica(written(10.0) - 1), "2"))
    shown = judged(shard, 30.0).health(R, 30.0)
    assert shown.is_current
    assert shown.synced_at == 9.0


@pytest.mark.parametrize(
    "changes",
    [
        {"is_link_up": False},
        {"is_syncing": True},
        {"lineage": Lineage("b" * 40)},
        {"role": Role.PRIMARY},
    ],
)
def test_who_does_not_follow_the_primary_is_not_current(changes: dict[str, object]) -> None:
    shard = run(5.0, written, written)
    shard.observe(R, told(5.9, replica(written(5.9), **changes), "2"))
    assert not judged(shard, 5.91).health(R, 5.91).is_current


def test_after_a_change_of_roles_nothing_is_known_of_ages() -> None:
    shard = run(5.0, written, written)
    shard.update(replace(RECORD, epoch=4, primary=R), 6.0)
    judged(shard, 6.0)
    assert shard.health(P, 6.0).synced_at is None
    assert not shard.health(P, 6.0).is_current


def test_attached_replicas_are_matched_and_strangers_named() -> None:
    shard, stranger = shard_at(), Address("10.9.9.9", 6379)
    shard.observe(P, told(1.0, primary(500, Address("10.0.0.2", 7002), stranger)))
    shard.observe(R, told(1.0, replica(500), "2", peer="10.0.0.2"))
    judged(shard, 1.1)
    assert shard.health(R, 1.1).seen_as == Address("10.0.0.2", 7002)
    assert shard.health(P, 1.1).strangers == (stranger,)
    assert shard.health(P, 1.1).seen_as is None


def test_a_manager_last_seen_on_a_dead_primary_does_not_stand_in_the_way() -> None:
    shard = shard_at()
    shard.observe(P, told(1.0, primary(500, R), manager="another"))
    shard.observe(R, told(1.0, replica(500), "2"))
    assert judged(shard, 1.1).health(P, 1.1).manager == "another"
    assert shard.has_manager
    for at in (1.2, 1.25):
        shard.observe(P, ProbeResult(at, at, Outcome.REFUSED))
    shard.observe(R, told(1.3, replica(500, is_link_up=False), "2"))
    judged(shard, 1.3)
    assert shard.verdicts[P].state is NodeState.DOWN
    assert shard.health(P, 1.3).manager is None


def test_a_primary_that_handed_over_is_judged_when_the_others_were_asked() -> None:
    shard = run(5.0, written, written)
    shard.observe(P, told(5.5, replica(5500, follows=R)))
    assert judged(shard, 5.5).verdicts[P].state is NodeState.SUSPECT
    successor = primary(5500, P)
    shard.observe(R, told(5.52, successor, "2"))
    assert judged(shard, 5.52).verdicts[P].cause is Cause.NOT_PRIMARY


def test_a_primary_that_handed_over_does_not_wait_long_for_the_others() -> None:
    shard = run(5.0, written, written)
    shard.observe(P, told(5.5, replica(5500, follows=R)))
    judged(shard, 5.5)
    assert shard.plan(SETTINGS, None) <= 6.0 + 0.01
    shard.observe(P, told(6.0, replica(5500, follows=R)))
    assert judged(shard, 6.01).verdicts[P].cause is Cause.NOT_PRIMARY


def test_a_shard_that_only_beats_stays_well() -> None:
    shard = run(5.0, written, written)
    for tenth in range(54, 90):
        for node in (P, R):
            assert shard.beat(node, tenth / 10, tenth / 10)
    judged(shard, 9.0)
    assert [shard.verdicts[node].state for node in (P, R)] == [NodeState.UP] * 2
    assert shard.plan(SETTINGS, None) > 9.0


@pytest.mark.parametrize(
    ("node", "said", "news"),
    [
        (P, told(5.5, primary(5500, R)), News.FIGURES),
        (R, told(5.5, replica(5500), "2"), News.FIGURES),
        (P, told(5.5, replica(5500)), News.MAYBE),
        (P, told(5.5, primary(5500, R), "another process"), News.MAYBE),
        (P, told(5.5, primary(5500, R), manager="Sentinel"), News.MAYBE),
        (R, told(5.5, replica(5500, is_link_up=False), "2"), News.MAYBE),
        (R, ProbeResult(5.5, 5.5, Outcome.TIMEOUT), News.MAYBE),
        (P, ProbeResult(5.5, 5.5, Outcome.PONG), News.NONE),
        (P, ProbeResult(5.5, 5.5, Outcome.MISCONF), News.MAYBE),
        (Address("gone", 1), ProbeResult(5.5, 5.5, Outcome.REFUSED), News.NONE),
    ],
)
def test_what_a_result_brings(node: Address, said: ProbeResult, news: News) -> None:
    assert run(5.0, written, written).observe(node, said) is news


def test_while_the_primary_is_suspect_every_statement_of_a_replica_counts() -> None:
    shard = run(5.0, written, written)
    shard.observe(P, ProbeResult(5.5, 5.9, Outcome.TIMEOUT))
    judged(shard, 5.9)
    assert shard.observe(R, told(6.0, replica(5000), "2")) is News.MAYBE


OUTCOMES = st.sampled_from(
    [Outcome.PONG, Outcome.PONG, Outcome.TIMEOUT, Outcome.REFUSED, Outcome.LOADING, Outcome.MISCONF]
)
STATEMENTS = st.sampled_from(
    [
        None,
        replica(500),
        replica(500, last_io=4),
        replica(500, is_link_up=False, link_down_for=1),
        primary(600, R),
    ]
)


def answer(node: Address, at: float, outcome: Outcome, said: Replication | None) -> ProbeResult:
    if outcome is not Outcome.PONG or said is None:
        return ProbeResult(at, at, outcome)
    return ProbeResult(at, at, outcome, replication=said, server=Server("1" if node == P else "2"))


STEPS = st.lists(st.tuples(st.sampled_from([P, R]), st.floats(0.0, 2.0), OUTCOMES, STATEMENTS), max_size=12)


@given(STEPS, st.floats(0.0, 12.0), st.booleans())
def test_between_news_nothing_changes_before_it_is_due(
    steps: list[tuple[Address, float, Outcome, Replication | None]], wait: float, is_tilted: bool
) -> None:
    """Judging when it is due is as good as judging all the time."""
    shard, now = shard_at(), 0.0
    for node, pause, outcome, replication in steps:
        now += pause
        if shard.observe(node, answer(node, now, outcome, replication)) is News.MAYBE:
            shard.judge(now, SETTINGS, is_tilted=is_tilted)
    shard.judge(now, SETTINGS, is_tilted=is_tilted)
    due = shard.plan(SETTINGS, 1.0)
    before = ({n: v.state for n, v in shard.verdicts.items()}, shard.readable(1.0, now))
    later = min(now + wait, due - 0.002)
    if later > now:
        shard.judge(later, SETTINGS, is_tilted=is_tilted)
        assert before == ({n: v.state for n, v in shard.verdicts.items()}, shard.readable(1.0, later))


@given(STEPS)
def test_judging_what_a_result_may_change_is_as_good_as_judging_all(
    steps: list[tuple[Address, float, Outcome, Replication | None]],
) -> None:
    some, everything, now = shard_at(), shard_at(), 0.0
    judged(some, 0.0)
    judged(everything, 0.0)
    for node, pause, outcome, replication in steps:
        while some.plan(SETTINGS, None) < now + pause:
            at = some.due_at
            judged(some, at)
            judged(everything, at)
        now += pause
        result = answer(node, now, outcome, replication)
        news = some.observe(node, result)
        everything.observe(node, result)
        if news is News.MAYBE:
            judged(some, now)
        judged(everything, now)
        states = [{n: v.state for n, v in shard.verdicts.items()} for shard in (some, everything)]
        assert states[0] == states[1]
        assert [some.health(n, now).is_current for n in (P, R)] == [
            everything.health(n, now).is_current for n in (P, R)
        ]
