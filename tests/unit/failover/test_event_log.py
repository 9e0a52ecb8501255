"""Events are noted in their order, whatever the store does, and read alike at every proxy."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from shardproxy.failover import event_log
from shardproxy.failover.event_log import RETRY, EventLog
from shardproxy.failover.events import MAX_MESSAGE, EventName
from shardproxy.model.replication import ShardKey
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.journal import CAPACITY
from shardproxy.store.local import LocalStore
from shardproxy.store.memory import MemoryNotes
from shardproxy.store.notes import Note, NoteKey

KEY = ShardKey("sessions", 0)
Clock = trio.testing.MockClock


class Notebook(MemoryNotes):
    """`is_down`: nothing can be written; `most`: so many notes fit."""

    is_down = False
    most = 10**9

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        if self.is_down:
            raise StoreUnavailableError("no quorum")
        if len(self.notes) >= self.most:
            raise ValueError("too many")
        return await super().note(key, value, expected=expected)


@asynccontextmanager
async def running(*logs: EventLog) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for each in logs:
            await nursery.start(each.run)
        yield
        nursery.cancel_scope.cancel()


def messages(log: EventLog, count: int = 1000) -> list[str]:
    return [event.message for event in log.latest(count)]


async def test_all_proxies_show_the_same_events() -> None:
    notebook = Notebook()
    here, there = EventLog(notebook, "here"), EventLog(notebook, "there")
    async with running(here, there):
        here.add(EventName.FAILOVER_STARTED, KEY, "1")
        await trio.testing.wait_all_tasks_blocked()
        there.add(EventName.ALARM, ShardKey("pages", 1), "2")
        await trio.testing.wait_all_tasks_blocked()
        here.add(EventName.FAILOVER_COMPLETE, KEY, "3", seconds=0.5)
        assert messages(here) == ["1", "2", "3"], "what is added is there at once"
        await trio.testing.wait_all_tasks_blocked()
    assert here.latest() == there.latest()
    assert messages(there) == ["1", "2", "3"]
    assert messages(there, 2) == ["2", "3"]
    numbers = [event.number for event in there.latest()]
    assert numbers == sorted(set(numbers))


async def test_what_cannot_be_noted_waits_in_its_order(autojump_clock: Clock) -> None:
    notebook = Notebook()
    log, other = EventLog(notebook, "here"), EventLog(notebook, "other")
    with capture_logs() as said:
        async with running(log):
            notebook.is_down = True
            for number in range(5):
                log.add(EventName.ALARM, KEY, str(number))
                await trio.sleep(1)
            assert not notebook.notes
            assert messages(log) == list("01234")
            notebook.is_down = False
            await trio.sleep(RETRY)
            await trio.testing.wait_all_tasks_blocked()
            assert messages(other) == list("01234")
    assert [line["event"] for line in said].count("events wait for the store") == 1


async def test_those_that_wait_are_bounded(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook()
    notebook.is_down = True
    log = EventLog(notebook)
    with capture_logs():
        for number in range(CAPACITY + 5):
            log.add(EventName.ALARM, KEY, str(number))
    assert len(messages(log, 10**6)) == CAPACITY
    assert messages(log)[0] == "5"


async def test_the_oldest_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "CAPACITY", 10)
    monkeypatch.setattr(event_log, "TOO_MANY", 5)
    notebook = Notebook()
    log = EventLog(notebook)
    async with running(log):
        for number in range(100):
            log.add(EventName.ALARM, KEY, str(number))
            await trio.testing.wait_all_tasks_blocked()
            assert len(notebook.notes) <= 15
    assert messages(log)[-10:] == [str(number) for number in range(90, 100)]


async def test_where_no_more_fit_older_ones_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "CAPACITY", 10)
    notebook = Notebook()
    notebook.most = 8
    log = EventLog(notebook)
    async with running(log):
        for number in range(20):
            log.add(EventName.ALARM, KEY, str(number))
            await trio.testing.wait_all_tasks_blocked()
    assert messages(log)[-1] == "19"


async def test_a_clock_that_is_wrong_changes_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook()
    ahead, log = EventLog(notebook, "ahead"), EventLog(notebook, "here")
    now = time.time_ns()
    async with running(ahead, log):
        monkeypatch.setattr(time, "time_ns", lambda: now + 3600 * 10**9)
        ahead.add(EventName.ALARM, KEY, "first")
        await trio.testing.wait_all_tasks_blocked()
        monkeypatch.setattr(time, "time_ns", lambda: now)
        log.add(EventName.ALARM_CLEARED, KEY, "second")
        await trio.testing.wait_all_tasks_blocked()
    assert messages(log) == ["first", "second"]


async def test_events_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with LocalStore(path) as store:
        first = EventLog(store)
        async with running(first):
            first.add(EventName.FAILOVER_STARTED, KEY, "primary dead")
            first.add(EventName.FAILOVER_COMPLETE, KEY, "x" * 2 * MAX_MESSAGE, seconds=0.1)
            await trio.testing.wait_all_tasks_blocked()
        before = first.latest()
    assert path.with_name("state.json.events").stat().st_mode & 0o077 == 0
    with LocalStore(path) as store:
        assert EventLog(store).latest() == before
        assert len(before[1].message) == MAX_MESSAGE
