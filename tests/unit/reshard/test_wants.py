"""What is asked for, and what is refused at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.failover.setup import ShardSetup
from shardproxy.model import SlotRange
from shardproxy.model.replication import ShardKey
from shardproxy.reshard.layout import Move
from shardproxy.reshard.memo import NEXT, Leg, Memo, Step, StepError
from shardproxy.reshard.wants import Drain, Rebalance, Scale, Send, Wants, WantsError, wants_check, wants_read

SETUPS = {
    ShardKey("main", 0): ShardSetup(ShardKey("main", 0), (), name="a"),
    ShardKey("main", 1): ShardSetup(ShardKey("main", 1), ()),
}


@pytest.mark.parametrize(
    ("asked", "wants"),
    [
        ({"do": "scale", "shards": 3}, Wants(Scale(3))),
        ({"do": "scale", "shards": 3, "rate": 5, "slots_per_step": 7}, Wants(Scale(3), 5, 7)),
        (
            {"do": "move", "moves": ["0-9:1", "10:a"]},
            Wants(
                Send((((SlotRange(0, 9),), ShardKey("main", 1)), ((SlotRange(10, 10),), ShardKey("main", 0))))
            ),
        ),
        ({"do": "rebalance"}, Wants(Rebalance("keys"))),
        ({"do": "drain", "shard": "a"}, Wants(Drain(ShardKey("main", 0)))),
    ],
)
def test_what_is_asked_for(asked: dict[str, Any], wants: Wants) -> None:
    assert wants_read(asked, SETUPS) == wants


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({}, "do is scale, move, rebalance or drain, not None"),
        ({"do": "scale", "shards": "3"}, "shards is a whole number, not '3'"),
        ({"do": "scale"}, "shards is a whole number, not None"),
        ({"do": "scale", "shards": 3, "rate": -1}, "rate is a whole number"),
        ({"do": "move", "moves": []}, "moves is a list"),
        ({"do": "move", "moves": ["0-9"]}, "expected SLOTS:SHARD"),
        ({"do": "move", "moves": ["9-0:a"]}, "9-0 runs backwards"),
        ({"do": "move", "moves": ["0-9:c"]}, "no shard 'c'; there is: a, 1"),
        ({"do": "rebalance", "by": "luck"}, "it is one of keys, memory, load"),
        ({"do": "drain"}, "no shard 'None'"),
    ],
)
def test_what_cannot_be_understood(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(WantsError) as error:
        wants_read(asked, SETUPS)
    assert why in str(error.value)


MOVE = Move(ShardKey("main", 0), ShardKey("main", 1), (SlotRange(5, 9), SlotRange(11, 11)))


@given(
    st.lists(
        st.builds(
            Leg,
            st.just(MOVE),
            st.sampled_from(Step),
            st.text(max_size=5),
            st.sampled_from([(), (MOVE.source,)]),
            st.integers(0, 10),
            st.integers(0, 10),
            st.floats(0, 1),
        )
    )
)
def test_a_memo_is_read_as_it_was_written(legs: list[Leg]) -> None:
    memo = Memo(tuple(legs))
    assert Memo.read("main", memo.write()) == memo


@pytest.mark.parametrize("step", Step)
def test_only_steps_that_follow_are_taken(step: Step) -> None:
    for after in Step:
        if after in NEXT[step]:
            assert Leg(MOVE, step).at(after).step is after
        else:
            with pytest.raises(StepError):
                Leg(MOVE, step).at(after)


@pytest.mark.parametrize("step", Step)
def test_a_leg_is_taken_up_by_what_the_records_say(step: Step) -> None:
    leg = Leg(MOVE, step)
    before, after = leg.taken_up(is_published=False).step, leg.taken_up(is_published=True).step
    if step in (Step.UNDO, Step.CLEAN_SOURCE) or step.is_over:
        assert before is after is step
    else:
        assert after is Step.CLEAN_SOURCE
        assert before is (Step.PLAN if step is Step.PLAN else Step.CLEAN_TARGET)


@pytest.mark.parametrize(
    "wants",
    [
        {"do": "scale", "shards": 3, "password": "x"},
        {"do": "scale", "shards": 3, "rate": 10**30},
        {"do": "scale", "shards": float("nan")},
        {"do": "move", "moves": ["0-10:b", 7]},
        {"do": "move", "moves": ["0-99999:b"]},
        {"do": "rebalance", "by": "mood"},
        {"do": "drain", "shard": 1},
        {"do": ["scale"]},
    ],
)
def test_what_is_not_known_is_never_kept(wants: dict[str, Any]) -> None:
    with pytest.raises(WantsError):
        wants_check(wants)


def test_what_is_kept_has_all_limits() -> None:
    kept = wants_check({"do": "move", "moves": ["0-10:b"], "rate": 5})
    assert kept == {"do": "move", "moves": ["0-10:b"], "rate": 5, "slots_per_step": 0}
