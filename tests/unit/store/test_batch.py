"""Changes that are written together fare together."""

from __future__ import annotations

import trio
import trio.testing

from shardproxy.store.batch import Batches


async def test_what_fails_fails_for_all_that_were_written_with_it() -> None:
    begun, outcomes = trio.Event(), []

    async def write(batch: list[str]) -> None:
        await begun.wait()
        if "c" in batch:
            raise RuntimeError("broken")

    batches = Batches(write)

    async def add(change: str) -> None:
        try:
            await batches.add(change)
        except RuntimeError:
            outcomes.append((change, "broken"))
        else:
            outcomes.append((change, "written"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(add, "a")
        await trio.testing.wait_all_tasks_blocked()
        for change in ("b", "c"):
            nursery.start_soon(add, change)
        await trio.testing.wait_all_tasks_blocked()
        begun.set()
    assert sorted(outcomes) == [("a", "written"), ("b", "broken"), ("c", "broken")]
