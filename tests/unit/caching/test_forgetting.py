"""All that a source has is forgotten, wherever it is meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from shardproxy.caching.engines import Process
from shardproxy.caching.forgetting import Forgetting
from shardproxy.caching.plan import Plan
from shardproxy.model import Address
from tests.fixtures.caching import Database, names, rule

HERE, THERE = (Process(Address("127.0.0.1", port), f"{port:040}") for port in (7001, 7002))


class Engines:
    """Two primaries without a key; when the second one is asked, `move` has come to the first."""

    def __init__(self, move: set[int]) -> None:
        self.of = {HERE: {0, 1, 2}, THERE: {3, 4, 5}}
        self.move = move

    def slots(self, _: str) -> list[tuple[Process, list[int]]]:
        return [(process, sorted(slots)) for process, slots in self.of.items()]

    async def request_all(self, process: Process, requests: Sequence[Any], timeout: float) -> list[Any]:
        if process == THERE:
            self.of[THERE] -= self.move
            self.of[HERE] |= self.move
        return [(b"0", [])]


@pytest.mark.parametrize(
    ("move", "slots", "owed"),
    [
        (set(), {0, 1, 2, 3, 4, 5}, set()),
        ({4, 5}, {0, 1, 2, 3, 4, 5}, {4, 5}),
        ({4, 5}, {0, 4}, {4}),
        (set(), {0, 9}, {9}),  # nobody has that
    ],
)
async def test_a_slot_that_moved_meanwhile_is_owed(move: set[int], slots: set[int], owed: set[int]) -> None:
    plan = Plan("main", rule(), cast("Any", Database()), None, 1.0)
    forgetting = Forgetting(cast("Any", Engines(move)), cast("Any", None), names(), lambda *told: None)
    assert await forgetting.forget_all("main", [plan], "db", slots) == owed
