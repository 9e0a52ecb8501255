"""Which shard of a config is which on record: whatever happens to the list, a shard stays who it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardproxy.config import RedisCluster, parse_config
from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, SlotRange, split_evenly
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.topology.assign import shards_assign


@dataclass(frozen=True)
class Given:
    """A shard as somebody writes it; nodes by their letters."""

    nodes: str
    name: str | None = None
    slots: str | None = None


def config(*shards: Given) -> RedisCluster:
    listed = [
        {"nodes": [f"{node}:1" for node in shard.nodes]}
        | ({"name": shard.name} if shard.name else {})
        | ({"slots": shard.slots} if shard.slots else {})
        for shard in shards
    ]
    cluster = {"engine": "redis", "endpoints": {"configuration": "127.0.0.1:7000"}, "shards": listed}
    made = parse_config(str({"clusters": {"main": cluster}})).clusters["main"]
    assert isinstance(made, RedisCluster)
    return made


def recorded(setups: Sequence[ShardSetup]) -> dict[ShardKey, ShardRecord]:
    """As if these had been served."""
    return {
        setup.key: ShardRecord(
            setup.key,
            1,
            ShardState.OK,
            setup.addresses[0],
            setup.addresses,
            name=setup.name,
            slots=setup.slots,
            revision=1 + setup.key.index,
        )
        for setup in setups
    }


def numbers(setups: Sequence[ShardSetup]) -> dict[str, int]:
    """Number of each shard by the letters of its nodes."""
    return {"".join(node.host for node in setup.addresses): setup.key.index for setup in setups}


def assign(*shards: Given, after: Sequence[Given] = ()) -> dict[str, int]:
    """The numbers of these shards when those before them are on record."""
    records = recorded(shards_assign("main", config(*after), {})) if after else {}
    return numbers(shards_assign("main", config(*shards), records))


AB, CD, EF = Given("ab"), Given("cd"), Given("ef")

# before, after, expected numbers by nodes
CASES: dict[str, tuple[list[Given], list[Given], dict[str, int]]] = {
    "in the order of the list at first": ([], [CD, AB], {"cd": 0, "ab": 1}),
    "another order": ([AB, CD, EF], [EF, AB, CD], {"ab": 0, "cd": 1, "ef": 2}),
    "names given": ([AB, CD], [Given("cd", "x"), Given("ab", "y")], {"ab": 0, "cd": 1}),
    "names changed": (
        [Given("ab", "x"), Given("cd", "y")],
        [Given("ab", "z"), Given("cd", "y")],
        {"ab": 0, "cd": 1},
    ),
    "names exchanged: the data stays where it is": (
        [Given("ab", "x"), Given("cd", "y")],
        [Given("ab", "y"), Given("cd", "x")],
        {"ab": 0, "cd": 1},
    ),
    "a node more, one less, another": (
        [AB, CD, EF],
        [Given("efz"), Given("ax"), Given("c")],
        {"ax": 0, "c": 1, "efz": 2},
    ),
    "a shard more, in front": ([AB, CD], [EF, AB, CD], {"ab": 0, "cd": 1, "ef": 2}),
    "a shard less: its number is nobody's": (
        [AB, CD, EF],
        [AB, EF, Given("xy")],
        {"ab": 0, "ef": 2, "xy": 3},
    ),
    "all nodes are others, the name is the same": (
        [Given("ab", "x"), Given("cd", "y")],
        [Given("ef", "y"), Given("ab", "x")],
        {"ab": 0, "ef": 1},
    ),
    "all nodes are others, without a name": ([AB, CD], [AB, EF], {"ab": 0, "ef": 2}),
    "the name says who it is where nodes do not": (
        [Given("ab", "x"), Given("cd", "y")],
        [Given("bd", "y"), Given("ef", "x")],
        {"bd": 1, "ef": 0},
    ),
    "replicas exchanged: the primary counts": ([AB, CD], [Given("cb"), Given("ad")], {"ad": 0, "cb": 1}),
    "the primary counts more than many replicas": (
        [Given("abc"), Given("de")],
        [Given("bcx"), Given("ay"), Given("de")],
        {"ay": 0, "de": 1, "bcx": 2},
    ),
    "the primary counts more than the name": (
        [Given("ab", "x"), Given("cd", "y")],
        [Given("bc", "x"), Given("ad", "y")],
        {"ad": 0, "bc": 1},
    ),
    "of replicas alone the most count": ([Given("abcd")], [Given("b"), Given("cd")], {"cd": 0, "b": 1}),
    "a shard in two: one of them has its number": ([AB], [Given("b"), Given("a")], {"a": 0, "b": 1}),
    "two shards in one": ([AB, CD], [Given("cdab")], {"cdab": 0}),
    "old nodes under another name, the old name on new nodes": (
        [Given("ab", "x")],
        [Given("cd", "x"), Given("ab", "old")],
        {"ab": 0, "cd": 1},
    ),
}


@pytest.mark.parametrize(("before", "after", "expected"), CASES.values(), ids=CASES)
def test_a_shard_keeps_its_number(before: list[Given], after: list[Given], expected: dict[str, int]) -> None:
    assert assign(*after, after=before) == expected


def test_a_shard_that_returns_has_its_number_again() -> None:
    records = recorded(shards_assign("main", config(AB, CD), {}))
    without = shards_assign("main", config(AB, EF), records)
    assert numbers(without) == {"ab": 0, "ef": 2}
    records |= recorded(without)
    assert numbers(shards_assign("main", config(CD, EF, AB), records)) == {"ab": 0, "cd": 1, "ef": 2}


def test_the_last_primary_of_a_shard_counts_while_there_is_none() -> None:
    records = recorded(shards_assign("main", config(Given("abc"), Given("de")), {}))
    records = {
        key: replace(record, primary=None, last=record.primary, state=ShardState.FENCING)
        for key, record in records.items()
    }
    assert numbers(shards_assign("main", config(Given("bc"), Given("ax"), Given("de")), records))["ax"] == 0


def test_of_shards_that_had_the_name_it_is_the_last() -> None:
    before = recorded(shards_assign("main", config(Given("ab", "x"), Given("cd", "x2")), {}))
    key = ShardKey("main", 1)
    records = before | {key: replace(before[key], name="x")}
    assert numbers(shards_assign("main", config(Given("ef", "x")), records)) == {"ef": 1}


def test_records_of_other_clusters_say_nothing() -> None:
    records = recorded(shards_assign("other", config(AB, CD), {}))
    assert numbers(shards_assign("main", config(CD, AB), records)) == {"cd": 0, "ab": 1}


def test_a_setup_says_all_of_a_shard() -> None:
    (setup,) = shards_assign("main", config(Given("ab", "users")), {})
    assert setup.key == ShardKey("main", 0)
    assert (setup.name, setup.slots) == ("users", (SlotRange(0, 16383),))
    assert setup.addresses == (Address("a", 1), Address("b", 1))
    assert (setup.wait, setup.is_managed, setup.is_automatic, setup.min_replicas) == (0, False, True, None)


def slots(setups: Sequence[ShardSetup]) -> dict[int, tuple[SlotRange, ...]]:
    return {setup.key.index: setup.slots for setup in setups}


def test_shares_go_with_the_shards() -> None:
    first, second, third = ((share,) for share in split_evenly(3))
    before = shards_assign("main", config(AB, CD, EF), {})
    assert slots(before) == {0: first, 1: second, 2: third}
    records = recorded(before)
    assert slots(shards_assign("main", config(EF, CD, AB), records)) == slots(before)
    replaced = shards_assign("main", config(Given("xy"), EF, AB), records)
    assert slots(replaced) == {0: first, 2: third, 3: second}


def test_explicit_slots_are_what_is_written() -> None:
    before = shards_assign("main", config(AB, CD), {})
    after = config(Given("cd", slots="0-99"), AB)
    assert slots(shards_assign("main", after, recorded(before))) == {
        0: (SlotRange(100, 16383),),
        1: (SlotRange(0, 99),),
    }


def test_other_shares_are_dealt_by_number() -> None:
    records = recorded(shards_assign("main", config(AB, CD), {}))
    halves = {number: record.slots for number, record in enumerate(records.values())}
    after = shards_assign("main", config(EF, CD, AB), records)
    assert slots(after) == {number: (share,) for number, share in enumerate(split_evenly(3))}
    assert slots(shards_assign("main", config(CD), records)) == {1: (SlotRange(0, 16383),)}
    assert slots(shards_assign("main", config(CD, AB), recorded(after))) == halves


NODES = "abcdefghijkl"


@st.composite
def lists(draw: st.DrawFn) -> list[Given]:
    """1-4 shards of 1-3 nodes each, some of them named."""
    letters = iter(draw(st.permutations(NODES)))
    count = draw(st.integers(1, 4))
    named = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return [
        Given("".join(next(letters) for _ in range(draw(st.integers(1, 3)))), f"s{i}" if is_named else None)
        for i, is_named in enumerate(named)
    ]


@st.composite
def changed(draw: st.DrawFn, shards: list[Given]) -> list[tuple[Given, int | None]]:
    """The same shards as an operator may write them next, and each one's place before; new ones have none."""
    fresh = iter("mnopqrstuvwxyz")
    listed: list[tuple[Given, int | None]] = []
    for place, shard in enumerate(shards):
        nodes = list(shard.nodes)
        if len(nodes) > 1 and draw(st.booleans()):
            nodes[draw(st.integers(0, len(nodes) - 1))] = next(fresh)
        if draw(st.booleans()):
            nodes.append(next(fresh))
        name = draw(st.sampled_from([shard.name, None, f"t{place}"]))
        listed.append((Given("".join(draw(st.permutations(nodes))), name), place))
    if draw(st.booleans()):
        listed.append((Given(next(fresh)), None))
    return list(draw(st.permutations(listed)))


@settings(deadline=None)  # a busy machine is no fault
@given(data=st.data(), shards=lists())
def test_every_shard_keeps_its_number_and_none_is_given_twice(
    data: st.DataObject, shards: list[Given]
) -> None:
    records = recorded(shards_assign("main", config(*shards), {}))
    listed = data.draw(changed(shards))
    found = numbers(shards_assign("main", config(*(shard for shard, _ in listed)), records))
    assert len(set(found.values())) == len(listed)
    for shard, place in listed:
        assert found[shard.nodes] == (len(shards) if place is None else place)


@settings(deadline=None)  # a busy machine is no fault
@given(before=lists(), after=lists())
def test_whatever_changes_all_slots_have_one_owner(before: list[Given], after: list[Given]) -> None:
    records = recorded(shards_assign("main", config(*before), {}))
    setups = shards_assign("main", config(*after), records)
    owned = [slot for setup in setups for r in setup.slots for slot in range(r.first, r.last + 1)]
    assert sorted(owned) == list(range(16384))
    assert len({setup.key for setup in setups}) == len(after)
    assert [setup.key for setup in setups] == sorted(setup.key for setup in setups)
