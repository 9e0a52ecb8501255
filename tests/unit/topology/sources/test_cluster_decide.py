"""What is believed of what the nodes of a Redis Cluster say."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from shardproxy.model import Address, SlotRange, split_evenly
from shardproxy.topology.sources.cluster.decide import ClusterLayout, decide
from shardproxy.topology.sources.cluster.numbers import Numbers
from shardproxy.topology.sources.cluster.view import Member, View

HALVES = split_evenly(3)


def address(node: str) -> Address:
    return Address("10.0.0.1", 7000 + ord(node))


def primary(node: str, epoch: int, *slots: SlotRange, has_failed: bool = False) -> Member:
    return Member(node, address(node), True, None, epoch, slots, has_failed)


def replica(node: str, of: str, has_failed: bool = False) -> Member:
    return Member(node, address(node), False, of, 0, (), has_failed)


WHOLE = {
    "a": primary("a", 1, HALVES[0]),
    "b": primary("b", 2, HALVES[1]),
    "c": primary("c", 3, HALVES[2]),
    "x": replica("x", "a"),
    "y": replica("y", "b"),
    "z": replica("z", "c"),
}


def views(*nodes: str, members: dict[str, Member] = WHOLE) -> list[View]:
    return [View(members[node], members, f"run-{node}") for node in nodes]


def layout(found: ClusterLayout | str) -> ClusterLayout:
    assert isinstance(found, ClusterLayout), found
    return found


def owners(found: ClusterLayout | str) -> dict[str, tuple[SlotRange, ...]]:
    return {group.primary: group.slots for group in layout(found).groups}


def test_all_that_agree_are_believed() -> None:
    found = layout(decide(views(*"abcxyz")))
    assert owners(found) == {"a": (HALVES[0],), "b": (HALVES[1],), "c": (HALVES[2],)}
    first = found.groups[0]
    assert (first.address, first.replicas, first.run_id) == (address("a"), (("x", address("x")),), "run-a")
    assert found.epoch == 3


def test_one_primary_that_does_not_answer_is_vouched_for_by_the_others() -> None:
    assert owners(decide(views("b", "c"))) == owners(decide(views(*"abc")))


def test_too_few_voices_are_no_layout() -> None:
    assert decide(views("a")) == f"nobody is known to have slot {HALVES[1].first}"
    assert decide(views("a", "x")) == f"nobody is known to have slot {HALVES[1].first}", (
        "a replica has no voice"
    )
    assert decide([]) == "none of its nodes answers"


def test_who_was_cut_off_does_not_get_its_slots_back() -> None:
    after = {**WHOLE, "x": primary("x", 4, HALVES[0]), "a": primary("a", 1, has_failed=True)}
    alone = View(WHOLE["a"], WHOLE)  # it has not heard of it
    found = owners(decide([alone, *views("b", "c", "x", members=after)]))
    assert found["x"] == (HALVES[0],)
    assert "a" not in found


def test_a_successor_is_believed_before_all_have_heard_of_it() -> None:
    after = {**WHOLE, "x": primary("x", 4, HALVES[0])}
    assert owners(decide([*views("b", "c"), View(after["x"], after)]))["x"] == (HALVES[0],)


def test_a_slot_belongs_to_who_has_taken_it_over_last() -> None:
    moved = SlotRange(0, 0)
    target = primary("b", 5, HALVES[1], moved)
    stale = views("a", "c")
    found = owners(decide([*stale, View(target, {**WHOLE, "b": target})]))
    assert found["b"] == (moved, HALVES[1])
    assert found["a"] == (SlotRange(1, HALVES[0].last),)


def test_a_shard_without_slots_is_none() -> None:
    emptied = {**WHOLE, "a": primary("a", 1), "b": primary("b", 5, HALVES[0], HALVES[1])}
    assert set(owners(decide(views(*"abc", members=emptied)))) == {"b", "c"}


def test_a_replica_that_is_gone_is_not_read_from() -> None:
    gone = {**WHOLE, "x": replica("x", "a", has_failed=True)}
    assert layout(decide(views(*"abc", members=gone))).groups[0].replicas == ()


def test_slots_that_nobody_has_are_no_layout() -> None:
    holed = {**WHOLE, "a": primary("a", 1, SlotRange(0, 7))}
    assert decide(views(*"abc", members=holed)) == "nobody is known to have slot 8"


@given(st.permutations("abcxyz"), st.sets(st.sampled_from("abcxyz")))
def test_any_layout_is_one_that_all_would_agree_on(order: list[str], silent: set[str]) -> None:
    found = decide([view for view in views(*order) if view.me.id not in silent])
    if isinstance(found, ClusterLayout):
        assert owners(found) == owners(decide(views(*"abcxyz")))


def test_a_shard_keeps_its_number_through_failovers_and_moves() -> None:
    numbers, first = Numbers().given(layout(decide(views(*"abc"))).groups)
    assert {number: group.primary for number, group in first.items()} == {0: "a", 1: "b", 2: "c"}
    after = {**WHOLE, "x": primary("x", 4, HALVES[0]), "a": replica("a", "x")}
    numbers, second = numbers.given(layout(decide(views(*"xbc", members=after))).groups)
    assert second[0].primary == "x"
    # its slots go to others, and come back
    emptied = {**after, "x": primary("x", 4), "c": primary("c", 7, HALVES[0], HALVES[2])}
    numbers, third = numbers.given(layout(decide(views(*"xbc", members=emptied))).groups)
    assert set(third) == {1, 2}
    new = {**emptied, "d": primary("d", 9, HALVES[0]), "c": primary("c", 7, HALVES[2])}
    numbers, fourth = numbers.given(layout(decide(views(*"xbcd", members=new))).groups)
    assert fourth[3].primary == "d", "a new one does not take the number of one that may come back"
    back = {**new, "x": primary("x", 11, HALVES[0]), "d": primary("d", 9)}
    _, fifth = numbers.given(layout(decide(views(*"xbcd", members=back))).groups)
    assert fifth[0].primary == "x"


def test_a_shard_that_was_split_off_gets_a_number_of_its_own() -> None:
    numbers, _ = Numbers().given(layout(decide(views(*"abc"))).groups)
    apart = {
        **WHOLE,
        "a": primary("a", 5, SlotRange(0, 9)),
        "x": primary("x", 6, SlotRange(10, HALVES[0].last)),
    }
    _, after = numbers.given(layout(decide(views(*"abcx", members=apart))).groups)
    assert {after[0].primary, after[3].primary} == {"a", "x"}


def test_numbers_begin_anew_when_there_is_no_room() -> None:
    groups = layout(decide(views(*"abc"))).groups
    numbers = Numbers({f"old-{number}": number for number in range(250)})
    _, after = numbers.given([replace(group) for group in groups])
    assert set(after) == {0, 1, 2}
