"""The largest keys are kept and no others, and a scan leaves an engine to its clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.insight.bigkeys import WEIGHED, Big, Place, Tally, parts_of, pause_after, scan
from shardproxy.model import Address
from shardproxy.model.text import shown
from shardproxy.reshard.sample import sample

SIZES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=60)


@given(SIZES, st.integers(1, 5))
def test_the_first_of_both_measures_are_kept(sizes: list[tuple[int, int]], limit: int) -> None:
    tally = Tally(limit)
    bigs = [Big(size, elements, b"%d" % at, 0) for at, (size, elements) in enumerate(sizes)]
    for big in bigs:
        tally.add("hash", big)
    lines = tally.lines()
    if not bigs:
        assert lines == []
        return
    (line,) = lines
    keys = line["keys"]
    assert line["type"] == "hash"
    assert len(keys) == min(limit, len(bigs))
    assert [key["bytes"] for key in keys] == sorted((key["bytes"] for key in keys), reverse=True)
    assert keys[0]["bytes"] == max(big.size for big in bigs)
    if limit > 1:
        assert max(key["elements"] for key in keys) == max(big.elements for big in bigs)
    assert all(len(heap) <= limit for board in (tally.by_bytes, tally.by_elements) for heap in board.values())


@given(st.integers(0, 1000), st.integers(1, 10_000), st.floats(0, 10))
def test_a_rest_keeps_the_rate_and_the_node_free(count: int, rate: int, took: float) -> None:
    rest = pause_after(count, rate, took)
    assert count <= rate * (took + rest) * 1.001 + 1e-6
    assert took <= (took + rest) / 5 * 1.001


class Node:
    """One with so many hashes of 5000 fields each, that takes time for what it is asked."""

    def __init__(self, keys: int) -> None:
        self.keys = [b"h:%d" % at for at in range(keys)]
        self.busy = 0.0
        self.weighed: list[int] = []  # elements, by exchange

    async def request(self, address: Address, *words: str, timeout: float) -> int:
        return len(self.keys)

    async def request_many(
        self, address: Address, requests: Sequence[Sequence[Any]], *, timeout: float
    ) -> list[Any]:
        usage = [words for words in requests if words[0] == "MEMORY"]
        if usage:
            self.weighed.append(sum(min(int(words[4]) if words[3:] else 5, 5000) for words in usage))
        took = 0.001 + (self.weighed[-1] * 1e-6 if usage else 0.0)
        self.busy += took
        await trio.sleep(took)
        return [self._answer(words) for words in requests]

    def _answer(self, words: Sequence[Any]) -> Any:
        match words[0]:
            case "SCAN":
                first, count = int(words[1]), int(words[3])
                after = first + count
                return [b"%d" % after if after < len(self.keys) else b"0", self.keys[first:after]]
            case "TYPE":
                return b"hash"
            case "MEMORY":
                return 100
        return 5000


async def test_no_node_weighs_much_at_once_or_has_no_time_for_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    node, place = Node(250), Place(0, Address("127.0.0.1", 1))
    lines = [line async for line in scan([place], cast("Any", node), rate=1_000_000, limit=3, samples=1000)]
    assert lines[-1]["scanned"] == 250
    assert sum(node.weighed) == 250 * 1000
    assert max(node.weighed) <= WEIGHED
    assert node.busy <= trio.current_time() / 4, "but for the last exchange"


async def test_a_sample_leaves_a_node_to_others(autojump_clock: trio.testing.MockClock) -> None:
    node = Node(5000)
    found = await sample(cast("Any", node), Address("127.0.0.1", 1), lambda key: 1, keys=4000, weighed=1000)
    assert (found.keys, found.weighed) == (4000, 1000)
    assert node.busy <= trio.current_time() / 4


@given(st.lists(st.integers(1, 20_000), max_size=50))
def test_parts_are_all_and_cost_little(costs: list[int]) -> None:
    parts = [costs[part] for part in parts_of(costs)]
    assert [cost for part in parts for cost in part] == costs
    assert all(part and (len(part) == 1 or sum(part) <= WEIGHED) for part in parts)


def test_types_are_told_apart() -> None:
    tally = Tally(1)
    tally.add("set", Big(1, 1, b"\xffs", 2))
    tally.add("hash", Big(9, 9, b"h", 1))
    assert tally.lines() == [
        {"type": "hash", "keys": [{"key": "h", "shard": 1, "elements": 9, "bytes": 9}]},
        {"type": "set", "keys": [{"key": r"\xffs", "shard": 2, "elements": 1, "bytes": 1}]},
    ]


def test_bytes_are_shown_as_text() -> None:
    assert shown("größe:1".encode()) == "größe:1"
    assert shown(b"a\x00\xc3(\n") == r"a\x00\xc3(\x0a"
    assert shown("\u200e".encode()) == r"\xe2\x80\x8e"
