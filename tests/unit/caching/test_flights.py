"""What those hear who wait for one load, without engines."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
import trio.testing

from shardproxy.caching.leases import Claim
from shardproxy.caching.loading import Found, Loading, Outcome
from shardproxy.caching.plan import Plan
from shardproxy.caching.statistics import CachingStatistics
from tests.fixtures.caching import Database, names, rule

KEY = b"user:1"


class Engine:
    """Answers claims when it is told to, each as it was asked."""

    def __init__(self) -> None:
        self.asked: list[trio.Event] = []
        self.says = Claim.MISSING

    async def claim(self, *_: Any) -> Claim:
        self.asked.append(trio.Event())
        await self.asked[-1].wait()
        return self.says


@pytest.mark.parametrize(
    ("says", "found", "claims"), [(Claim.MISSING, Found.NOTHING, 2), (Claim.THERE, Found.VALUE, 1)]
)
async def test_that_there_is_nothing_is_told_to_nobody_who_came_after_the_engine_was_asked(
    says: Claim, found: Found, claims: int
) -> None:
    """It may have been written between, and be gone for a moment, as somebody writes it again."""
    database, engine = cast("Any", Database()), Engine()
    engine.says = says
    plan = Plan("main", rule(), database, None, 1.0)
    statistics = CachingStatistics()
    told: list[tuple[str, Outcome]] = []
    async with trio.open_nursery() as nursery:
        loading = Loading(cast("Any", engine), names(), nursery, statistics)
        assert loading.join(plan, KEY, lambda outcome: told.append(("early", outcome))) is None
        await trio.testing.wait_all_tasks_blocked()
        assert loading.join(plan, KEY, lambda outcome: told.append(("late", outcome))) is None
        for number in range(claims):
            assert len(engine.asked) == number + 1
            engine.asked[number].set()
            await trio.testing.wait_all_tasks_blocked()
            assert len(told) == (number + 1 if claims == 2 else 2)
    assert told == [("early", found), ("late", found)]
    assert statistics.rule("main", plan.match).waiting == 0
