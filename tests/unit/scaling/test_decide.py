"""When shards are to join, or one is to leave, as a table of what was measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.scaling.decide import IN_AFTER, OUT_AFTER, Advice, Rules, Sample, Samples, decide
from shardproxy.scaling.load import Load, Reading, load_average, load_of, reading

RULES = Rules(min=2, max=10, cpu=0.6, memory=0.7)
EVERY = 30.0  # seconds
LONG_AGO = float("inf")


def measured(shards: int, seconds: float, cpu: float | None = 0.5, memory: float | None = 0.5) -> Samples:
    """The same load all the time."""
    samples = Samples()
    for number in range(int(seconds / EVERY) + 1):
        samples.add(Sample(number * EVERY, Load(cpu, memory)), shards)
    return samples


@pytest.mark.parametrize(
    ("shards", "cpu", "memory", "seconds", "wanted"),
    [
        (4, 0.61, 0.5, OUT_AFTER, 5),
        (4, 0.61, 0.5, OUT_AFTER - EVERY, 4),  # not for long enough
        (4, 0.60, 0.5, OUT_AFTER, 4),  # at the target
        (4, 0.5, 0.71, OUT_AFTER, 5),  # by memory
        (4, 1.0, 0.5, OUT_AFTER, 5),  # a fifth at once, rounded up
        (8, 0.62, 0.5, OUT_AFTER, 9),  # no more than is needed
        (8, 1.0, 0.5, OUT_AFTER, 10),
        (10, 1.0, 0.5, OUT_AFTER, 10),  # no more than may be
        (9, 1.0, 1.0, OUT_AFTER, 10),
        (4, 0.2, 0.2, IN_AFTER, 3),
        (4, 0.2, 0.2, IN_AFTER - EVERY, 4),
        (4, 0.5, 0.2, IN_AFTER, 4),  # three would have 67 %
        (4, 0.2, 0.5, IN_AFTER, 4),
        (2, 0.01, 0.01, IN_AFTER, 2),  # no fewer than may be
        (4, None, 0.1, IN_AFTER, 4),  # one of them is not known
        (4, None, 0.9, OUT_AFTER, 5),  # what is known is enough to grow
        (1, 0.5, 0.5, 0, 2),  # fewer than configured
        (12, 0.5, 0.5, 0, 11),  # more than configured: one by one
        (0, None, None, 0, 0),  # nobody is on record yet
    ],
)
def test_how_many_there_should_be(
    shards: int, cpu: float | None, memory: float | None, seconds: float, wanted: int
) -> None:
    advice = decide(RULES, measured(shards, seconds, cpu, memory), LONG_AGO)
    assert (advice.shards, advice.wanted) == (shards, wanted)
    assert bool(advice.why) == (wanted != shards or (shards == 10 and cpu == 1.0))


def test_it_rests_after_a_change() -> None:
    out, back = measured(4, OUT_AFTER, cpu=0.9), measured(4, IN_AFTER, 0.1, 0.1)
    assert [decide(RULES, out, since).waits for since in (0.0, 599.0, 600.0, LONG_AGO)] == [600.0, 1.0, 0, 0]
    assert [decide(RULES, back, since).waits for since in (600.0, 900.0)] == [300.0, 0.0]


def test_one_sample_that_is_fine_is_enough_to_wait() -> None:
    samples = measured(4, OUT_AFTER, cpu=0.9)
    samples.add(Sample(OUT_AFTER + EVERY, Load(0.5, 0.5)), 4)
    for number in range(2, 7):
        samples.add(Sample(OUT_AFTER + number * EVERY, Load(0.9, 0.5)), 4)
        assert decide(RULES, samples, LONG_AGO).wanted == 4
    samples.add(Sample(OUT_AFTER + 8 * EVERY, Load(0.9, 0.5)), 4)
    assert decide(RULES, samples, LONG_AGO).wanted == 5


def test_after_a_gap_or_a_change_it_begins_anew() -> None:
    samples = measured(4, IN_AFTER, cpu=0.9)
    samples.add(Sample(IN_AFTER + 130, Load(0.9, 0.5)), 4)
    assert decide(RULES, samples, LONG_AGO).wanted == 4
    samples = measured(4, IN_AFTER, cpu=0.9)
    samples.add(Sample(IN_AFTER + EVERY, Load(0.9, 0.5)), 5)
    assert decide(RULES, samples, LONG_AGO) == Advice(5, 5)


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.floats(0, 2), st.floats(0, 1)), min_size=1, max_size=60),
    st.floats(0, 2000),
)
def test_it_stays_within_bounds_and_takes_one_step(
    shards: int, loads: list[tuple[float, float]], since: float
) -> None:
    samples = Samples()
    for number, (cpu, memory) in enumerate(loads):
        samples.add(Sample(number * EVERY, Load(cpu, memory)), shards)
    advice = decide(RULES, samples, since)
    if RULES.min <= shards <= RULES.max:
        assert RULES.min <= advice.wanted <= RULES.max
        assert -1 <= advice.wanted - shards <= max(1, -(-shards // 5))
    if advice.wanted < shards <= RULES.max:
        most = max(cpu for cpu, _ in loads[-int(IN_AFTER / EVERY) - 1 :])
        assert most * shards / advice.wanted < 0.6, "what is left is not above its target at once"
    assert 0 <= advice.waits <= 900


def test_load_is_that_of_one_process() -> None:
    info = {"used_cpu_user_main_thread": "10.5", "used_cpu_sys_main_thread": "1.5", "used_cpu_user": "90"}
    memory = {"used_memory": "500", "maxmemory": "1000"}
    first = reading("a", {**info, **memory}, 100.0)
    assert first == Reading("a", 100.0, 12.0, 500, 1000)
    later = Reading("a", 110.0, 17.0, 700, 1000)
    assert load_of(first, later) == Load(0.5, 0.7)
    assert load_of(None, later) == Load(None, 0.7)
    assert load_of(first, Reading("b", 110.0, 1.0, 700, 0)) == Load(None, None)
    assert load_of(later, later) == Load(None, 0.7)
    old = reading("a", {"used_cpu_user": "3", "used_cpu_sys": "1", "used_memory": "5"}, 0.0)
    assert old == Reading("a", 0.0, 4.0, 5, 0)
    assert reading("a", {"used_memory": "5"}, 0.0) is None
    assert reading("a", {**info, "used_memory": "much"}, 0.0) is None


def test_an_average_is_of_all_shards_or_not_known() -> None:
    assert load_average([Load(0.2, 0.4), Load(0.6, None)]) == Load(0.4, None)
    assert load_average([]) == Load(None, None)
