"""The circuit breaker, alone: states, times, and no way to be stuck."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shardproxy.caching.sources.breaker import LONGEST, Breaker, Outcome, State


def failed(breaker: Breaker, now: float) -> Breaker:
    asked = breaker.asked(now)
    assert asked is not None
    return asked.heard(Outcome.FAILED, now, was=asked.state)


def test_failures_in_a_row_open_it_and_an_answer_closes_it() -> None:
    breaker = Breaker(3, 1.0)
    for _ in range(2):
        breaker = failed(breaker, 0)
    breaker = breaker.heard(Outcome.ANSWERED, 0, was=State.CLOSED)
    for _ in range(2):
        breaker = failed(breaker, 0)
    assert breaker.state is State.CLOSED
    breaker = failed(breaker, 10)
    assert breaker.state is State.OPEN
    assert breaker.asked(10.9) is None
    trying = breaker.asked(11)
    assert trying is not None
    assert trying.asked(11) is None, "one at a time"
    assert trying.heard(Outcome.ANSWERED, 11, was=State.TRYING) == Breaker(3, 1.0, until=11)


def test_it_is_left_alone_twice_as_long_each_time() -> None:
    breaker, now, pauses = Breaker(1, 1.0), 0.0, []
    for _ in range(7):
        breaker = failed(breaker, now)
        pauses.append(breaker.until - now)
        now = breaker.until
    assert pauses == [1, 2, 4, 8, 16, LONGEST, LONGEST]


def test_a_trial_that_nobody_waits_for_is_made_again() -> None:
    trying = failed(Breaker(1, 1.0), 0).asked(1)
    assert trying is not None
    again = trying.heard(Outcome.UNKNOWN, 2, was=State.TRYING)
    assert again.asked(2) == trying.heard(Outcome.UNKNOWN, 2, was=State.TRYING).asked(2) is not None


def test_what_was_asked_before_it_opened_tells_nothing() -> None:
    opened = failed(Breaker(1, 1.0), 0)
    for outcome in Outcome:
        assert opened.heard(outcome, 0.5, was=State.CLOSED) == opened


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.floats(0, 5)),
        st.tuples(st.sampled_from(list(Outcome)), st.integers(0, 3)),
    ),
    max_size=60,
)


@given(st.integers(1, 4), st.floats(0.01, 100), EVENTS)
def test_it_is_never_stuck_and_tries_one_at_a_time(
    most: int, retry: float, events: list[tuple[object, float]]
) -> None:
    breaker, now, out = Breaker(most, retry), 0.0, []
    for what, number in events:
        if what == "ask":
            now += number
            asked = breaker.asked(now)
            assert (asked is None) == (
                breaker.state is State.TRYING or (breaker.state is State.OPEN and now < breaker.until)
            )
            if asked is not None:
                breaker = asked
                out.append(asked.state)
        elif out:
            assert isinstance(what, Outcome)
            breaker = breaker.heard(what, now, was=out.pop(int(number) % len(out)))
        assert out.count(State.TRYING) <= 1
        assert (breaker.state is State.TRYING) == (State.TRYING in out)
        assert 0 <= breaker.failures < most
        assert breaker.until - now <= max(LONGEST, retry) + 0.001
    while out:
        breaker = breaker.heard(Outcome.UNKNOWN, now, was=out.pop())
    assert breaker.asked(now + max(LONGEST, retry) + 0.001) is not None
