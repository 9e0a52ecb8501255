"""Scripts that were loaded through one proxy are known at all, and after restarts, up to a limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trio.testing
from structlog.testing import capture_logs

from shardproxy.commands.known_scripts import FORGET_WITHIN, RETRY, KnownScripts
from shardproxy.store.interface import StoreUnavailableError
from shardproxy.store.local import LocalStore
from shardproxy.store.memory import MemoryNotes
from shardproxy.store.notes import MAX_NOTES, Note, NoteKey

BODY = bytes(range(256))
Clock = trio.testing.MockClock


class Notebook(MemoryNotes):
    is_down = False

    async def note(self, key: NoteKey, value: Any, *, expected: int | None = None) -> Note:
        if self.is_down:
            raise StoreUnavailableError("no quorum")
        return await super().note(key, value, expected=expected)


@asynccontextmanager
async def running(*known: KnownScripts) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for each in known:
            await nursery.start(each.run)
        yield
        nursery.cancel_scope.cancel()


async def test_a_script_is_known_at_every_proxy_until_it_is_flushed() -> None:
    notebook = MemoryNotes()
    here, there = KnownScripts(notebook), KnownScripts(notebook)
    async with running(here, there):
        here.keep("main", "a", BODY)
        assert here.get("main", "a") == BODY, "at once"
        await trio.testing.wait_all_tasks_blocked()
        assert there.get("main", "a") == BODY
        assert there.get("other", "a") is None
        there.keep("other", "a", b"return 1")
        await trio.testing.wait_all_tasks_blocked()
        await there.forget_all("main")
        assert here.get("main", "a") is there.get("main", "a") is None
        assert here.get("other", "a") == b"return 1"


async def test_scripts_outlive_the_process(tmp_path: Path) -> None:
    for begun in (False, True):
        with LocalStore(tmp_path / "state.json") as store:
            known = KnownScripts(store)
            assert (known.get("main", "a") == BODY) == begun
            async with running(known):
                known.keep("main", "a", BODY)
                with trio.fail_after(5):
                    while not store.notes:
                        await store.notes.wait_changed(store.notes.version)


async def test_what_cannot_be_noted_waits(autojump_clock: Clock) -> None:
    notebook = Notebook()
    notebook.is_down = True
    here, there = KnownScripts(notebook), KnownScripts(notebook)
    with capture_logs() as log:
        async with running(here):
            for name in "ab":
                here.keep("main", name, BODY)
                await trio.sleep(3 * RETRY)
            assert here.get("main", "a") == BODY
            assert there.get("main", "a") is None
            notebook.is_down = False
            await trio.sleep(2 * RETRY)
            assert there.get("main", "a") == there.get("main", "b") == BODY
    assert len(log) == 1


async def test_beyond_the_limit_they_are_known_here_alone(tmp_path: Path) -> None:
    half = b"x" * (MAX_NOTES // 2 - 10)
    with LocalStore(tmp_path / "state.json") as store, capture_logs() as log:
        here, there = KnownScripts(store), KnownScripts(store)
        async with running(here):
            for name in "abcd":
                here.keep("main", name, half)
                with trio.move_on_after(1):
                    while len(store.notes) < 2 and len(store.notes) <= "abcd".index(name):
                        await store.notes.wait_changed(store.notes.version)
            await trio.sleep(0.05)
        assert all(here.get("main", name) == half for name in "abcd")
        assert [there.get("main", name) is not None for name in "abcd"] == [True, True, False, False]
        assert [line["event"] for line in log] == ["scripts are known to this proxy alone"]


async def test_a_flush_does_not_wait_for_a_slow_store_for_ever(autojump_clock: Clock) -> None:
    class Slow(MemoryNotes):
        async def drop(self, key: NoteKey, *, expected: int | None = None) -> None:
            await trio.sleep_forever()

    known = KnownScripts(Slow())
    async with running(known):
        known.keep("main", "a", BODY)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await known.forget_all("main")
        assert trio.current_time() - began == FORGET_WITHIN
