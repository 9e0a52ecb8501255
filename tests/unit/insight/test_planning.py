"""What other shards would make of a cluster: nothing is lost on paper, and what is too much is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardproxy.insight.figures import (
    ClusterFigures,
    ShardFigures,
    Weights,
    figures_document,
    figures_read,
    rates_between,
    reading,
)
from shardproxy.insight.planning import Plan, Wish, plan
from shardproxy.insight.prices import NodeKind, PricesError, prices_read
from shardproxy.model import SLOT_COUNT, SlotRange, split_evenly
from shardproxy.reshard.layout import LayoutError

EXAMPLE = Path(__file__).parents[3] / "config" / "node-types.yaml"
GIB = 1 << 30
LARGE = NodeKind(memory=13.07, vcpu=2, network=0.937, on_demand=0.219, reserved=0.149)


def shard(number: int, slots: SlotRange, **fields: Any) -> ShardFigures:
    known: dict[str, Any] = {
        "zones": ("a", "b"),
        "keys": 1000,
        "used": GIB,
        "startup": 1 << 20,
        "commands_rate": 100.0,
        "bytes_rate": 1e4,
        "cpu": 0.1,
    }
    return ShardFigures(number, str(number), (slots,), **{**known, **fields})


TWO = tuple(shard(number, slots) for number, slots in enumerate(split_evenly(2)))


def sums(made: Plan) -> tuple[list[float], list[float]]:
    """Of what is shared out, before and after; each shard has its own engine besides."""

    def of(shards: Any) -> list[float]:
        return [
            sum(getattr(one, name) for one in shards) for name in ("slots", "keys", "requests", "network")
        ]

    return of(made.before), of(made.after)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**5), st.sets(st.integers(0, 99))),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 12),
)
def test_nothing_is_lost_on_paper(fleet: list[tuple[int, int, set[int]]], count: int) -> None:
    shards = []
    for number, (slots, (keys, rate, sampled)) in enumerate(
        zip(split_evenly(len(fleet)), fleet, strict=True)
    ):
        found = {slots.first + at: 1 + at % 7 for at in sampled}
        shards.append(
            shard(number, slots, keys=keys, commands_rate=rate, weights=Weights(len(found), found, found))
        )
    made = plan(shards, Wish(count))
    before, after = sums(made)
    assert after == pytest.approx(before)
    assert after[0] == SLOT_COUNT
    assert len(made.after) == count
    sizes = [one.slots for one in made.after]
    assert max(sizes) - min(sizes) <= 1


def test_half_of_everything_on_twice_the_shards() -> None:
    made = plan(TWO, Wish(4, kind=LARGE))
    assert [round(one.keys) for one in made.after] == [500] * 4
    assert [round(one.bytes / GIB, 2) for one in made.after] == [0.5] * 4
    assert [one.cpu for one in made.after] == [pytest.approx(0.05)] * 4
    assert [one.full for one in made.after] == [pytest.approx(0.5 / (13.07 * 0.75), rel=0.01)] * 4
    assert made.warnings == ()
    assert made.nodes == 8
    assert made.costs == {"on_demand": round(0.219 * 730 * 8, 2), "reserved": round(0.149 * 730 * 8, 2)}


def test_a_slot_that_is_known_to_be_hot_stays_where_it_is() -> None:
    made = plan(TWO, Wish(8), {3: 90.0})
    hot = [one for one in made.after if one.hottest is not None]
    assert [one.hottest for one in hot] == [(3, round(90 / hot[0].requests, 4))]
    (warning,) = made.warnings
    assert warning.startswith("slot 3 has 90 requests a second, and a shard's share is 25")
    assert f"shard {hot[0].label} stays busier" in warning


@pytest.mark.parametrize(
    ("shards", "wish", "warning"),
    [
        ((shard(0, SlotRange(0, 16383), used=9 * GIB),), Wish(1, kind=LARGE), "shard 0 would be 92% full"),
        ((shard(0, SlotRange(0, 16383), used=9 * GIB, maxmemory=10 * GIB),), Wish(), "would be 90% full"),
        ((shard(0, SlotRange(0, 16383), cpu=0.9),), Wish(), "keep a core 90% busy"),
        ((shard(0, SlotRange(0, 16383), bytes_rate=1e8),), Wish(kind=LARGE), "85% of its network"),
        ((shard(0, SlotRange(0, 16383)),), Wish(replicas=0), "without replicas"),
    ],
)
def test_what_is_too_much_is_said(shards: tuple[ShardFigures, ...], wish: Wish, warning: str) -> None:
    (said,) = plan(shards, wish).warnings
    assert warning in said


def test_fewer_shards_get_what_others_had() -> None:
    made = plan(TWO, Wish(1))
    assert made.after[0].label == "0"
    assert made.after[0].keys == pytest.approx(2000)
    with pytest.raises(LayoutError):
        plan(TWO, Wish(-1))


def test_figures_come_back_as_they_were_told() -> None:
    weights = Weights(5, {1: 3, 7: 2}, {1: 300})
    told = ClusterFigures("sessions", "redis", 2.0, (replace(TWO[0], weights=weights), TWO[1]))
    assert figures_read(figures_document(told)) == told.shards


def test_what_an_engine_says_twice_makes_rates() -> None:
    said = {
        "run_id": "r",
        "db0": "keys=10,expires=1,avg_ttl=0",
        "db3": "keys=5,expires=0,avg_ttl=0",
        "used_memory": "100",
        "used_memory_startup": "40",
        "maxmemory": "1000",
        "maxmemory_policy": "allkeys-lru",
        "evicted_keys": "7",
        "total_commands_processed": "50",
        "used_cpu_user_main_thread": "1.5",
        "used_cpu_sys_main_thread": "0.5",
        "total_net_input_bytes": "10",
        "total_net_output_bytes": "20",
    }
    before, now = (
        reading(said, 1.0),
        reading({**said, "total_commands_processed": "250", "evicted_keys": "9"}, 3.0),
    )
    assert (before.keys, before.used, before.cpu, before.policy) == (15, 100, 2.0, "allkeys-lru")
    rates = rates_between(before, now)
    assert (rates.commands, rates.evicted, rates.cpu) == (100.0, 1.0, 0.0)
    assert rates_between(before, replace(now, run_id="another")).commands == 0.0
    assert reading({}, 0.0).keys == 0


def test_the_example_is_right() -> None:
    prices = prices_read(EXAMPLE)
    assert prices.kind("cache.r7g.large").memory == 13.07
    assert prices.reserved_memory == 0.25
    with pytest.raises(PricesError, match=r"no node type cache\.r9x\.huge; there is: cache"):
        prices.kind("cache.r9x.huge")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("node_types: {a: {memory: -1, vcpu: 1, network: 1}}", "node_types.a.memory"),
        ("node_types: {}", "node_types"),
        ("prices: 1", "node_types"),
        ("a: [", ""),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "types.yaml"
    file.write_text(text)
    with pytest.raises(PricesError) as caught:
        prices_read(file)
    assert str(file) in str(caught.value)
    assert why in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PricesError, match="no such file"):
        prices_read(tmp_path / "nothing.yaml")
