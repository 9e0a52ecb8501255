"""Server-sent events: what is told, to how many, for how long; and that nobody who reads costs nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from starlette.applications import Starlette
from starlette.routing import Route

from shardproxy.admin import lifetime
from shardproxy.admin import stream as module
from shardproxy.admin.http import HEADERS
from shardproxy.admin.status import Sources, Status, StatusBoard
from shardproxy.admin.stream import Stream, steady_of
from shardproxy.config import parse_config
from shardproxy.dataplane.statistics import Statistics
from shardproxy.model import Topology
from tests.unit.app.fake_native import statistics
from tests.unit.app.test_admin import CONFIG, Admin, running_admin


class Watched:
    """A stream and what it reads from."""

    def __init__(self) -> None:
        self.looks = 0
        self.counters = statistics()
        self.topologies: dict[str, Topology] = {}
        self.board = StatusBoard(Status(clusters=("main",)))
        sources = Sources(self.board, self._read, self._clients, self.topologies)
        self.stream = Stream(sources, HEADERS)

    def show(self) -> None:
        self.topologies["main"] = parse_config(CONFIG).topologies()[0].with_epoch(6)

    def _read(self) -> Statistics:
        self.looks += 1
        return Statistics.read(self.counters)

    async def _clients(self) -> tuple[Mapping[str, Any], ...]:
        return ()


def parsed(message: bytes) -> list[tuple[str, dict[str, Any]]]:
    blocks = [block.splitlines() for block in message.decode().split("\n\n") if block]
    fields = [dict(line.split(": ", 1) for line in lines) for lines in blocks]
    return [(one["event"], json.loads(one["data"])) for one in fields if "data" in one]


async def test_all_is_told_first_then_rates_and_what_changed(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.stream.run)
        async with watched.stream.follow() as (first, messages):
            ((name, documents),) = parsed(first)
            assert name == "state"
            assert set(documents) == {"process", "status", "topology", "jobs", "events"}
            assert documents["process"]["why_not_ready"] == ["cluster main is not served yet"]
            told = [parsed(await messages.receive())[0] for _ in range(4)]
            assert [name for name, _ in told] == ["state", "rates", "rates", "rates"]
            assert told[1][1] == {"clusters": {}}
            assert told[2][1]["clusters"]["main"]["clients"] == 3
            watched.show()
            name, changed = parsed(await messages.receive())[0]
            assert name == "state"
            assert set(changed) == {"process", "topology"}
            assert changed["topology"]["clusters"]["main"]["epoch"] == 6
            assert changed["process"]["why_not_ready"] == []
        nursery.cancel_scope.cancel()


async def test_who_is_back_at_once_has_rates_at_once(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.stream.run)
        for pause, is_known in ((0.0, False), (0.5, True), (60.0, False)):
            await trio.sleep(pause)
            async with watched.stream.follow() as (_, messages):
                told = [parsed(await messages.receive())[0] for _ in range(4)]
            assert bool(next(rates["clusters"] for name, rates in told if name == "rates")) == is_known
        nursery.cancel_scope.cancel()


async def test_counts_and_ages_alone_are_told_now_and_then(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    watched.show()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.stream.run)
        async with watched.stream.follow() as (_, messages):
            await messages.receive()
            began, states = trio.current_time(), 0
            while trio.current_time() < began + 11:
                watched.counters["clusters"]["main"]["clients"] += 1
                states += parsed(await messages.receive())[0][0] == "state"
        nursery.cancel_scope.cancel()
    assert states == 2


def test_what_is_volatile_is_no_change() -> None:
    one = {"nodes": [{"state": "up", "since": 1.0, "lag": 0}], "clients": 5}
    other = {"nodes": [{"state": "up", "since": 2.0, "lag": 90}], "clients": 6}
    assert steady_of(one) == steady_of(other) == {"nodes": [{"state": "up"}]}


async def test_nobody_looks_while_nobody_reads(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.stream.run)
        await trio.sleep(30)
        assert watched.looks == 0
        async with watched.stream.follow():
            await trio.sleep(3)
        seen = watched.looks
        assert seen > 0
        await trio.sleep(30)
        assert watched.looks <= seen + 1
        nursery.cancel_scope.cancel()


async def test_a_second_costs_one_look_and_one_encoding_of_each_document(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many read, and come: reading all counters takes 26 ms at 250 shards of three nodes."""
    watched, encoded = Watched(), 0
    watched.show()
    dumps = json.dumps

    def counting(*args: Any, **options: Any) -> str:
        nonlocal encoded
        encoded += 1
        return dumps(*args, **options)

    monkeypatch.setattr(json, "dumps", counting)
    async with trio.open_nursery() as nursery, AsyncExitStack() as readers:
        nursery.start_soon(watched.stream.run)
        for _ in range(10):
            first, _ = await readers.enter_async_context(watched.stream.follow())
            assert set(parsed(first)[0][1]) == {"process", "status", "topology", "jobs", "events"}
        await trio.sleep(4.5)
        assert watched.stream.readers == 10
        assert watched.looks == 5
        assert encoded == 5 * 6, "five documents, and rates"
        nursery.cancel_scope.cancel()


async def test_who_does_not_keep_up_is_dropped_and_others_go_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    watched = Watched()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.stream.run)
        async with watched.stream.follow() as (_, slow), watched.stream.follow() as (_, quick):
            for _ in range(module.MAX_BEHIND + 2):
                await quick.receive()
            assert watched.stream.readers == 1
            assert len([message async for message in slow]) == module.MAX_BEHIND
            await quick.receive()
        nursery.cancel_scope.cancel()


async def test_a_look_that_fails_ends_streams_and_nothing_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    watched = Watched()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.stream.run)
        async with watched.stream.follow() as (_, messages):
            del watched.counters["buffers"]
            told = [parsed(message)[0][0] async for message in messages]
            assert told == ["state", "rates"], "of the look that did not fail"
        watched.counters = statistics()
        async with watched.stream.follow() as (_, messages):
            await messages.receive()
        nursery.cancel_scope.cancel()


async def test_as_many_as_may_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_READERS", 1)
    watched = Watched()
    app = Starlette(routes=[Route("/api/stream", watched.stream.page)])
    async with (
        watched.stream.follow(),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        full = await client.get("/api/stream")
        assert (full.status_code, full.headers["content-type"]) == (503, "application/json")
        assert full.json() == {"error": "1 follow already, and no more may: ask /api/status instead"}


async def lines_of(admin: Admin) -> AsyncIterator[str]:
    async with admin._client.stream("GET", "/api/stream", timeout=20) as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["x-accel-buffering"] == "no"
        async for line in response.aiter_lines():
            yield line


async def test_over_http_it_ends_well_and_not_with_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 0.05)
    monkeypatch.setattr(module, "MAX_AGE", 2.0)
    monkeypatch.setattr(lifetime, "MAX_AGE", 1.0)  # of a connection that takes nothing
    async with running_admin() as admin:
        lines = [line async for line in lines_of(admin)]
    assert lines[0] == "retry: 1000"
    assert lines.count("event: rates") >= 2
    assert lines[-1] == ""


async def test_who_leaves_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_READERS", 1)
    monkeypatch.setattr(module, "TICK", 0.05)
    async with running_admin() as admin:
        for _ in range(3):
            while True:  # the one before may not have been seen to leave yet
                async with admin._client.stream("GET", "/api/stream") as response:
                    if response.status_code == 200:
                        break
                await trio.sleep(0.02)
