"""What a proxy says of itself is said when it changes, and again when the store has forgotten it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from shardproxy.coordination.announcer import COUNTED, PAUSE, Announcer
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.member import Member
from tests.unit.coordination.make import MemberStore, no_acks

Clock = trio.testing.MockClock


class Site:
    def __init__(self) -> None:
        self.store = MemberStore(no_acks())
        self.now = Member("self", epochs={"main": 1})
        self.announcer = Announcer(self.store, lambda: self.now)

    def change(self, **fields: object) -> None:
        self.now = replace(self.now, **fields)  # type: ignore[arg-type]
        self.announcer.ring()

    @property
    def said(self) -> Member:
        return self.store.members["self"]


@asynccontextmanager
async def announcing() -> AsyncIterator[Site]:
    site = Site()
    async with trio.open_nursery() as nursery:
        await nursery.start(site.announcer.run)
        await trio.sleep(2 * COUNTED)
        assert site.said == site.now
        yield site
        nursery.cancel_scope.cancel()


async def test_what_matters_is_said_within_a_second(autojump_clock: Clock) -> None:
    async with announcing() as site:
        tries = site.store.tries
        for epoch in (2, 3, 4):
            site.change(epochs={"main": epoch})
        await trio.sleep(2 * PAUSE)
        assert site.said.epochs == {"main": 4}
        assert site.store.tries <= tries + 2


async def test_the_number_of_clients_is_said_now_and_then(autojump_clock: Clock) -> None:
    async with announcing() as site:
        tries = site.store.tries
        for clients in range(1, 21):
            site.change(clients=clients)
            await trio.sleep(1.0)
        await trio.sleep(COUNTED + PAUSE)
        assert site.said.clients == 20
        assert site.store.tries - tries <= 1 + 25 / COUNTED


async def test_nothing_new_is_not_said(autojump_clock: Clock) -> None:
    async with announcing() as site:
        tries = site.store.tries
        await trio.sleep(60)
        assert site.store.tries == tries


async def test_what_the_store_forgot_is_said_again(autojump_clock: Clock) -> None:
    async with announcing() as site:
        site.store.members.hide("self")
        await trio.sleep(2 * PAUSE)
        assert site.said == site.now


async def test_a_store_that_is_down_is_tried_again_and_said_once(autojump_clock: Clock) -> None:
    with capture_logs() as log:
        async with announcing() as site:
            site.store.is_down = True
            site.change(is_draining=True)
            with pytest.raises(StoreUnavailableError):
                await site.announcer.announce()
            await trio.sleep(10)
            assert site.said != site.now
            site.store.is_down = False
            await trio.sleep(2 * PAUSE)
            assert site.said == site.now
    assert len(log) == 1
