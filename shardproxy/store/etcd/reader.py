"""Reads all that is stored, then watches it: the view is never older than it can say.

    read all ─> watch from there ─> watch again from where it broke off ─> ...
       ^                                  │ compacted
       └──────────────────────────────────┘

A watch may be late, so what it tells is not dated by when it comes. A read that a quorum stands behind is
sent again and again: the view is as new as that read was once it holds all that the read has shown. A watch
that does not get there is begun again, at another member.

One that only reads is one of thousands: it reads more seldom, and for so long believes a watch in time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import structlog
import trio

from shardproxy.model.board import Board
from shardproxy.store.etcd.client import Client
from shardproxy.store.etcd.clock import boottime
from shardproxy.store.etcd.errors import CompactedError, DataLostError, EtcdUnavailableError
from shardproxy.store.etcd.keys import Keys
from shardproxy.store.etcd.messages import (
    Entry,
    Message,
    entries_of,
    events_of,
    header_of,
    range_of,
    watch_of,
)
from shardproxy.store.etcd.position import REMEDY
from shardproxy.store.etcd.view import View
from shardproxy.store.interface import StoreUnavailableError

PAGE = 500  # keys
PAGE_WITHIN = 2.0  # seconds
ASK = 1.3  # seconds between two reads that ask whether the view is as etcd is
ASK_AGAIN = 0.1  # seconds, where the watch was about to tell of it
GRACE = 1.0  # seconds for a new watch to tell of something
LATE = 2.0  # seconds that a watch may be behind
PATIENCE = (2.0, 2.5)  # seconds of silence, of one that only reads: out of date after three
CHECK = (4.0, 5.0)  # seconds between two of its reads, where the watch is not silent
MAX_SILENCE = 30.0  # seconds
CATCH_UP = 0.5  # seconds for the watch to tell of what a read has shown
RETRY = 0.2  # seconds; twice as long each time that a watch breaks soon after it was begun
MAX_RETRY = 2.0  # seconds
MAX_PATIENT = 15.0  # seconds, of one that only reads
STEADY = 2.0  # seconds that a watch has to last
RETRY_LOST = 1.0  # seconds, where it takes an operator

log = structlog.get_logger()


def retry_after(breaks: int, *, is_patient: bool) -> float:
    """Seconds until a watch is begun again, not by all at the same time."""
    most = min(RETRY * 2.0 ** min(breaks, 10), MAX_PATIENT if is_patient else MAX_RETRY)
    return random.uniform(most / 2, most)


class Reader:
    """Owns the view, and passes on what changes in it."""

    def __init__(
        self,
        client: Client,
        keys: Keys,
        on_change: Callable[[list[Entry]], None],
        *,
        on_heard: Callable[[], None] = lambda: None,
        on_lost: Callable[[str], None] = lambda _why: None,
        is_patient: bool = False,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._client = client
        self._keys = keys
        self._on_change, self._on_heard, self._on_lost = on_change, on_heard, on_lost
        self._clock = clock
        self._is_patient = is_patient
        self._quiet = 0  # times in a row that the watch was asked about
        self._is_read = False
        self._watch = trio.CancelScope()
        self._breaks = 0  # in a row
        self._watched = ""  # the member that tells
        self._progress = trio.Event()
        self._told = 0  # times that the watch has told of something
        self._stirred = trio.Event()  # it has, or is due
        self._due = trio.Event()  # it is to be asked about at once
        self._begun = -math.inf  # when it was
        self._awaited: tuple[int, float] | None = None  # a revision, and when a read was sent that showed it
        self._is_in_time = False  # the watch was, when it was last asked about
        self._is_late_said = False
        self.view = View()
        self.why_lost = ""  # what etcd holds now is not what it held
        self.changes: Board[str, int] = Board()  # key to revision: for who waits for one
        self.heard = -math.inf  # when the view was last known to be as etcd was then, or later
        self.why_not: str | None = "etcd has not been read yet"

    @property
    def group(self) -> Entry | None:
        """Names what is stored; it is made once."""
        return self.view.get(self._keys.group)

    def load(self, entries: dict[str, Entry], revision: int) -> None:
        """Begin with what was kept; what etcd says has to go on from there."""
        self._pass_on(self.view.replace(entries, revision))

    def is_lost(self, error: DataLostError) -> None:
        """Somebody has found that keys went back."""
        self._is_lost(error)
        self._watch.cancel()

    def is_own(self, entry: Entry) -> None:
        """This process has changed a key."""
        self._pass_on(self.view.apply_own(entry))

    def ask(self) -> None:
        """Ask at once whether the view is as etcd is."""
        self._due.set()
        self._stirred.set()

    async def wait_seen(self, revision: int, *, within: float) -> None:
        """Wait until all is seen up to a revision; raise StoreUnavailableError."""
        with trio.move_on_after(within):
            while self.view.seen < revision:
                await self._progress.wait()
        if self.view.seen < revision:
            raise StoreUnavailableError(f"the watch of etcd has not told of revision {revision} yet")
        await trio.lowlevel.checkpoint()

    async def wait_read(self) -> None:
        while not self._is_read:
            await self._progress.wait()

    async def wait_readable(self) -> None:
        """Wait until what is shown is what etcd holds."""
        while self.why_not is not None:
            await self._progress.wait()

    async def run(self) -> None:
        """Keep the view as etcd is, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask_again_and_again)
            while True:
                try:
                    if not self._is_read:
                        await self._read_all()
                    else:
                        await self._check_all()
                    with trio.CancelScope() as self._watch:
                        await self._watch_on()
                except CompactedError:
                    self._is_read = False
                except DataLostError as error:
                    self._is_lost(error)
                    await trio.sleep(RETRY_LOST)
                except StoreUnavailableError as error:
                    self._is_late(str(error))
                    self._breaks = 0 if self._clock() - self._begun > STEADY else self._breaks + 1
                    await trio.sleep(retry_after(self._breaks, is_patient=self._is_patient))

    async def _read_all(self) -> None:
        sent = self._clock()
        entries, revision = await self._pages()
        self._compare_group(entries.get(self._keys.group))
        self._pass_on(self.view.replace(entries, revision))
        self._is_read = True
        self._is_confirmed(sent)

    async def _check_all(self) -> None:
        """Raise DataLostError where keys are older than they were: the members may have been replaced.

        What is newer is for the watch to tell.
        """
        sent = self._clock()
        entries, revision = await self._pages(keys_only=True)
        self._compare_group(entries.get(self._keys.group))
        self.view.compare(entries, revision)
        if self.view.is_as(entries):
            self.view.advance(revision)
        self._await(revision, sent)

    async def _pages(self, *, keys_only: bool = False) -> tuple[dict[str, Entry], int]:
        """All keys, as of one revision."""
        entries: dict[str, Entry] = {}
        revision, after = 0, self._keys.first
        while True:
            body = range_of(after, self._keys.end, limit=PAGE, revision=revision, keys_only=keys_only)
            page = await self._client.call("/v3/kv/range", body, attempt=PAGE_WITHIN)
            revision = revision or header_of(page).revision
            found = entries_of(page)
            entries.update((entry.key, entry) for entry in found)
            if not page.get("more") or not found:
                break
            after = found[-1].key + "\0"
        return entries, revision

    async def check_group(self) -> None:
        """Raise DataLostError where etcd is not what was read before; StoreUnavailableError."""
        body = range_of(self._keys.group, self._keys.group + "\0")
        found = entries_of(await self._client.call("/v3/kv/range", body))
        self._compare_group(found[0] if found else None)

    def _compare_group(self, found: Entry | None) -> None:
        known = self.group
        if known is not None and (found is None or found.created != known.created):
            what = "is deleted" if found is None or found.value is None else "is another one"
            raise DataLostError(f"{known.key} {what}, so what etcd holds is not what it held: {REMEDY}")

    async def _watch_on(self) -> None:
        body = watch_of(self._keys.first, self._keys.end, self.view.seen + 1)
        self._watched, self._begun = self._client.endpoint, self._clock()
        await self._client.stream("/v3/watch", body, self._take)

    def _take(self, result: Message) -> None:
        if result.get("canceled"):
            if int(result.get("compact_revision", 0)):
                raise CompactedError("what came since then was compacted")
            raise EtcdUnavailableError(
                f"etcd ends the watch: {result.get('cancel_reason') or 'no reason given'}"
            )
        if result.get("created"):
            if self._awaited is not None:
                self.ask()
            return
        events = events_of(result)
        for event in events:
            if event.key == self._keys.group:
                self._compare_group(event)
        changed = self.view.apply(events)
        if not events:
            self.view.advance(header_of(result).revision)
        self._told += 1
        self._stirred.set()
        self._pass_on(changed)
        self._has_progress()
        if self._is_patient and self._is_in_time:
            self._is_heard(self._clock())

    async def _ask_again_and_again(self) -> None:
        check = -math.inf
        while True:
            if self._is_patient:
                told, self._stirred = self._told, trio.Event()
                with trio.move_on_after(self._silence()):
                    await self._stirred.wait()
                is_silent = self._told == told
                self._quiet = self._quiet + 1 if is_silent else 0
                now = trio.current_time()
                if self._is_in_time and now < check and not (is_silent or self._due.is_set()):
                    continue
                check = now + random.uniform(*CHECK)
            else:
                with trio.move_on_after(ASK):
                    await self._due.wait()
            self._due = trio.Event()
            if self._is_read:
                try:
                    await self._ask()
                except CompactedError:
                    self._is_read = False
                    self._watch.cancel()
                except DataLostError as error:
                    self._is_lost(error)
                    self._watch.cancel()
                except StoreUnavailableError as error:
                    self._is_late(str(error))

    def _silence(self) -> float:
        """How long the watch may be silent. Thousands that only read ask less and less, and not at once."""
        return min(random.uniform(*PATIENCE) * 2.0**self._quiet, MAX_SILENCE)

    async def _ask(self) -> None:
        """Compare the view with etcd as it is: nothing newer, and as many keys."""
        seen, told, sent = self.view.seen, self._told, self._clock()
        body = range_of(self._keys.first, self._keys.end, limit=1, newer_than=seen, keys_only=True)
        reply = await self._client.call("/v3/kv/range", body)
        is_same = not reply.get("kvs") and int(reply.get("count", 0)) == len(self.view)
        if is_same and self._told == told and not self.view.is_ahead:
            self.view.advance(header_of(reply).revision)
        self._await(header_of(reply).revision, sent)
        with trio.move_on_after(CATCH_UP):
            while self._awaited is not None and self._told == told:
                await self._progress.wait()
        is_silent = self._told == told and sent - self._begun > GRACE
        is_late = is_silent or sent - max(self.heard, self._begun) > LATE
        if self._awaited is None:
            if self._client.endpoint != self._watched:  # it was left, as it did not answer something else
                self._watch.cancel()
        elif is_late:
            if self._is_in_time:
                log.warning("the watch of etcd is late", seen=self.view.seen, etcd=header_of(reply).revision)
            self._is_in_time = False
            self._client.leave()
            self._watch.cancel()
        else:
            await trio.sleep(ASK_AGAIN)
            self.ask()

    def _await(self, revision: int, sent: float) -> None:
        """Once the view has that revision, it is at least as new as the read that has shown it."""
        if self.view.seen >= revision:
            self._is_confirmed(sent)
        elif self._awaited is None:  # the one before is seen sooner
            self._awaited = (revision, sent)

    def _has_progress(self) -> None:
        if self._awaited is not None and self.view.seen >= self._awaited[0]:
            self._is_confirmed(self._awaited[1])
        else:
            self._stir()

    def _stir(self) -> None:
        progress, self._progress = self._progress, trio.Event()
        progress.set()

    def _is_confirmed(self, sent: float) -> None:
        self._awaited = None
        self._is_in_time = self._clock() - sent < LATE
        self._is_heard(sent)

    def _pass_on(self, changed: list[Entry]) -> None:
        if changed:
            self._on_change(changed)
            for entry in changed:
                if entry.value is None:
                    self.changes.hide(entry.key)
                else:
                    self.changes.show(entry.key, entry.revision)

    def _is_heard(self, when: float) -> None:
        self.heard = max(self.heard, when)
        if self.why_not is not None:
            log.info("etcd is read")
            self.why_not, self.why_lost, self._is_late_said = None, "", False
            self._on_lost("")
        self._stir()
        self._on_heard()

    def _is_late(self, why: str) -> None:
        if not self._is_late_said:
            log.warning("etcd cannot be read", why=why)
        self._is_late_said = True
        self.why_not = why

    def _is_lost(self, error: DataLostError) -> None:
        if not self.why_lost:
            log.error("etcd has lost data", why=str(error))
        self._is_read = False
        self.why_not = self.why_lost = str(error)
        self._on_lost(str(error))
