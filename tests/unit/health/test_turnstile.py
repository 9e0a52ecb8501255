"""How many connections are opened at a time."""

from __future__ import annotations

import trio
import trio.testing

from shardproxy.health.turnstile import Turnstile


async def test_so_many_pass_at_a_time_and_who_takes_long_holds_up_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    turnstile = Turnstile(places=2, hold=0.1)
    entered: list[float] = []

    async def go_through(seconds: float) -> None:
        async with turnstile.passing():
            entered.append(round(trio.current_time() - began, 3))
            await trio.sleep(seconds)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for seconds in (0.01, 0.02, 5.0, 5.0, 0.01, 0.01):
            nursery.start_soon(go_through, seconds)
            await trio.testing.wait_all_tasks_blocked()
    assert sorted(entered) == [0.0, 0.0, 0.01, 0.02, 0.11, 0.12]


async def test_who_gives_up_gives_its_place_back(autojump_clock: trio.testing.MockClock) -> None:
    turnstile = Turnstile(places=1, hold=100.0)
    for _ in range(3):
        with trio.move_on_after(0.01):
            async with turnstile.passing():
                await trio.sleep_forever()
    with trio.fail_after(0.01):
        async with turnstile.passing():
            pass
