"""Who waits for news hears of it at once, or later and once for all of it where he says that he can wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from shardproxy.model.board import Board, News

PATIENCE = 0.03


class Reader:
    """Looks whenever it has news."""

    def __init__(self) -> None:
        self.news = News()
        self.looked: list[float] = []

    async def run(self) -> None:
        while True:
            await self.news.wait()
            self.looked.append(round(trio.current_time(), 3))


@asynccontextmanager
async def reading(*readers: Reader) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for reader in readers:
            nursery.start_soon(reader.run)
        await wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def test_the_patient_hear_later_and_once_for_all_that_came(autojump_clock: MockClock) -> None:
    board: Board[str, int] = Board()
    prompt, patient = Reader(), Reader()
    board.subscribe(prompt.news)
    board.subscribe(patient.news, patience=PATIENCE)
    async with reading(prompt, patient):
        board.show("a", 1)
        await wait_all_tasks_blocked()
        assert (prompt.looked, patient.looked) == ([0.0], [])
        await trio.sleep(0.01)
        board.show("a", 2)
        await trio.sleep(0.01)
        board.show("b", 1)
        await trio.sleep(1)
        assert prompt.looked == [0.0, 0.01, 0.02]
        assert patient.looked == [PATIENCE]
        board.show("b", 2)
        await trio.sleep(1)
        assert patient.looked == [PATIENCE, round(1.02 + PATIENCE, 3)]


async def test_news_that_cannot_wait_take_with_them_what_could(autojump_clock: MockClock) -> None:
    slow, quick, reader = Board[str, int](), Board[str, int](), Reader()
    slow.subscribe(reader.news, "a", patience=PATIENCE)
    quick.subscribe(reader.news)
    async with reading(reader):
        slow.show("a", 1)
        await trio.sleep(0.01)
        quick.show("x", 1)
        await trio.sleep(1)
        assert reader.looked == [0.01]


async def test_what_comes_while_the_patient_look_counts_for_the_next_time(autojump_clock: MockClock) -> None:
    board, news = Board[str, int](), News()
    board.subscribe(news, patience=PATIENCE)
    board.show("a", 1)
    await trio.sleep(0.02)
    with trio.fail_after(0.02):
        await news.wait()
    board.show("a", 2)
    await trio.sleep(1)
    with trio.fail_after(0.001):
        await news.wait()
    with trio.move_on_after(1) as scope:
        await news.wait()
    assert scope.cancelled_caught, "it had heard of all"


async def test_who_gives_up_waiting_hears_of_it_the_next_time(autojump_clock: MockClock) -> None:
    board, news = Board[str, int](), News()
    board.subscribe(news, patience=PATIENCE)
    board.show("a", 1)
    with trio.move_on_after(0.01) as scope:
        await news.wait()
    assert scope.cancelled_caught
    with trio.fail_after(PATIENCE):
        await news.wait()
    board.unsubscribe(news)
    board.show("a", 2)
    with trio.move_on_after(1) as scope:
        await news.wait()
    assert scope.cancelled_caught, "it does not listen any more"
