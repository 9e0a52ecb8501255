"""Which slots a config takes from whom, and when that is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from shardproxy.failover.setup import ShardSetup
from shardproxy.model import Address, Node, SlotRange
from shardproxy.model.replication import ShardKey
from shardproxy.store.record import ShardRecord, ShardState
from shardproxy.topology import keys
from shardproxy.topology.keys import why_not_reload
from shardproxy.topology.slots import slots_differ
from shardproxy.topology.taking import slots_taken

MAIN = "main"


def slots(text: str) -> tuple[SlotRange, ...]:
    """`0-9 20` as ranges."""
    bounds = [part.partition("-")[::2] for part in text.split()]
    return tuple(SlotRange(int(first), int(last or first)) for first, last in bounds)


def setup(number: int, text: str, name: str | None = None, *, cluster: str = MAIN) -> ShardSetup:
    nodes = (Node(Address("p", 100 + number)), Node(Address("r", 100 + number)))
    return ShardSetup(ShardKey(cluster, number), nodes, name=name, slots=slots(text), decider="sentinel")


def record(
    number: int, text: str, name: str | None = None, *, cluster: str = MAIN, revision: int = 1
) -> ShardRecord:
    nodes = setup(number, "").addresses
    return ShardRecord(
        ShardKey(cluster, number),
        1,
        ShardState.OK,
        nodes[0],
        nodes,
        name=name,
        slots=slots(text),
        revision=revision,
    )


def by_key(*records: ShardRecord) -> dict[ShardKey, ShardRecord]:
    return {record.key: record for record in records}


# setups, records, expected: loser -> taker -> slots; a negative loser has left the config
CASES: dict[
    str, tuple[list[ShardSetup], list[ShardRecord], dict[int, dict[int | None, tuple[SlotRange, ...]]]]
] = {
    "nothing on record": ([setup(0, "0-9"), setup(1, "10-19")], [], {}),
    "as on record": ([setup(0, "0-9"), setup(1, "10-19")], [record(0, "0-9"), record(1, "10-19")], {}),
    "on record without slots, by an older version": ([setup(0, "0-9")], [record(0, "")], {}),
    "never served": ([setup(0, "0-4")], [replace(record(0, "0-9"), state=ShardState.NEW)], {}),
    "more slots": ([setup(0, "0-19")], [record(0, "0-9")], {}),
    "a third shard": (
        [setup(0, "0-4"), setup(1, "5-9"), setup(2, "10-14")],
        [record(0, "0-7"), record(1, "8-14")],
        {0: {1: slots("5-7")}, 1: {2: slots("10-14")}},
    ),
    "exchanged": (
        [setup(0, "10-19"), setup(1, "0-9")],
        [record(0, "0-9"), record(1, "10-19")],
        {0: {1: slots("0-9")}, 1: {0: slots("10-19")}},
    ),
    "to several": (
        [setup(0, "4"), setup(1, "0-3 5"), setup(2, "6-9")],
        [record(0, "0-9")],
        {0: {1: slots("0-3 5"), 2: slots("6-9")}},
    ),
    "to nobody": ([setup(0, "0-4")], [record(0, "0-9")], {0: {None: slots("5-9")}}),
    "a shard less": (
        [setup(0, "0-19")],
        [record(0, "0-9"), record(1, "10-19")],
        {-1: {0: slots("10-19")}},
    ),
    "a shard replaced": (
        [setup(0, "0-9"), setup(2, "10-19")],
        [record(0, "0-9"), record(1, "10-19")],
        {-1: {2: slots("10-19")}},
    ),
    "one that has left owns no more what another serves": (
        [setup(0, "0-19")],
        [record(0, "0-19", revision=1), record(1, "10-19", revision=2)],
        {},
    ),
    "of two that have left the newer owns": (
        [setup(0, "0-9"), setup(3, "10-19")],
        [record(0, "0-9"), record(1, "10-19", revision=2), record(2, "10-19", revision=3)],
        {-2: {3: slots("10-19")}},
    ),
    "one that returns owns no more what others serve": (
        [setup(0, "0-9"), setup(1, "10-19")],
        [record(0, "0-19", revision=5), record(1, "10-19", revision=2)],
        {0: {1: slots("10-19")}},
    ),
    "a cluster that has left": ([setup(0, "0-9")], [record(0, "0-9"), record(0, "0-9", cluster="b")], {}),
    "clusters do not mix": (
        [setup(0, "0-9"), setup(0, "10-19", cluster="b")],
        [record(0, "0-9"), record(0, "10-19", cluster="b")],
        {},
    ),
}


@pytest.mark.parametrize(("setups", "records", "expected"), CASES.values(), ids=CASES)
def test_slots_leave_their_shard(
    setups: list[ShardSetup],
    records: list[ShardRecord],
    expected: dict[int, dict[int | None, tuple[SlotRange, ...]]],
) -> None:
    found = slots_taken(setups, by_key(*records))
    assert {
        -one.loser.key.index if one.is_gone else one.loser.key.index: {
            taker.index if taker else None: lost for taker, lost in one.slots.items()
        }
        for one in found
    } == expected


class Engines:
    """Answers how many keys a node has, and remembers who was asked."""

    def __init__(self, counts: Mapping[str, int | None]) -> None:
        self._counts = counts
        self.asked: list[str] = []

    async def count(self, key: ShardKey, address: Address) -> int | None:
        await trio.lowlevel.checkpoint()
        self.asked.append(str(address))
        return self._counts.get(str(address))


THREE = [setup(0, "0-5460"), setup(1, "5461-10922"), setup(2, "10923-16383")]
TWO = [record(0, "0-8191", "users"), record(1, "8192-16383")]


async def why_not(
    setups: list[ShardSetup], records: list[ShardRecord], counts: Mapping[str, int | None]
) -> str | None:
    return await why_not_reload(setups, by_key(*records), Engines(counts).count)


async def test_nobody_is_asked_unless_slots_leave() -> None:
    engines = Engines({})
    assert await why_not_reload(THREE, by_key(record(0, "0-99")), engines.count) is None
    assert not engines.asked


async def test_a_third_shard_is_refused_while_the_others_have_keys() -> None:
    assert await why_not(THREE, TWO, {"p:100": 101, "p:101": 1}) == (
        "cluster main: shard users has 101 keys and would lose 2731 slots (5461-8191) to shard 1; "
        "shard 1 has 1 key and would lose 5461 slots (10923-16383) to shard 2. "
        "Until their keys are moved or deleted: leave out shard 2 (p:102, r:102); "
        "give each shard the slots that it has on record (shard 0 slots: 0-8191, shard 1 slots: 8192-16383)"
    )


async def test_only_who_has_keys_is_named() -> None:
    said = await why_not(THREE, TWO, {"p:100": 0, "p:101": 3})
    assert said is not None
    assert "users" not in said
    assert "shard 1 has 3 keys" in said
    assert "Until its keys" in said


async def test_shards_without_keys_give_their_slots() -> None:
    assert await why_not(THREE, TWO, {"p:100": 0, "p:101": 0}) is None


async def test_a_shard_that_has_left_is_named_with_its_nodes() -> None:
    said = await why_not([setup(0, "0-16383")], TWO, {"p:101": 7})
    assert said is not None
    assert said.startswith(
        "cluster main: shard 1 (p:101, r:101), which the config does not have any more, has 7 keys "
        "and would lose 8192 slots (8192-16383) to shard 0. "
    )
    assert "put shard 1 back" in said
    assert "on record (" not in said


async def test_many_ranges_are_not_all_listed_where_they_are_lost() -> None:
    even, odd = (" ".join(str(slot) for slot in range(first, 20, 2)) for first in (0, 1))
    said = await why_not([setup(0, even), setup(1, odd)], [record(0, "0-19")], {"p:100": 1})
    assert said is not None
    assert "10 slots (1, 3, 5, ...)" in said


# what the primary says, what the replica says, whether there is a primary on record; may the slots go?
@pytest.mark.parametrize(
    ("primary", "replica", "is_known", "expected"),
    [
        (0, 5, True, None),
        (5, 0, True, "has 5 keys"),
        (None, 5, True, "has 5 keys"),
        (None, 0, True, "cannot be asked for keys"),
        (None, None, True, "cannot be asked for keys"),
        (0, 0, False, None),
        (0, 2, False, "has 2 keys"),
        (0, None, False, "cannot be asked for keys"),
        (4, None, False, "has 4 keys"),
    ],
)
async def test_a_replica_cannot_say_that_a_shard_has_no_keys(
    primary: int | None, replica: int | None, is_known: bool, expected: str | None
) -> None:
    loser = record(0, "0-9")
    if not is_known:
        loser = replace(loser, primary=None, state=ShardState.CONFLICT)
    said = await why_not([setup(0, "0-4"), setup(1, "5-9")], [loser], {"p:100": primary, "r:100": replica})
    assert (said is None) if expected is None else (said is not None and expected in said)


async def test_the_last_primary_is_asked_while_there_is_none() -> None:
    loser = record(0, "0-9")
    loser = replace(loser, primary=None, last=loser.primary, state=ShardState.FENCING)
    assert await why_not([setup(0, "0-4")], [loser], {"p:100": 0}) is None


def ours(*setups: ShardSetup) -> list[ShardSetup]:
    """Of a cluster that proxies decide about."""
    return [replace(one, decider=None) for one in setups]


async def test_where_slots_are_on_record_a_config_takes_none() -> None:
    engines = Engines({"p:100": 7, "p:101": 7})
    assert await why_not_reload(ours(*THREE), by_key(*TWO), engines.count) is None
    assert (
        await why_not_reload(ours(setup(0, "8192-16383"), setup(1, "0-8191")), by_key(*TWO), engines.count)
        is None
    )
    assert not engines.asked


async def test_who_has_slots_cannot_leave_with_or_without_keys() -> None:
    for keys_there in (0, 7, None):
        said = await why_not(ours(setup(0, "0-16383")), TWO, {"p:100": 0, "p:101": keys_there})
        assert said is not None
        assert said.startswith(
            "cluster main: shard 1 (p:101, r:101), which the config does not have any more, has 8192 slots"
            " (8192-16383): put it back"
        )
        assert "(shardproxy drain main 1)" in said
    drained = [record(0, "0-16383", "users"), record(1, "")]
    assert await why_not(ours(setup(0, "0-16383")), drained, {}) is None
    left_long_ago = [record(0, "0-16383", "users"), record(1, "8192-16383")]
    assert await why_not(ours(setup(0, "0-16383")), left_long_ago, {}) is None


def test_what_a_config_says_of_slots_that_is_not_so_is_told() -> None:
    given = [replace(one, slots_given=one.slots) for one in ours(*THREE[:2])]
    said = dict(slots_differ([*given, *ours(setup(2, "10923-16383"))], by_key(*TWO)))
    assert list(said) == [MAIN]
    told = [text for _, text in slots_differ([*given, *ours(setup(2, "10923-16383"))], by_key(*TWO))]
    otherwise = (
        "shard 0 has 0-8191, and the config says 0-5460; shard 1 has 8192-16383, and the config says"
        " 5461-10922: slots stay where they are on record, shardproxy reshard moves them"
    )
    assert told == [
        otherwise,
        "shard 2 has no slots, as all of them have an owner: shardproxy scale main --shards 3 gives it some",
    ]
    as_recorded = [
        replace(one, slots_given=one.slots) for one in ours(setup(0, "0-8191"), setup(1, "8192-16383"))
    ]
    ready = replace(ours(setup(2, ""))[0], slots_given=())
    assert list(slots_differ([*as_recorded, ready], by_key(*TWO))) == []
    assert list(slots_differ(ours(*THREE), {})) == []


def moved(number: int, text: str, name: str) -> ShardSetup:
    """The same shard on other nodes."""
    other = setup(number, text, name)
    return replace(other, nodes=(Node(Address("x", 1)), Node(Address("y", 1))))


# keys on the old primary, on the new nodes; what is said
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (5, (5, 5), None),
        (5, (0, 5), None),
        (5, (None, 5), None),
        (
            5,
            (0, 0),
            "has 5 keys on p:100, r:100, and none of the nodes it would have instead (x:1, y:1) says",
        ),
        (1, (None, 0), "has 1 key on"),
        (5, (None, None), "list them beside the old ones"),
        (0, (0, 0), None),
        (None, (0, 0), None),
    ],
)
async def test_a_shard_that_gets_other_nodes_brings_its_keys(
    old: int | None, new: tuple[int | None, int | None], expected: str | None
) -> None:
    counts = {"p:100": old, "x:1": new[0], "y:1": new[1]}
    said = await why_not([moved(0, "0-9", "users")], [record(0, "0-9", "users")], counts)
    assert (said is None) if expected is None else (said is not None and expected in said)
    assert await why_not([setup(0, "0-9", "users")], [record(0, "0-9", "users")], counts) is None


async def test_a_node_that_does_not_answer_is_not_waited_for(autojump_clock: MockClock) -> None:
    async def silent(key: ShardKey, address: Address) -> int | None:
        await trio.sleep_forever()

    began = trio.current_time()
    said = await why_not_reload(THREE, by_key(*TWO), silent)
    assert said is not None
    assert said.count("cannot be asked for keys") == 2
    assert trio.current_time() - began == keys.ASK_TIMEOUT
