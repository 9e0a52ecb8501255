"""All that a source has is forgotten, wherever it is meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
import trio
import trio.testing

from shardproxy.caching.engines import EngineDownError, Place, Process
from shardproxy.caching.forgetting import AT_ONCE, WITHIN, Forgetting
from shardproxy.caching.names import SlotNames
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


class Leases:
    """Of two primaries, the second of which is down; a slot is whose it says."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.asked_in_vain = 0

    def primary(self, place: Place) -> Process:
        return THERE if place.slot % 2 else HERE

    async def invalidate(self, named: SlotNames, key: bytes, deadline: float, behind: Any) -> None:
        if named.slot % 2:
            self.asked_in_vain += 1
            await trio.sleep_until(deadline)
            raise EngineDownError("no answer", "no answer", is_doubtful=False)
        self.told.append(key)


async def test_changes_of_others_do_not_wait_behind_a_primary_that_is_down(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = Plan("main", rule(), cast("Any", Database()), None, 1.0)
    leases, all_names = cast("Any", Leases()), names()
    keys = [b"user:%d" % number for number in range(500)]
    of = {key: all_names.of_key("main", key).slot for key in keys}
    forgetting = Forgetting(leases, leases, all_names, lambda *told: None)
    began = trio.current_time()
    owed = await forgetting.forget("main", [plan], "db", keys)
    assert trio.current_time() - began <= WITHIN
    assert set(leases.told) == {key for key, slot in of.items() if not slot % 2}
    assert owed == {slot for slot in of.values() if slot % 2}
    assert leases.asked_in_vain <= AT_ONCE
